"""What a report says about the run, multirun or search in a folder, and how it refuses."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from src_lab.aggregate import find_runs
from src_lab.jobs import Job, write_jobs
from src_lab.report import render, report_of, write_report
from src_lab.report.command import run_command, sweep_command
from src_lab.report.page import Animation, Figure, Report, Section, Table
from src_lab.report.render import MAX_FRAMES, fit_animations
from src_lab.report.run import NO_COMMAND
from src_lab.settings import ConfigError
from src_lab.tables import write_tables
from tests.make_runs import make_run
from tests.report.conftest import STEPS, drawn
from tests.test_config import compose

SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"


def parts(report: Report) -> dict[str, list[str]]:
    return {section.title: [part.title for part in section.parts] for section in report.sections}


def test_a_run_is_shown_with_all_that_is_in_its_folder(full_run: Path) -> None:
    report = report_of(full_run)
    assert parts(report) == {
        "Results": ["Test accuracy (%) at every stage", "Accuracy matrix", "Accuracy of every task through the run"],
        "During sleep": ["Accuracy against sleep steps", "Spikes per layer", "Change of the weights"],
        "Looking inside": ["Ranks", "Weights in sleep"],
        "Settings": ["Every setting of config.yaml"],
    }
    assert report.facts["Final accuracy, all tasks"] == "82.5 %"
    assert report.facts["Commit"] == "0123456789ab with uncommitted changes"
    assert report.facts["Backward transfer"] == "-"
    settings = report.sections[-1].parts[0]
    assert isinstance(settings, Table)
    assert ["sleep.inc", "0.001"] in settings.frame.to_numpy().tolist()
    animation = report.sections[2].parts[1]
    assert isinstance(animation, Animation)
    assert animation.steps == tuple(STEPS)
    assert animation.frames[2] == drawn(100)


def test_a_run_with_the_final_stage_only_has_no_stages_to_draw(tmp_path: Path) -> None:
    report = report_of(make_run(tmp_path / "run", accuracy=0.5))
    assert parts(report) == {
        "Results": ["Test accuracy (%) at every stage"],
        "Settings": ["Every setting of config.yaml"],
    }
    assert "50.0" in render(report)


COMMANDS = [
    [],
    ["method=lowrank_merge", "method.combine=concat", "seed=3"],
    ["experiment=digits", "sleep.record_every=50", "threads=1", "cache=off"],
    ["experiment=digits", "method=sequential", "name='my run, no. 1'", "model.widths=[20,20]"],
    [
        "experiment=tadros_mnist",
        "sleep.beta_scale=[1.5,0.25,2]",
        "dataset.task_order=[4,3,2,1,0]",
        "dataset.root='/my data/x'",
    ],
    ["method=parallel", "dataset=fashion_mnist", "sleep=tadros_fashion", "train=paper", "name='123'", "evaluate=final"],
    ["sleep=digits", "sleep.name=src_best", "sleep.inc=1e-05", "cache='~/a=b'", "sleep.alpha_scale=1.0"],
]


@pytest.mark.parametrize("overrides", COMMANDS, ids=" ".join)
def test_the_command_makes_the_very_same_settings_and_is_short(overrides: list[str]) -> None:
    config = compose(*overrides)
    command = run_command(yaml.safe_load(yaml.safe_dump(asdict(config))))
    assert command is not None
    python, program, *again = shlex.split(command)
    assert (python, program) == ("python", "run.py")
    assert compose(*again) == config
    assert len(again) <= len(overrides)


def test_a_forced_run_is_repeated_without_force() -> None:
    assert run_command(asdict(compose("force=true", "seed=2"))) == "python run.py seed=2"


def test_settings_that_no_command_makes_have_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = asdict(compose())
    assert run_command(config | {"model": {"name": "mlp", "widths": {"a": 1}}}) is None
    monkeypatch.setattr("src_lab.report.command.CONF", tmp_path / "conf")
    assert run_command(config) is None
    report = report_of(make_run(tmp_path / "run"))
    assert [command.text for command in report.commands] == [NO_COMMAND]


@pytest.mark.parametrize(
    ("jobs", "command"),
    [
        (["seed=0 a=x", "seed=1 a=x", "seed=2 a=x"], "python run.py -m 'seed=range(0,3)' a=x"),
        (["seed=4 m=a", "seed=4 m=b", "seed=7 m=a", "seed=7 m=b"], "python run.py -m seed=4,7 m=a,b"),
        (["w=[1,2] n='a b'", "w=[3] n='a b'"], "python run.py -m 'w=[1,2],[3]' 'n='\"'\"'a b'\"'\"''"),
        (["seed=0 a=x", "seed=1 a=y"], "python run.py seed=0 a=x\npython run.py seed=1 a=y"),
        (["seed=0", ""], "python run.py seed=0\npython run.py"),
    ],
)
def test_the_command_of_a_multirun_is_the_product_of_its_choices(jobs: list[str], command: str) -> None:
    assert sweep_command(jobs) == command


def make_multirun(folder: Path) -> Path:
    runs = [
        make_run(folder / f"{method}{seed}", method, seed, accuracy + seed / 100, metrics={"forgetting": 0.1})
        for method, accuracy in (("src", 0.7), ("sequential", 0.2))
        for seed in range(3)
    ]
    out = folder / "multirun-1"
    jobs = [
        Job(run.name, run, f"method={run.name[:-1]} seed={run.name[-1]}", "finished")
        for run in runs
    ]  # fmt: skip
    write_jobs(out, [*jobs, Job("src9", folder / "src9", "method=src seed=9", "failed", "diverged <here>")])
    write_tables(find_runs([out]), out)
    return out


def test_a_multirun_is_shown_with_its_tables_and_its_failures(tmp_path: Path) -> None:
    report = report_of(make_multirun(tmp_path))
    assert parts(report) == {
        "Results": ["Summary, mean ± sd over runs", "Final accuracy by approach", "Forgetting by approach"],
        "Task by task": ["Final accuracy by task", "Every stage and task"],
        "Comparison": ["Differences between groups"],
        "Runs": ["Every run", "Not counted"],
        "Jobs": ["How every job ended"],
    }
    assert report.title == "7 runs: SRC, Sequential on digits"
    assert report.facts["Runs"] == "6 finished, 1 failed"
    summary, figure = report.sections[0].parts[:2]
    assert isinstance(summary, Table)
    assert summary.frame["final accuracy (%)"].tolist() == ["71.0 ± 1.0", "21.0 ± 1.0"]
    assert isinstance(figure, Figure)
    assert "Means: SRC 71.0 %, Sequential 21.0 %." in figure.alt
    assert "diverged &lt;here&gt;" in render(report)


def test_tables_without_jobs_are_shown_too(tmp_path: Path) -> None:
    out = make_multirun(tmp_path)
    (out / "jobs.csv").unlink()
    report = report_of(out)
    assert (report.title, report.commands) == ("6 runs: SRC, Sequential on digits", ())
    assert "Jobs" not in parts(report)


def make_search(folder: Path) -> Path:
    folder.mkdir()
    command = ["search=src", "experiment=digits", "hydra.sweep.dir=/elsewhere", "sleep.inc=interval(0.1, 0.2)"]
    (folder / "search.yaml").write_text(yaml.safe_dump({"search_id": "65a84a18", "command": command}))
    (folder / "trials.csv").write_text(
        "number,state,reason,sleep.inc,sleep.rule,value,sd,validation_s0,validation_s1,test_not_used,seconds\n"
        "0,complete,,0.1,sigmoid,0.5,0.01,0.51,0.49,0.6,3\n"
        "1,complete,,0.2,tadros,0.7,0.02,0.72,0.68,0.5,3\n"
        "2,failed,diverged,0.3,tadros,,,,,,1\n"
    )
    (folder / "history.png").write_bytes(drawn(1))
    run = make_run(folder / "trial-1" / "s0", metrics={"git_commit": "abcdef"})
    (run / "config.yaml").write_text(yaml.safe_dump(asdict(compose("experiment=digits", "evaluate=final", "sleep.inc=0.2"))))
    preset = folder / "conf" / "sleep" / "src_best.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("name: src_best\ninc: 0.2\n")
    return folder


def test_a_search_is_shown_with_its_best_trial_and_how_to_run_it(tmp_path: Path) -> None:
    report = report_of(make_search(tmp_path / "found"))
    assert parts(report) == {
        "The best trial": ["Settings found", "Every setting of src_best.yaml"],
        "How it went": ["History"],
        "Trials": ["Every trial"],
    }
    assert report.facts == {
        "Best validation accuracy": "70.0 ± 2.0 %",
        "Best trial": "number 1",
        "Trials": "2 complete, 1 failed",
        "Commit": "abcdef",
        "Seeds": "0, 1",
        "Search": "65a84a18",
    }
    assert [command.text for command in report.commands] == [
        "python run.py -m search=src experiment=digits 'sleep.inc=interval(0.1, 0.2)'",
        "python run.py experiment=digits sleep.inc=0.2",
    ]
    best = report.sections[0].parts[0]
    assert isinstance(best, Table)
    assert best.frame.to_numpy().tolist() == [["sleep.inc", "0.2"], ["sleep.rule", "tadros"]]


def test_a_search_of_which_no_trial_is_complete_still_has_its_trials(tmp_path: Path) -> None:
    folder = make_search(tmp_path / "found")
    rows = (folder / "trials.csv").read_text().splitlines()
    (folder / "trials.csv").write_text("\n".join([rows[0], rows[3]]) + "\n")
    report = report_of(folder)
    assert parts(report) == {"How it went": ["History"], "Trials": ["Every trial"]}
    assert report.facts["Trials"] == "1 failed"
    assert "diverged" in render(report)


def break_json(run: Path) -> None:
    (run / "analysis" / "figures.json").write_text("[")


def leave_out_alt(run: Path) -> None:
    index = run / "analysis" / "animations.json"
    entries = json.loads(index.read_text())
    index.write_text(json.dumps([{**entries[0], "alt": " "}]))


def lose_a_step(run: Path) -> None:
    index = run / "analysis" / "animations.json"
    entries = json.loads(index.read_text())
    index.write_text(json.dumps([{**entries[0], "steps": STEPS[:-1]}]))


def spoil_a_frame(run: Path) -> None:
    (run / "analysis" / "figures" / "frames" / "50.png").write_text("GIF89a")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "metrics.json").unlink(), "run: not finished: give a finished run's folder"),
        (lambda run: (run / "results.csv").write_text("a"), "results.csv: missing column Approach"),
        (lambda run: (run / "sleep_trace.csv").write_text(""), r"sleep_trace.csv cannot be read \(EmptyDataError\)"),
        (lambda run: (run / "analysis" / "ranks.csv").unlink(), r"ranks.csv cannot be read \(FileNotFoundError\)"),
        (lambda run: (run / "analysis" / "figures" / "ranks.png").unlink(), r"ranks.png cannot be read \(No such file"),
        (break_json, r"figures.json cannot be read \(JSONDecodeError\)"),
        (leave_out_alt, r"animations.json: entry 0 is not usable \(alt is empty\)"),
        (lose_a_step, r"entry 0 is not usable \(Weights in sleep: 5 frames and 4 steps"),
        (spoil_a_frame, "50.png is not a PNG"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_one_line(full_run: Path, damage, message: str) -> None:
    damage(full_run)
    with pytest.raises(ConfigError, match=message) as refused:
        report_of(full_run)
    assert "\n" not in str(refused.value)


def test_frames_are_left_out_evenly_when_there_are_too_many() -> None:
    frames = tuple(bytes([index]) * (MAX_FRAMES // 10) for index in range(21))
    animation = Animation("a", frames, tuple(range(0, 210, 10)), "alt", "Read.")
    (section,) = fit_animations([Section("s", (animation, Table("t", find_runs([]).table)))])
    fitted = section.parts[0]
    assert isinstance(fitted, Animation)
    assert (fitted.steps[0], fitted.steps[-1], len(fitted.steps)) == (0, 200, 10)
    assert [frame[0] * 10 for frame in fitted.frames] == list(fitted.steps)
    assert sum(map(len, fitted.frames)) <= MAX_FRAMES
    assert fitted.how_to_read == "Read. (10 of 21 frames are shown.)"


def command_line(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MPLBACKEND": ""})


def test_the_command_writes_the_page_and_says_where_it_is(full_run: Path, tmp_path: Path) -> None:
    done = command_line(full_run, "--out", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{tmp_path.as_posix()}/page.html \(0\.\d MB\)\n", done.stdout)
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run"]


def test_folders_without_anything_to_report_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is not a folder"):
        report_of(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"holds no run, multirun or search itself: make one with python run.py"):
        report_of(tmp_path)
    make_multirun(tmp_path)
    with pytest.raises(ConfigError, match=r"give one in it, e.g. .*multirun-1 \(and 6 more there\)"):
        report_of(tmp_path)
    folder = make_search(tmp_path / "found")
    (folder / "trials.csv").unlink()
    with pytest.raises(ConfigError, match=r"not ended \(no trials.csv\): give its command again, python run.py -m search"):
        report_of(folder)


def test_a_page_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"^--out=.*page.html cannot be written \(Not a directory\): .*$"):
        write_report(run, run / "results.csv" / "page.html")


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    done = command_line(tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r".*nothing is not a folder: .*\n", done.stderr)
