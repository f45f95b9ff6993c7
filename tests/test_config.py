"""Wrong settings stop a run before any work, with one line; right ones name the run."""

import os
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import run as entrypoint
from src_lab.config import parse, register_resolvers

SMALL = ["dataset=digits", "model.widths=[20,20]", "cache=off"]


def compose(*overrides: str):
    from hydra import compose, initialize_config_dir

    register_resolvers()
    with initialize_config_dir(str(Path(entrypoint.__file__).parent / "conf")):
        return parse(compose("config", overrides=list(overrides)))


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str) -> str:
    """The message with which the command line refuses `overrides`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["run.py", *overrides])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as stopped:
        entrypoint.cli()
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return str(stopped.value)


WRONG = [
    # unknown keys and choices
    ("sleep.incc=1", "sleep.incc is not a setting: did you mean sleep.inc?"),
    ("+sleep.incc=1", "sleep.incc is not a setting: did you mean sleep.inc?"),
    ("sleep.stimulus.keeps=1", "did you mean sleep.stimulus.keep?"),
    ("sede=1", "sede is not a setting: did you mean seed?"),
    ("+foo=1", "foo is not a setting: allowed here: model, method, dataset"),
    ("method=foo", "method=foo does not exist: allowed are agem, cheat, dare, dgr, ewc"),
    ("sleep=foo", "sleep=foo does not exist: allowed are best, best_fashion, digits, discriminant, discriminant_fashion"),
    ("model=cnn5", "model=cnn5 does not exist: allowed are cnn, lowrank, mlp, mlp_cifar10"),
    ("dataset=imagenet", "dataset=imagenet does not exist: allowed are cross_modal, digits"),
    ("train=adam", "train=adam does not exist: allowed are paper, paper_cifar10"),
    ("method.compat=true", "method.compat is not a setting"),
    ("+method.compat=true", "method.compat is not a setting"),
    ("method.name=foo", "method.name=foo is not a method: allowed are src, sequential"),
    ("~train.epochs", "train.epochs is missing: give a whole number >= 0 or a list [..]"),
    # wrong types
    ("sleep.inc=abc", "must be a number >= 0 or a list [..] whose entries are each a number >= 0; e.g. sleep.inc=0.001"),
    ("sleep.inc=true", "sleep.inc=true is not allowed: must be a number >= 0"),
    ("sleep.inc=null", "sleep.inc=null is not allowed: must be a number >= 0"),
    ("sleep.iterations=1.5", "sleep.iterations=1.5 is not allowed: must be a whole number >= 0"),
    ("seed=one", "seed=one is not allowed: must be a whole number"),
    ("model.widths=10", "model.widths=10 is not allowed: must be a list [..]"),
    ("model.bias=maybe", "model.bias=maybe is not allowed: must be true or false"),
    ("sleep=3", "a group of settings takes the name of a file"),
    ("sleep.rule=hebb", "sleep.rule=hebb is not allowed: must be one of tadros, sigmoid, proportional"),
    ("method.sleep_after=sometimes", "must be one of never, each_task, last_task"),
    # out of range
    ("sleep.inc=-1", "sleep.inc=-1 is not allowed: must be a number >= 0"),
    ("sleep.dec=nan", "sleep.dec=nan is not allowed"),
    ("sleep.bias=fixed", "sleep.bias=fixed is not allowed: must be one of scaled, adapt, ignore"),
    ("sleep.decay=1.1", "sleep.decay=1.1 is not allowed: must be a number >= 0 and <= 1"),
    ("sleep.max_rate_hz=0", "sleep.max_rate_hz=0 is not allowed: must be a number > 0"),
    ("sleep.stimulus.keep=2", "sleep.stimulus.keep=2 is not allowed: must be a number >= 0 and <= 1"),
    ("train.learning_rate=inf", "train.learning_rate=inf is not allowed"),
    ("train.batch_size=0", "train.batch_size=0 is not allowed: must be a whole number >= 1"),
    ("model.widths=[10,0]", "whose entries are each a whole number >= 1"),
    ("model.dropout=1", "model.dropout=1 is not allowed"),
    ("seed=-1", "seed=-1 is not allowed: must be a whole number >= 0"),
    ("threads=0", "threads=0 is not allowed: must be a whole number >= 1"),
    ("cache_gb=-1", "cache_gb=-1 is not allowed: must be a number >= 0; e.g. cache_gb=10"),
    ("evaluate=never", "evaluate=never is not allowed: must be one of each_stage, final"),
    ("cache=null", "cache=null is not allowed: must be a text; e.g. cache=off"),
    # missing
    ("seed=???", "seed is missing: give a whole number >= 0"),
    # impossible together
    ("model.widths=[20]", "has 3 values but the network has 2 layers of weights: give one per layer"),
    ("sleep.alpha_scale=[1,2]", "sleep.alpha_scale=[1.0,2.0] has 2 values but the network has 3 layers"),
    ("model.bias=true sleep.threshold=0", "layer 0 has alpha=14.9838 and threshold 0: make both positive"),
    ("model.bias=true sleep.alpha_scale=[1,-1,1]", "sleep.bias=scaled needs positive gains and thresholds before the last"),
    ("model=cnn model.widths=[]  method=owm", "model.channels=[16,32] is not possible with method=owm"),
    ("model=cnn model.widths=[] sleep.backend=numba", "sleep.backend=numba is for networks without convolutions"),
    ("model=cnn model.widths=[] analysis=[spikes]", "analysis=spikes cannot read convolutions: use analysis=all"),
    (
        "model=cnn model.widths=[] model.channels=[2,2,2,2] sleep.beta=[1,1,1,1,1] sleep.alpha=[1,1,1,1,1]",
        "model.channels=[2,2,2,2] halves images of 8 x 8 to nothing",
    ),
    ("method=lowrank_merge model=mlp", "model=mlp is not low-rank"),
    ("dataset.num_tasks=6", "dataset.num_tasks"),
    ("dataset.task_order=[0,0,1,2,3]", "dataset.task_order"),
    ("dataset.samples_per_task=99999", "dataset.samples_per_task=99999 is too many"),
    ("sleep=tadros_mnist", "sleep.stimulus.window=11 is larger than the 8 x 8 images"),
    ("sleep.backend=brian", "sleep.backend=brian is not allowed: must be one of auto"),
    ("sleep.keep_best=true", "sleep.keep_best=true needs recorded steps"),
    ("sleep.summary=3", "sleep.summary=3 is for outputs that are levelled, and sleep.homeostasis=none levels none"),
    ("sleep.decorrelation=-1", "e.g. sleep.decorrelation=0.0"),
    ("sleep.keep_best=perhaps", "e.g. sleep.keep_best=false"),
    ("sleep.decorrelation=0.2", "sleep.decorrelation=0.2 is for outputs that are levelled"),
    ("sleep.summary=0 sleep.homeostasis=outputs", "sleep.summary=0 is not allowed"),
    ("sleep.discriminant=0.5 sleep.homeostasis=outputs", "sleep.discriminant=0.5 tells apart summaries of tasks"),
    ("sleep.summary_residual=true", "sleep.summary_residual=true adds to a summary, and sleep.summary=null keeps none"),
    (
        "sleep.keep_best=true sleep.record_every=10 sleep.homeostasis=outputs",
        "sleep.keep_best=true keeps what some step had, but sleep.homeostasis=outputs changes it afterwards",
    ),
    ("sleep.plasticity=relative", "sleep.plasticity=relative needs rates that are known: use sleep.scaling=target_rate"),
    (
        "sleep.plasticity=relative sleep.scaling=target_rate sleep.rule=proportional",
        "sleep.plasticity=relative is not possible with sleep.rule=proportional",
    ),
    (
        "sleep.stimulus.spikes=25 sleep.stimulus.mask=none",
        "sleep.stimulus.spikes=25 needs a mask that can keep more or fewer pixels: use sleep.stimulus.mask=pixel, not none",
    ),
    (
        "sleep.least_dissimilarity=0.01",
        "sleep.least_dissimilarity=0.01 scales shares, which sleep.plasticity=absolute has none of: use sleep",
    ),
    (
        "sleep.dissimilarity=1",
        "sleep.dissimilarity=1 scales shares, which sleep.plasticity=absolute has none of: use sleep.plasticity=relative",
    ),
    ("sleep.growth=0", "sleep.growth=0 is not allowed: must be a number > 0"),
    ("sleep.dec=[1,0.5]", "sleep.dec=[1.0,0.5] has 2 values but the network has 3 layers of weights"),
    ("sleep.target_rate=0", "sleep.target_rate=0 is not allowed: must be a number > 0 and <= 0.5"),
    (
        "sleep.keep_best=true sleep.record_every=10 dataset.validation_per_task=0",
        "sleep.keep_best=true needs validation images",
    ),
    ("device=tpu", "device=tpu cannot be used: allowed are auto"),
    ("analysis=[ranks,colours]", "analysis=colours is not an analysis: allowed are null, all, or a list of ranks"),
    ("analysis=some", "analysis=some is not allowed: must be a list [..]"),
    # what Hydra itself cannot read
    ("seed=0,1", "seed=0,1 is several values: add -m to run each"),
    ("seed=range(0,3)", "seed=range(0,3) is several values: add -m to run each"),
    ("sleep.inc", "sleep.inc cannot be read: write KEY=VALUE"),
    ("sleep.alpha=[1,2", "cannot be read: write KEY=VALUE"),
]


@pytest.mark.parametrize(("override", "message"), WRONG, ids=[override for override, _ in WRONG])
def test_a_wrong_setting_is_one_line_and_leaves_nothing(
    override: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refuse(monkeypatch, tmp_path, *SMALL, *override.split())
    assert message in said
    assert said.startswith("error: ")
    assert "\n" not in said.strip()
    assert not list(tmp_path.rglob("*.*")), "a refused run leaves no file"


def test_a_folder_that_holds_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ["method=sequential", "train.epochs=0", f"hydra.run.dir={tmp_path}/here", *SMALL]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", *here])
    entrypoint.cli()
    assert "holds another run" in refuse(monkeypatch, tmp_path, *here, "seed=1")
    monkeypatch.setattr(sys, "argv", ["run.py", *here, "seed=1", "force=true"])
    entrypoint.cli()
    assert "seed: 1" in (tmp_path / "here/config.yaml").read_text()


def test_a_finished_run_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "method=sequential", "train.epochs=0", *SMALL])
    entrypoint.cli()
    (metrics,) = tmp_path.glob("outputs/*/metrics.json")
    written = metrics.stat().st_mtime_ns
    first = capsys.readouterr().out
    entrypoint.cli()
    assert metrics.stat().st_mtime_ns == written
    assert capsys.readouterr().out == first


def test_the_identity_of_a_run_is_what_it_computes() -> None:
    plain = compose(*SMALL)
    assert compose(*SMALL, "seed=7").hash == plain.hash
    assert compose(*SMALL, "name=other", "force=true", "dataset.root=/elsewhere").hash == plain.hash
    assert compose(*SMALL, "cache=auto", "cache_gb=1").hash == plain.hash
    assert compose(*SMALL, "evaluate=final").hash != plain.hash
    assert compose(*SMALL, "sleep.inc=0.03").hash != plain.hash
    assert compose(*SMALL, "sleep.inc=1e-3").hash == plain.hash, "0.001 written otherwise"
    assert compose(*SMALL, "seed=7").run_id == f"src-{plain.hash}-s7"


CONF = Path(entrypoint.__file__).parent / "conf"
CHOICES = [
    f"{path.parent.name}={path.stem}"
    for group in ("model", "method", "dataset", "sleep", "train", "experiment")
    for path in sorted((CONF / group).glob("*.yaml"))
]


NEEDS_A_FILE = ("dataset=features", "experiment=tadros_cifar10", "experiment=tadros_cub200")
FITTING = {"sleep=tadros_patches": "model=perceptron", "train=paper_patches": "dataset=patches",
          "train=paper_cub200": "dataset.num_tasks=2", "model=perceptron": "sleep=tadros_patches"}  # fmt: skip
"""Presets that fit one size of network or number of tasks, with what they fit."""


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_of_every_group_composes(choice: str) -> None:
    group, _, name = choice.partition("=")
    file = [f"dataset.path={__file__}"] if choice in NEEDS_A_FILE else []
    fitting = [FITTING[choice]] if choice in FITTING else []
    config = compose(choice, *file, *fitting)
    if group != "experiment":
        assert getattr(config, group).name == name


def test_the_everyday_keys_reach_the_schema() -> None:
    config = compose(
        "method=sequential", "method.sleep_after=last_task", "sleep.alpha_scale=[1,2,3]", "model.widths=[50,50]"
    )
    assert config.sleeps
    assert config.sleep.alpha_scale == [1.0, 2.0, 3.0]
    assert config.model.widths == [50, 50]


def test_every_setting_of_sleep_training_and_models_can_be_set_without_a_plus() -> None:
    """Hydra takes `key=value` only for keys that the group's file has."""
    config = compose()
    settings = {"sleep": config.sleep, "sleep.stimulus": config.sleep.stimulus, "train": config.train, "model": config.model}
    keys = [
        f"{group}.{setting.name}"
        for group, schema in settings.items()
        for setting in fields(schema)
        if setting.name not in ("name", "stimulus")
    ]
    assert "sleep.discriminant_lasts" in keys
    from hydra import compose as composed
    from hydra import initialize_config_dir

    with initialize_config_dir(str(Path(entrypoint.__file__).parent / "conf")):
        written = composed("config")
    missing = [key for key in keys if OmegaConf.select(written, key, default=MISSING) is MISSING]
    assert missing == []


def test_a_traceback_is_there_for_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "sleep.inc=-1"])
    monkeypatch.setitem(os.environ, "HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match=r"sleep\.inc=-1"):
        entrypoint.cli()
