"""Whole searches by command line: what they leave, what they refuse, and that their best preset gives its value again."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml

import run as entrypoint
from src_lab.sleep import SleepConfig
from src_lab.walk import walk
from tests.search.conftest import SMALL, among_kills, described
from tests.test_config import refuse

Command = Callable[..., None]
REPORT = ("trials.csv", "history.png", "parallel_coordinates.png", "importances.png", "conf/sleep/src_best.yaml")


def folder_of(where: Path) -> Path:
    (folder,) = where.glob("outputs/search-*")
    return folder


def metrics_of(folder: Path) -> dict[str, object]:
    metrics: dict[str, object] = json.loads((folder / "metrics.json").read_text())
    return metrics


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
    return study.get_trials()


def test_a_search_leaves_its_trials_its_pictures_and_a_preset_that_gives_the_best_value_again(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command("search.n_trials=4", "search.prune_after=null")
    folder = folder_of(tmp_path)
    table = pd.read_csv(folder / "trials.csv")
    assert list(table["number"]) == list(range(4))
    assert set(table["state"]) == {"complete"}
    assert all((folder / name).stat().st_size > 100 for name in REPORT)
    assert list(table["value"]) == pytest.approx(list(table[["validation_s0", "validation_s1"]].mean(axis=1)))
    assert [trial.values[0] for trial in trials_of(folder)] == list(table["value"]), "validation alone decides"
    finals = [metrics_of(folder / "trial-3" / seed)["final_accuracy"] for seed in ("s0", "s1")]
    assert table["test_not_used"][3] == pytest.approx(sum(finals) / 2), "recorded"

    preset = yaml.safe_load((folder / "conf/sleep/src_best.yaml").read_text())
    assert set(preset) == set(SleepConfig.__dataclass_fields__), "complete"
    best = table.loc[table["value"].idxmax()]
    assert preset["inc"] == pytest.approx(best["sleep.inc"])
    assert preset["beta_scale"] == pytest.approx([best[f"sleep.beta_scale.{layer}"] for layer in range(3)])
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if "hydra.searchpath" in line]
    assert "sleep=src_best" in line

    monkeypatch.chdir(tmp_path)
    run = [text for text in SMALL if not text.startswith(("search", "sleep"))]
    for seed in (0, 1):
        path = f"hydra.searchpath=[file://{folder}/conf]"
        monkeypatch.setattr(
            sys, "argv", ["run.py", path, *run, "sleep=src_best", f"seed={seed}", f"hydra.run.dir=again{seed}"]
        )
        entrypoint.cli()
        assert metrics_of(tmp_path / f"again{seed}")["validation_accuracy"] == best[f"validation_s{seed}"]
    assert not list(walk([tmp_path / "outputs"])), "trials are not counted among the runs"


def test_killed_at_random_moments_a_search_ends_as_in_peace(tmp_path: Path, command: Command) -> None:
    def search(folder: Path) -> None:
        command("search.n_trials=4", f"hydra.sweep.dir={folder}")

    whole = tmp_path / "whole"
    started = time.perf_counter()
    search(whole)
    seconds = time.perf_counter() - started
    for broken in among_kills(search, tmp_path, seconds / 2, kills=5):
        assert [described(trial) for trial in trials_of(broken)] == [described(trial) for trial in trials_of(whole)]
        tables = [pd.read_csv(folder / "trials.csv").drop(columns="seconds") for folder in (whole, broken)]
        assert tables[0].equals(tables[1])
        assert sorted(path.name for path in broken.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_what_a_killed_report_left_half_written_goes(tmp_path: Path, command: Command) -> None:
    command("search.n_trials=2", "search.seeds=[0]")
    folder = folder_of(tmp_path)
    left = [folder / ".history.png.1.partial", folder / "conf" / "sleep" / ".src_best.yaml.1.partial"]
    for path in left:
        path.write_text("half")
    command("search.n_trials=2", "search.seeds=[0]")
    assert not any(path.exists() for path in left)


def test_workers_share_a_search(tmp_path: Path, command: Command) -> None:
    command("search.n_trials=4", "search.workers=2", "search.seeds=[0]")
    folder = folder_of(tmp_path)
    trials = trials_of(folder)
    assert [trial.number for trial in trials] == list(range(4))
    assert all(trial.state.is_finished() for trial in trials)
    assert len({str(trial.params) for trial in trials}) == 4
    assert all((folder / name).exists() for name in REPORT)


def test_failed_trials_are_recorded_with_their_reason_and_the_search_goes_on(tmp_path: Path, command: Command) -> None:
    every = ["search/sampler=grid", "train.learning_rate=0.1,1e30", "dataset.validation_per_task=40,0"]
    fixed = ["sleep.inc=0.002", "sleep.dec=0.009", "sleep.beta_scale=1", "sleep.stimulus.keep=1"]
    small = [text for text in SMALL if "sampler" not in text]
    command(*every, *fixed, settings=small)
    table = pd.read_csv(folder_of(tmp_path) / "trials.csv", keep_default_na=False).set_index(
        ["train.learning_rate", "dataset.validation_per_task"]
    )
    assert len(table) == 4
    assert table.loc[(0.1, 40), "state"] == "complete"
    assert "training loss is" in table.loc[(1e30, 40), "reason"]
    assert "no finite validation accuracy" in table.loc[(0.1, 0), "reason"]
    assert list(table["state"]).count("failed") == 3


def test_a_search_whose_every_trial_fails_says_so(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command("search.n_trials=2", "train.learning_rate=1e30", "search.include_preset=false")
    assert "no trial is complete" in capsys.readouterr().err
    assert list(pd.read_csv(folder_of(tmp_path) / "trials.csv")["state"]) == ["failed", "failed"]


def test_a_full_or_broken_disk_stops_the_search_and_the_trial_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_way = tmp_path / "here" / "trial-0" / "s1"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    said = refuse(monkeypatch, tmp_path, "-m", *SMALL, "search.n_trials=1", "hydra.sweep.dir=here")
    assert "trial-0/s1" in said
    assert "\n" not in said
    (trial,) = trials_of(tmp_path / "here")
    assert not trial.state.is_finished()
    in_the_way.unlink()
    command("search.n_trials=1", "hydra.sweep.dir=here")
    (again,) = trials_of(tmp_path / "here")
    assert again.state.is_finished()
    assert again.params == trial.params
    assert "importances.png is left out" in capsys.readouterr().err, "of one trial there are none"
    assert (tmp_path / "here" / "history.png").exists()


def test_what_the_command_line_fixes_or_replaces_is_not_searched(tmp_path: Path, command: Command) -> None:
    command("search.n_trials=2", "sleep.dec=0.007", "sleep.beta_scale=2", "sleep.inc=0.001,0.003")
    for trial in trials_of(folder_of(tmp_path)):
        assert set(trial.params) == {"sleep.inc", "sleep.stimulus.keep"}, "sleep.iterations is fixed as well"
        assert trial.params["sleep.inc"] in (0.001, 0.003)
        ran = yaml.safe_load((folder_of(tmp_path) / f"trial-{trial.number}" / "s0" / "config.yaml").read_text())["sleep"]
        assert (ran["dec"], ran["beta_scale"], ran["inc"]) == (0.007, 2, trial.params["sleep.inc"])


WRONG = [
    ("search=foo", "is a setting of a search, and none is chosen: add one, e.g. search=src"),
    ("search/sampler=foo", "allowed are cmaes, grid, random, tpe"),
    ("search.n_trials=0", "search.n_trials=0 is not allowed: must be a whole number >= 1"),
    ("search.foo=1", "allowed here: search.name, search.n_trials"),
    ("search.n_trial=5", "search.n_trial is not a setting: did you mean search.n_trials?"),
    ("+search.n_trial=5", "search.n_trial is not a setting: did you mean search.n_trials?"),
    ("search.seeds=[]", "search.seeds=[] must be different seeds"),
    ("search.seeds=[1,1]", "search.seeds=[1, 1] must be different seeds"),
    ("search.seeds=0,1", "search.seeds=0,1 cannot be searched: give one value, or a list as search.seeds=[1,2]"),
    ("search.sampler.sigma=1", "search.sampler.sigma is not a setting"),
    ("search.sampler.candidates=0", "search.sampler.candidates=0 is not allowed"),
    ("search.space=null", "search.space=null is not a space"),
    ("seed=3", "seed cannot be set: a search runs every trial with each of search.seeds"),
    ("force=true", "force cannot be set: a search goes on where it was"),
    ("sleep.incc=interval(0,1)", "sleep.incc is not a setting: did you mean sleep.inc?"),
    ("sleep.inc=interval(-1,1)", "sleep.inc=-1.0 is not allowed: must be a number >= 0"),
    ("sleep.inc=interval(1,0)", "sleep.inc=interval(1,0) cannot be searched"),
    ("sleep.inc=interval(0", "cannot be read: write KEY=VALUE"),
    ("sleep.rule=sigmoid,hebb", "sleep.rule=hebb is not allowed: must be one of tadros"),
    ("sleep.dec=0 sleep.inc=0.1,0.2 sleep.beta_scale=1 sleep.stimulus.keep=1 search/sampler=cmaes", "cannot choose among"),
    ("search/sampler=grid", "search/sampler=grid needs values to try for sleep.inc"),
    ("dataset.validation_per_task=0", "a search is judged by validation images"),
    ("method=parallel sleep.backend=brian", "sleep.backend=brian is not allowed"),
    ("dataset.num_tasks=6", "dataset.num_tasks"),
    ("search.storage=nosuch://x", "search.storage cannot be used"),
]


@pytest.mark.parametrize(("override", "message"), WRONG)
def test_a_wrong_search_is_one_line_and_leaves_nothing(
    override: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refuse(monkeypatch, tmp_path, "-m", *(text for text in SMALL if "sampler" not in text), *override.split())
    assert message in said
    assert said.startswith("error: ")
    assert "\n" not in said.strip()
    assert not list(tmp_path.rglob("*.*")), "a refused search leaves no file"


def test_a_search_without_m_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "add -m, python run.py -m search=src" in refuse(monkeypatch, tmp_path, *SMALL)
