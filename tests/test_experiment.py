"""Whole runs on scikit-learn's digits: the files, what they say, and that a seed fixes every number."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from src_lab import metrics, results
from src_lab.config import RunConfig
from src_lab.experiment import run
from src_lab.run_folder import ACCURACY_COLUMNS
from tests.test_config import CHOICES, NEEDS_A_FILE, compose

DIGITS = ["dataset=digits", "model.widths=[40,40]", "train.learning_rate=0.2", "train.epochs=4", "threads=1", "cache=off"]
AWAKE = ["sleep.alpha_scale=[2,0.3,1]", "sleep.iterations=60", "sleep.bonus_iterations=10"]
PAPER = ["sleep.stimulus.samples_per_step=null", "sleep.scaling=data"]
WINDOW = ["sleep.stimulus.mask=window", "sleep.stimulus.window=4"]
VARIANTS = [
    ["method=src", *AWAKE],
    ["method=src", "method.sleep_after=last_task", *AWAKE],
    ["method=src", "method.sleep_after=2", *AWAKE],
    *(
        [f"method={name}", "method.sleep_after=each_task", *AWAKE]
        for name in (
            "task_arithmetic",
            "ties",
            "dare",
            "magmax",
            "fisher_merge",
            "regmean",
            "stitch",
            "running_average",
            "ewc",
            "online_ewc",
            "si",
            "lwf",
            "owm",
            "weight_aligning",
            "replay",
            "rehearsal",
            "icarl",
            "agem",
            "rescale",
        )
    ),
    ["method=dgr", "method.generator_steps=5", "method.sleep_after=each_task", *AWAKE],
    ["method=ncm"],
    ["method=slda"],
    ["method=sequential"],
    ["method=cheat"],
    ["method=cheat", "method.compat=true"],
    ["method=parallel"],
    ["method=merge"],
    ["method=merge", "method.sleep_after=each_task", *AWAKE],
    ["method=lowrank_merge", "model.rank=4"],
    ["method=lowrank_merge", "method.combine=concat"],
    ["method=src", "model=lowrank", "model.widths=[40,40]", *AWAKE],
    ["method=sequential", "model.bias=true"],
    ["method=src", "model.bias=true", "sleep.bias=adapt", *AWAKE],
    ["method=src", "model=lowrank", "model.widths=[40,40]", "model.bias=true", *AWAKE],
    ["method=src", "sleep.stimulus.images=seen", *PAPER, *AWAKE],
    ["method=src", "sleep.stimulus.images=running_mean", *WINDOW, *AWAKE],
    ["method=src", "sleep=one_set", "sleep.summary=3", "sleep.iterations=60"],
    ["method=src", "model=mlp_paper", "model.widths=[40,40]", "train=paper", *AWAKE],
    ["method=sequential", "dataset.task_order=random", "dataset.num_tasks=3"],
]


def configured(*overrides: str) -> RunConfig:
    return compose(*DIGITS, *overrides)


@pytest.mark.parametrize("overrides", VARIANTS, ids=[" ".join(variant) for variant in VARIANTS])
def test_a_run_leaves_consistent_files(overrides: list[str], tmp_path: Path) -> None:
    config = configured(*overrides)
    run(config, tmp_path)
    accuracy = pd.read_csv(tmp_path / "accuracy.csv")
    results = pd.read_csv(tmp_path / "results.csv")
    values = json.loads((tmp_path / "metrics.json").read_text())
    tasks = config.dataset.num_tasks

    assert list(accuracy.columns)[:11] == list(ACCURACY_COLUMNS)
    assert list(results.columns) == ["Approach", "Stage", "steps", *(f"Task {k}" for k in range(tasks)), "Task All"]
    assert len(accuracy) == tasks * len(results)
    assert accuracy["accuracy"].between(0, 1).all()
    assert set(accuracy["run_id"]) == {config.run_id}
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seed"] == config.seed
    assert not list(tmp_path.glob(".*")), "no temporary file is left"

    final = accuracy[accuracy.stage == "final"]
    overall = np.average(final.accuracy, weights=final.n_test)
    assert values["final_accuracy"] == pytest.approx(overall)
    assert results["Stage"].iloc[-1] == "After Training"
    assert results["Task All"].iloc[-1] == pytest.approx(100 * overall, abs=1e-3)
    assert results["Stage"].iloc[0] == "Initial"
    slept = accuracy[accuracy.stage == "sleep"]
    assert (len(slept) > 0) == config.sleeps
    assert slept["sleep_step"].notna().all()
    assert accuracy[accuracy.stage != "sleep"]["sleep_step"].isna().all(), "not measured is empty, never 0"
    if config.method.name != "cheat":
        assert (accuracy["accuracy_task_aware"] >= accuracy["accuracy"]).all()
    seconds = values["wall_seconds"]
    assert set(seconds) == {"train", "sleep", "evaluate", "total"}
    assert seconds["train"] + seconds["sleep"] + seconds["evaluate"] <= seconds["total"]
    assert (seconds["sleep"] > 0) == config.sleeps


def test_metrics_are_those_of_the_accuracy_table(tmp_path: Path) -> None:
    run(configured("method=src", *AWAKE), tmp_path)
    accuracy = pd.read_csv(tmp_path / "accuracy.csv")
    values = json.loads((tmp_path / "metrics.json").read_text())
    slept = accuracy[accuracy.stage == "sleep"]
    r = slept.pivot(index="trained_task", columns="eval_task", values="accuracy").to_numpy()
    assert values["forgetting"] == pytest.approx(metrics.forgetting(r))
    assert values["bwt"] == pytest.approx(metrics.backward_transfer(r))
    assert list(slept.groupby("trained_task")["sleep_step"].first()) == [60, 70, 80, 90, 100]


def test_evaluating_at_the_end_only_gives_the_same_end(tmp_path: Path) -> None:
    frames, metrics_ = [], []
    for when in ("each_stage", "final"):
        (tmp_path / when).mkdir()
        _, values = run(configured("method=src", f"evaluate={when}", *AWAKE), tmp_path / when)
        accuracy = pd.read_csv(tmp_path / when / "accuracy.csv")
        frames.append(accuracy[accuracy.stage == "final"].reset_index(drop=True))
        metrics_.append(values)
    assert list(pd.read_csv(tmp_path / "final" / "results.csv")["Stage"]) == ["After Training"]
    columns = ["eval_task", "accuracy", "n_test", "accuracy_task_aware"]
    assert frames[0][columns].equals(frames[1][columns])
    assert metrics_[0]["validation_accuracy"] == metrics_[1]["validation_accuracy"]
    assert metrics_[1]["forgetting"] is None, "not measured"


def test_a_checkout_that_is_not_installed_finishes_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LIBRARIES", ("no-such-distribution", "torch"))
    _, values = run(configured("method=sequential"), tmp_path)
    assert values["versions"]["no-such-distribution"] is None
    assert values["versions"]["torch"]


def test_joint_training_has_nothing_to_forget(tmp_path: Path) -> None:
    _, values = run(configured("method=parallel"), tmp_path)
    assert values["forgetting"] is None
    assert values["bwt"] is None


def test_without_validation_images_there_is_no_validation_accuracy(tmp_path: Path) -> None:
    _, values = run(configured("method=sequential", "dataset.validation_per_task=0"), tmp_path)
    assert values["validation_accuracy"] is None


def test_a_seed_fixes_every_number(tmp_path: Path) -> None:
    once, again, other = tmp_path / "once", tmp_path / "again", tmp_path / "other"
    for folder, seed in ((once, 3), (again, 3), (other, 4)):
        folder.mkdir()
        run(configured("method=src", f"seed={seed}", "sleep.record_every=25", *AWAKE), folder)
    for file in ("accuracy.csv", "results.csv", "sleep_trace.csv"):
        assert (once / file).read_bytes() == (again / file).read_bytes()
        assert (once / file).read_bytes() != (other / file).read_bytes()


def test_sleep_changes_what_follows_but_not_what_precedes(tmp_path: Path) -> None:
    frames = []
    for name, overrides in (("src", AWAKE), ("sequential", [])):
        (tmp_path / name).mkdir()
        run(configured(f"method={name}", *overrides), tmp_path / name)
        frame = pd.read_csv(tmp_path / name / "accuracy.csv")
        frames.append(frame[frame.stage == "train"].set_index(["trained_task", "eval_task"])["accuracy"])
    slept, awake = frames
    assert slept.loc[0].equals(awake.loc[0])
    assert not slept.loc[1:].equals(awake.loc[1:])


def test_the_trace_of_a_sleep(tmp_path: Path) -> None:
    run(configured("method=src", "sleep.record_every=30", *AWAKE), tmp_path)
    trace = pd.read_csv(tmp_path / "sleep_trace.csv")
    accuracy = pd.read_csv(tmp_path / "accuracy.csv")
    assert list(trace[trace.trained_task == 0]["sleep_step"]) == [30, 60]
    assert list(trace[trace.trained_task == 1]["sleep_step"]) == [30, 60], "70 steps: two whole intervals"
    at_end = trace[(trace.trained_task == 0) & (trace.sleep_step == 60)].iloc[0]
    after = accuracy[(accuracy.stage == "sleep") & (accuracy.trained_task == 0)]["accuracy"]
    assert [at_end[f"Task {k}"] for k in range(5)] == pytest.approx(list(after))
    assert at_end["spikes_1"] > 0
    assert at_end["shrunk_1"] > 0


def test_watching_a_sleep_does_not_change_it(tmp_path: Path) -> None:
    rows = []
    for name, overrides in (("watched", ["sleep.record_every=7"]), ("alone", [])):
        (tmp_path / name).mkdir()
        run(configured("method=src", *overrides, *AWAKE), tmp_path / name)
        rows.append(pd.read_csv(tmp_path / name / "accuracy.csv")["accuracy"])
    assert rows[0].equals(rows[1])


def test_keep_best_keeps_the_highest_validation_accuracy(tmp_path: Path) -> None:
    strong = [*AWAKE, "sleep.dec=0.01", "sleep.record_every=20", "method.sleep_after=last_task"]
    finals = {}
    for keep in ("false", "true"):
        (tmp_path / keep).mkdir()
        _, finals[keep] = run(configured("method=src", f"sleep.keep_best={keep}", *strong), tmp_path / keep)
    best = pd.read_csv(tmp_path / "true" / "sleep_trace.csv")["validation"].max()
    assert finals["true"]["validation_accuracy"] == pytest.approx(best)
    assert finals["true"]["validation_accuracy"] >= finals["false"]["validation_accuracy"]


def test_an_early_end_of_sleep_is_recorded(tmp_path: Path) -> None:
    run(configured("method=src", "sleep.beta_scale=1e6", "sleep.stop_when_silent=5", *AWAKE), tmp_path)
    accuracy = pd.read_csv(tmp_path / "accuracy.csv")
    assert set(accuracy[accuracy.stage == "sleep"]["sleep_step"]) == {5}


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.startswith("experiment")])
def test_every_experiment_runs_small(choice: str, tmp_path: Path) -> None:
    small = ["sleep.iterations=2", "sleep.bonus_iterations=0", "train.epochs=1", "cache=off"]
    if choice != "experiment=tadros_patches":  # of four images and no hidden layer
        classes = 200 if choice == "experiment=tadros_cub200" else 10
        per_task = max(40, 2 * classes)  # more than the components of any summary
        small += [f"dataset.samples_per_task={per_task}", "dataset.validation_per_task=5", "model.widths=[8,8]"]
    if choice in NEEDS_A_FILE:
        draw = np.random.default_rng(0)
        labels = np.arange(10 * classes) % classes
        x = draw.random((len(labels), 6))
        np.savez(tmp_path / "features.npz", train_x=x, train_y=labels, test_x=x, test_y=labels)
        small += [f"dataset.path={tmp_path / 'features.npz'}", "dataset.samples_per_task=null"]
    _, values = run(compose(choice, *small), tmp_path)
    assert math.isfinite(values["final_accuracy"])
