"""One trial: when it stops, what it says of failures, and that it goes on where it was interrupted."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import run as entrypoint
from src_lab import experiment
from src_lab.checkpoint import FOLDER
from src_lab.config import register_resolvers
from src_lab.search.trial import run_trial
from src_lab.settings import ConfigError
from tests.search.conftest import SMALL


def raw(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(Path(entrypoint.__file__).parent / "conf")):
        return compose("config", overrides=[*SMALL, "evaluate=final", "++search.trial=0", *overrides])


def test_the_value_is_the_mean_of_the_seeds(tmp_path: Path) -> None:
    outcome = run_trial(raw("search.seeds=[3,5]"), tmp_path)
    runs = [json.loads((tmp_path / f"s{seed}" / "metrics.json").read_text()) for seed in (3, 5)]
    assert outcome["state"] == "complete"
    assert outcome["validation"] == {"3": runs[0]["validation_accuracy"], "5": runs[1]["validation_accuracy"]}
    assert outcome["value"] == pytest.approx(sum(outcome["validation"].values()) / 2)
    assert outcome["test"] == {"3": runs[0]["final_accuracy"], "5": runs[1]["final_accuracy"]}
    assert outcome["intermediates"] == [run["stage_validation"]["2"] for run in runs]
    assert json.loads((tmp_path / "trial.json").read_text()) == outcome


def test_it_stops_below_a_floor_and_only_then(tmp_path: Path) -> None:
    whole = run_trial(raw(), tmp_path / "whole")
    first, both = whole["intermediates"][0], sum(whole["intermediates"]) / 2
    at = run_trial(raw(f"++search.floors=[{first},{both}]"), tmp_path / "at")
    assert at["validation"] == whole["validation"], "not below"
    at_once = run_trial(raw(f"++search.floors=[{first + 1e-6}]"), tmp_path / "at once")
    assert (at_once["state"], at_once["validation"], at_once["intermediates"]) == ("pruned", {}, [first])
    second = run_trial(raw(f"++search.floors=[{first},{both + 1e-6}]"), tmp_path / "second")
    assert (second["state"], list(second["validation"]), second["intermediates"]) == (
        "pruned",
        ["0"],
        whole["intermediates"],
    )
    assert second["value"] is None
    assert "is below the floor" in second["reason"]
    assert not list(tmp_path.rglob(FOLDER)), "a run that will not go on keeps no checkpoints"


@pytest.mark.parametrize("overrides", [["search.prune_after=null"], ["method.sleep_after=last_task"], ["method=parallel"]])
def test_it_never_stops_where_an_early_look_tells_nothing(overrides: list[str], tmp_path: Path) -> None:
    outcome = run_trial(raw("++search.floors=[2.0]", *overrides), tmp_path)
    assert outcome["state"] == "complete"
    assert outcome["intermediates"] == []


FAILURES = [
    ("train.learning_rate=1e30", "the training loss is"),
    ("sleep.alpha_scale=1e38 sleep.inc=1e38", ""),
    ("dataset.validation_per_task=0", "the run of seed 0 has no finite validation accuracy"),
    ("sleep.decay=1.5", "sleep.decay=1.5 is not allowed"),
]


@pytest.mark.parametrize(("overrides", "reason"), FAILURES)
def test_a_point_that_fails_says_why_in_a_line(overrides: str, reason: str, tmp_path: Path) -> None:
    outcome = run_trial(raw(*overrides.split()), tmp_path)
    assert outcome["state"] == "failed"
    assert reason in outcome["reason"]
    assert outcome["reason"].count("\n") == 0
    assert outcome["value"] is None


def test_what_no_point_can_be_blamed_for_stops_the_search(tmp_path: Path) -> None:
    (tmp_path / "s0").touch()
    with pytest.raises(OSError, match="s0"):
        run_trial(raw(), tmp_path)
    assert not (tmp_path / "trial.json").exists()
    (tmp_path / "s0").unlink()
    run_trial(raw(), tmp_path)
    (tmp_path / "trial.json").unlink()
    with pytest.raises(ConfigError, match="holds another run"):
        run_trial(raw("sleep.inc=0.5"), tmp_path)


def test_finished_seeds_and_finished_trials_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_trial(raw(), tmp_path)
    (tmp_path / "trial.json").unlink()
    monkeypatch.setattr(experiment, "run", lambda *_: pytest.fail("it ran again"))
    again = run_trial(raw(), tmp_path)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    for file in tmp_path.glob("s*/*"):
        file.unlink()
    assert run_trial(raw(), tmp_path) == again
