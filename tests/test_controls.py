"""The controls as a user meets them: presets, identity, refusals, whole runs, tables."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src_lab.aggregate import find_runs, group_columns, group_names, summarise
from src_lab.config import RunConfig
from src_lab.experiment import ensure
from tests import test_resume
from tests.make_runs import make_run
from tests.test_config import CONF, SMALL, compose, refuse
from tests.test_experiment import AWAKE, configured

CONTROLS = sorted(path.stem for path in (CONF / "control").glob("*.yaml"))
SLEEPS: dict[str, dict[str, Any]] = {
    "decrement_only": {"inc": 0.0},
    "increment_only": {"dec": 0.0},
    "hidden_only": {"plastic": "hidden"},
    "output_only": {"plastic": "output"},
    "shuffled_change": {"change": "shuffled"},
    "matched_noise": {"change": "noise"},
    "per_unit_change": {"change": "per_unit"},
    "rank_one_change": {"change": "rank_one"},
    "levelled_only": {"inc": 0.0, "dec": 0.0, "homeostasis": "outputs"},
}
STIMULI = {"shuffled_image": "shuffled", "uniform_noise": "uniform"}
RESCALED = {
    "row_norm": ("never", "row_norm", "current"),
    "centred_current": ("never", "centre", "current"),
    "centred_stimulus": ("never", "centre", "stimulus"),
    "standardised_current": ("never", "standardise", "current"),
    "standardised_stimulus": ("never", "standardise", "stimulus"),
    "slept_row_norm": ("each_task", "row_norm", "current"),
    "slept_standardised": ("each_task", "standardise", "current"),
}


class TestPresets:
    def test_there_is_one_for_each_control(self) -> None:
        assert set(CONTROLS) == {"none", *SLEEPS, *STIMULI, *RESCALED}

    @pytest.mark.parametrize("experiment", ["", "experiment=digits", "experiment=tadros_mnist"])
    @pytest.mark.parametrize("control", CONTROLS)
    def test_it_changes_what_it_says_and_nothing_else(self, control: str, experiment: str) -> None:
        preset = [experiment] if experiment else []
        plain, found = compose(*preset), compose(*preset, f"control={control}")
        sleep = replace(plain.sleep, name=found.sleep.name, **SLEEPS.get(control, {}))
        if control in STIMULI:
            sleep = replace(sleep, stimulus=replace(sleep.stimulus, shape=STIMULI[control]))  # type: ignore[arg-type]
        assert found.sleep == sleep
        if control in RESCALED:
            method: Any = found.method
            assert (method.sleep_after, method.by, method.over) == RESCALED[control]
        else:
            assert found.method == plain.method
        assert (found.model, found.dataset, found.train) == (plain.model, plain.dataset, plain.train)

    def test_the_table_names_each(self) -> None:
        names = {compose(f"control={control}").sleep.name for control in (*SLEEPS, *STIMULI)}
        assert len(names) == len(SLEEPS) + len(STIMULI)
        assert "python_mnist" not in names

    def test_no_control_is_the_run_as_it_was(self) -> None:
        assert compose("control=none") == compose()

    def test_another_one_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        said = refuse(monkeypatch, tmp_path, "control=rested")
        assert "control=rested does not exist: allowed are centred_current, centred_stimulus, decrement_only" in said


class TestIdentity:
    def test_runs_of_before_the_controls_keep_their_name(self) -> None:
        assert compose("method=src", "threads=1").run_id == "src-be1d9910-s0"
        defaults = ["sleep.plastic=all", "sleep.change=learned", "sleep.stimulus.shape=mean"]
        assert compose("method=src", "threads=1", *defaults).run_id == "src-be1d9910-s0"

    def test_each_setting_is_another_run(self) -> None:
        changes = ["plastic=hidden", "plastic=output", "change=shuffled", "change=noise"]
        shapes = ["stimulus.shape=shuffled", "stimulus.shape=uniform"]
        hashes = {compose(*SMALL, f"sleep.{change}").hash for change in (*changes, *shapes)}
        assert len(hashes | {compose(*SMALL).hash}) == 7


REFUSED = [
    ("sleep.plastic=first", "sleep.plastic=first is not allowed: must be one of all, hidden, output"),
    ("sleep.change=none", "sleep.change=none is not allowed: must be one of learned, shuffled, noise"),
    ("sleep.stimulus.shape=flat", "sleep.stimulus.shape=flat is not allowed: must be one of mean, shuffled, uniform"),
    (
        "sleep.plastic=hidden model.widths=[] sleep.alpha=[1] sleep.beta=[1]",
        "sleep.plastic=hidden leaves nothing to change in a network of one layer of weights: use sleep.plastic=all",
    ),
    (
        "sleep.keep_best=true sleep.record_every=10 dataset.validation_per_task=20 sleep.change=noise",
        "sleep.keep_best=true keeps what was learned up to some step, but sleep.change=noise replaces what was learned",
    ),
    ("method=rescale method.by=sum", "method.by=sum is not allowed: must be one of row_norm, centre, standardise"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=[overrides for overrides, _ in REFUSED])
def test_what_cannot_be_is_one_line(overrides: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refuse(monkeypatch, tmp_path, *SMALL, *overrides.split())
    assert message in said
    assert "\n" not in said.strip()


STOPPED = [
    ["control=shuffled_image", *AWAKE],
    ["control=matched_noise", *AWAKE],
    ["control=slept_standardised", "sleep.record_every=20", *AWAKE],
    ["control=standardised_stimulus"],
]


@pytest.mark.parametrize("overrides", STOPPED, ids=[overrides[0] for overrides in STOPPED])
def test_a_run_that_was_stopped_ends_the_same(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_resume.test_stopping_after_every_checkpoint_changes_nothing(overrides, tmp_path, monkeypatch)


def finished(tmp_path: Path, name: str, *overrides: str) -> RunConfig:
    config = configured("dataset.num_tasks=2", "train.epochs=1", *overrides)
    ensure(config, tmp_path / name)
    return config


class TestTables:
    def test_controls_are_rows_of_their_own_by_name(self, tmp_path: Path) -> None:
        for control in ("none", "hidden_only", "uniform_noise", "row_norm", "slept_standardised"):
            finished(tmp_path, control, f"control={control}", *AWAKE)
        names = group_names(group_columns(find_runs([tmp_path])).drop_duplicates())
        assert sorted(names) == [
            "SRC, sleep hidden layers only",
            "SRC, sleep python_mnist",
            "SRC, sleep uniform noise",
            "SRC, standardised on current images",
            "Sequential, rows of equal norm",
        ]

    def test_a_plain_sweep_says_which_run_had_the_default(self, tmp_path: Path) -> None:
        for plastic in ("all", "output"):
            finished(tmp_path, plastic, f"sleep.plastic={plastic}", *AWAKE)
        assert sorted(summarise(find_runs([tmp_path]))["settings"]) == ["sleep.plastic=default", "sleep.plastic=output"]

    @pytest.mark.parametrize(("over", "groups"), [("stimulus", 2), ("current", 1)])
    def test_the_stimulus_tells_runs_apart_where_it_was_looked_at(self, tmp_path: Path, over: str, groups: int) -> None:
        for index, keep in enumerate((0.25, 1.0)):
            make_run(tmp_path / str(index), "rescale", seed=index, method__over=over, sleep__stimulus={"keep": keep})
        assert len(summarise(find_runs([tmp_path]))) == groups
