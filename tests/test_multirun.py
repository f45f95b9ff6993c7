"""Many runs with one command: refused whole or run whole, and shown at the end whatever became of them."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn

import run as entrypoint
from src_lab.aggregate import find_runs
from src_lab.jobs import Job, multirun_folder, read_jobs, write_jobs
from src_lab.settings import ConfigError
from tests.make_runs import make_run

TINY = ["experiment=digits", "model.widths=[8,8]", "train.epochs=1", "sleep.iterations=2", "threads=1", "cache=off"]
DIVERGES = "train.learning_rate=1e30"


class Breaking(BasicLauncher):
    """Runs the first two jobs and breaks, as a launcher does whose worker dies or whose user presses Ctrl-C."""

    error: ClassVar[BaseException]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        super().launch(job_overrides[:2], initial_job_idx)
        raise self.error


Plugins.instance().register(Breaking)
BREAKING = f"hydra.launcher._target_={Breaking.__module__}.{Breaking.__name__}"
ELSEWHERE = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
ConfigStore.instance().store(group="hydra/launcher", name="elsewhere", node=ELSEWHERE)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def multirun(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> str:
    """What `run.py -m` ends with: the message of its exit, empty when all is well."""
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", *TINY, *overrides])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    try:
        entrypoint.cli()
    except SystemExit as stopped:
        return str(stopped.code)
    finally:
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return ""


def aggregate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run scripts/aggregate.py in this process."""
    path = Path(entrypoint.__file__).parent / "scripts" / "aggregate.py"
    spec = importlib.util.spec_from_file_location("aggregate_script", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", ["aggregate.py", *arguments])
    return int(script.main())


def only_folder() -> Path:
    (folder,) = Path("outputs").glob("multirun-*")
    return folder


def jobs() -> list[list[str]]:
    table = pd.read_csv(only_folder() / "jobs.csv", keep_default_na=False)
    return table[["state", "reason"]].to_numpy().tolist()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_multirun_ends_with_its_tables_and_aggregating_it_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(Path("outputs/earlier"), "merge")
    assert multirun(monkeypatch, "method=src,sequential", "seed=range(0,2)") == ""
    printed = capsys.readouterr().out
    folder = only_folder()
    written = contents(folder)
    assert written.keys() == {
        *("jobs.csv", "runs.csv", "stages.csv", "summary.csv", "summary.md", "summary.tex", "accuracy_table.png"),
        *("comparisons.csv", "comparisons.md"),
    }
    assert pd.read_csv(folder / "summary.csv")[["method", "n"]].to_numpy().tolist() == [["src", 2], ["sequential", 2]]
    assert pd.read_csv(folder / "comparisons.csv")[["a", "b", "n"]].to_numpy().tolist() == [["SRC", "Sequential", 2]] * 2
    assert not Path("outputs/multirun.yaml").exists()

    assert aggregate(monkeypatch, folder.as_posix()) == 0
    assert contents(folder) == written
    shown = capsys.readouterr().out
    assert shown.endswith(f"4 runs; tables and picture in {folder.as_posix()}\n")
    assert printed.endswith("\n" + shown)

    assert multirun(monkeypatch, "method=src,sequential", "seed=range(0,2)") == ""
    again = capsys.readouterr()
    assert again.err.count("finished already") == 4
    assert again.out.endswith("\n" + shown)
    assert contents(folder) == written
    assert len(find_runs(["outputs"]).table) == len(find_runs(["outputs", folder]).table) == 5


def test_a_run_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    message = multirun(monkeypatch, "method=sequential", f"{DIVERGES},0.01", "seed=0,1")
    assert message.startswith("2 of 4 runs failed: the training loss is ")
    assert message.endswith(" (and 1 more, above); the same command runs only what is missing")
    assert "\n" not in message
    assert [state for state, _ in jobs()] == ["failed", "failed", "finished", "finished"]
    *_, said, first, second = capsys.readouterr().out.splitlines()
    assert said.startswith("2 runs; tables")
    for line, seed in [(first, 0), (second, 1)]:
        assert line.startswith("failed: experiment=digits ")
        assert f" seed={seed}: the training loss is " in line
    assert pd.read_csv(only_folder() / "problems.csv")["why"].str.startswith("not finished: the training loss is ").all()


def test_runs_that_all_fail_leave_no_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    message = multirun(monkeypatch, "method=sequential", DIVERGES, "seed=0,1")
    assert message.startswith("2 of 2 runs failed: the training loss is ")
    assert capsys.readouterr().out.count("failed: ") == 2
    assert [file.name for file in only_folder().iterdir()] == ["jobs.csv"]


@pytest.mark.parametrize(
    ("error", "message", "reason"),
    [
        (KeyboardInterrupt(), "interrupted", "interrupted"),
        (
            RuntimeError("a worker died\nof hunger"),
            "2 of 3 runs failed: the training loss is ",
            "RuntimeError: a worker died",
        ),
    ],
)
def test_a_multirun_that_is_broken_off_shows_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    message: str,
    reason: str,
) -> None:
    monkeypatch.setattr(Breaking, "error", error, raising=False)
    choices = ["method=sequential", "train.learning_rate=1e30,0.01,0.02", BREAKING]
    assert multirun(monkeypatch, *choices).startswith(message)
    failed, done, missing = jobs()
    assert failed[0] == "failed"
    assert failed[1].startswith("the training loss is ")
    assert done == ["finished", ""]
    assert missing == ["unfinished", reason]
    said, _, last = capsys.readouterr().out.splitlines()[-3:]
    assert said.startswith("1 run; tables")
    assert last.endswith(f"train.learning_rate=0.02: {reason}")

    assert multirun(monkeypatch, *choices[:-1]).startswith("1 of 3 runs failed: ")
    assert [state for state, _ in jobs()] == ["failed", "finished", "finished"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sleep.inc=0.01,abc"], "error: sleep.inc=abc is not allowed: must be a number >= 0"),
        (["method=src,foo", "seed=0,1"], "error: method=foo seed=0: method=foo does not exist: allowed are agem, cheat"),
        (["seed=3,4", "model.bias=true", "sleep.threshold=-1"], "error: seed=3: sleep.bias=scaled needs positive gains"),
        (["sleep.incc=1,2"], "error: sleep.incc=1: sleep.incc is not a setting: did you mean sleep.inc?"),
        (["seed=0,1", "hydra.sweep.subdir=x"], "error: hydra.sweep.subdir=x is one folder for seed=0 and seed=1: give each"),
        (["sleep.inc=interval(0,1)"], "error: sleep.inc=interval(0,1) is for a search: add search=src, or list values"),
    ],
)
def test_one_impossible_run_refuses_the_whole_before_any_work(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    said = multirun(monkeypatch, *overrides)
    assert said.startswith(message)
    assert "\n" not in said
    assert list(Path().iterdir()) == []


def test_two_jobs_that_are_the_same_run_run_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert multirun(monkeypatch, "method=sequential", "seed=0,1", "force=false,true") == ""
    captured = capsys.readouterr()
    assert captured.out.count("Sequential: final accuracy") == 2
    assert captured.err.count("force=True is the same run as") == 2
    assert jobs() == [["finished", ""]] * 2


def test_batches_are_all_run(monkeypatch: pytest.MonkeyPatch) -> None:
    message = multirun(monkeypatch, "method=sequential", f"{DIVERGES},0.01,0.02", "hydra.sweeper.max_batch_size=1")
    assert message.startswith("1 of 3 runs failed")
    assert [state for state, _ in jobs()] == ["failed", "finished", "finished"]


def test_what_this_machine_lacks_refuses_no_run_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    without = ["method=sequential", "device=cuda:99", "seed=0,1"]
    assert multirun(monkeypatch, *without).startswith("error: seed=0: device=cuda:99 cannot be used")
    assert multirun(monkeypatch, *without, "hydra/launcher=elsewhere").startswith(
        "2 of 2 runs failed: device=cuda:99 cannot"
    )


def test_jobs_are_found_again_where_they_were_moved_to(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a" / "run")
    written = [
        Job("run", run, "seed=0", "finished"),
        Job("lost", tmp_path / "a" / "lost", "seed=1,2", "failed", 'a "reason"'),
    ]
    folder = multirun_folder(tmp_path / "a", ["run", "lost"])
    assert folder == multirun_folder(tmp_path / "a", ["lost", "run"]) != multirun_folder(tmp_path / "a", ["run"])
    write_jobs(folder, written)
    assert read_jobs(folder) == written
    (tmp_path / "a").rename(tmp_path / "b")
    runs = find_runs([tmp_path / "b" / folder.name])
    assert runs.table["folder"].tolist() == [(tmp_path / "b" / "run").as_posix()]
    assert runs.problems.to_numpy().tolist() == [[(tmp_path / "b" / "lost").as_posix(), 'not finished: a "reason"']]


@pytest.mark.parametrize("text", ["", "run_id,folder\nrun,../run\n", "a,b\n1,2,3\n"])
def test_a_broken_list_of_jobs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs.csv").write_text(text)
    with pytest.raises(ConfigError, match=r"jobs.csv cannot be read \(\w+\): give the command of the multirun again"):
        find_runs([tmp_path])
