"""Features from files: read alike whatever the format, refused in one line, and part of a run's identity."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.io import savemat

from src_lab.data import Stream, load_stream
from src_lab.data.config import FeaturesConfig
from src_lab.settings import ConfigError
from tests.test_config import compose, refuse

Arrays = dict[str, np.ndarray]

WRITERS: dict[str, Callable[[Path, Arrays], None]] = {
    "npz": lambda path, arrays: np.savez(path, **arrays),
    "mat": lambda path, arrays: savemat(path, arrays),
    "safetensors": lambda path, arrays: save_file(arrays, path),
}


def made(train: int = 60, test: int = 20, width: int = 7, classes: int = 4) -> Arrays:
    """Random features of `classes` classes in turn; the largest of training is 8."""
    draw = np.random.default_rng(0)
    train_x = 7 * draw.random((train, width), dtype=np.float32)
    train_x[3, 2] = 8
    test_x = 16 * draw.random((test, width), dtype=np.float32)
    return {"train_x": train_x, "train_y": np.arange(train) % classes, "test_x": test_x, "test_y": np.arange(test) % classes}


def stream(path: Path, **settings: Any) -> Stream:
    settings = {"num_tasks": 2, "classes_per_task": 2} | settings
    return load_stream(FeaturesConfig(name="features", path=str(path), **settings), seed=0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "features.npz"
    np.savez(path, **made())
    return path


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("labels", ["row", "column"])
def test_every_format_gives_the_same_tasks(kind: str, labels: str, tmp_path: Path) -> None:
    arrays = made()
    written = arrays | {key: arrays[key][:, None] for key in ("train_y", "test_y") if labels == "column"}
    WRITERS[kind](tmp_path / f"features.{kind}", written)
    read = stream(tmp_path / f"features.{kind}", validation_per_task=4)
    assert (read.num_classes, read.image_shape) == (4, (1, 7))
    for number, task in enumerate(read.tasks):
        mine = arrays["train_y"] // 2 == number
        assert task.classes == (2 * number, 2 * number + 1)
        np.testing.assert_array_equal(task.train.images, arrays["train_x"][mine][:-4] / np.float32(8))
        np.testing.assert_array_equal(task.validation.images, arrays["train_x"][mine][-4:] / np.float32(8))
        np.testing.assert_array_equal(task.train.labels, arrays["train_y"][mine][:-4])
        np.testing.assert_array_equal(task.test.labels, arrays["test_y"][arrays["test_y"] // 2 == number])


def test_the_largest_training_feature_becomes_one_or_nothing_does(file: Path) -> None:
    images = [task.train.images for task in stream(file).tasks]
    assert torch.cat(images).max() == 1
    assert torch.cat([task.test.images for task in stream(file).tasks]).max() > 1, "the test has no say in the scale"
    as_they_are = torch.cat([task.train.images for task in stream(file, divisor=1.0).tasks])
    assert torch.equal(as_they_are, 8 * torch.cat(images))


BAD: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "an array is missing": (lambda a: a.pop("test_y"), "has no test_y: it must have train_x, train_y, test_x, test_y"),
    "images, not features": (lambda a: a.update(train_x=np.ones((60, 2, 2))), "train_x has shape (60,2,2): it must be"),
    "empty": (lambda a: a.update(test_x=np.ones((0, 7)), test_y=np.ones(0)), "test_x has shape (0,7)"),
    "complex": (lambda a: a.update(train_x=a["train_x"] + 1j), "train_x holds complex"),
    "text": (lambda a: a.update(train_x=np.full((60, 7), "a")), "train_x holds <U1: it must hold numbers"),
    "too few labels": (
        lambda a: a.update(train_y=a["train_y"][:-1]),
        "train_y has shape (59,): it must have one label for each",
    ),
    "one-hot": (lambda a: a.update(train_y=np.eye(4)[a["train_y"]]), "train_y has shape (60,4): it must have one label"),
    "not finite": (lambda a: a["train_x"].__setitem__((0, 0), np.nan), "train_x has values that are not finite"),
    "negative": (lambda a: a["test_x"].__setitem__((0, 0), -1), "test_x has values below 0"),
    "negative labels": (lambda a: a["train_y"].__setitem__(0, -1), "train_y has labels that are no class"),
    "broken labels": (lambda a: a.update(train_y=a["train_y"] + 0.5), "train_y has labels that are no class"),
    "labels from one": (
        lambda a: a.update(train_y=a["train_y"] + 1, test_y=a["test_y"] + 1),
        "no training features of class 0",
    ),
    "an untrained class": (
        lambda a: a["test_y"].__setitem__(0, 9),
        "has no training features of class 4, but of others up to 9",
    ),
    "other features": (lambda a: a.update(test_x=a["test_x"][:, 1:]), "has 7 features in train_x but 6 in test_x"),
    "nothing there": (lambda a: a.update(train_x=np.zeros((60, 7))), "has nothing but zeros in train_x"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_used_is_said_in_one_line(fault: str, tmp_path: Path) -> None:
    spoil, message = BAD[fault]
    arrays = made()
    spoil(arrays)
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(ConfigError) as refusal:
        stream(path)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith(f"dataset.path={path} ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("half.npz", b"PK\x03\x04 half", "cannot be read"),
        ("one.npz", b"\x93NUMPY", "cannot be read"),
        ("text.mat", b"text" * 100, "cannot be read"),
        (
            "new.mat",
            b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM",
            "is a MATLAB 7.3 file: save it with MATLAB's option -v7",
        ),
        ("half.safetensors", b"\xff" * 20, "cannot be read"),
        ("table.csv", b"1,2", "ends in .csv: it must end in .npz, .mat, .safetensors"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as refusal:
        stream(tmp_path / name)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_more_classes_than_the_file_has_are_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="is 6 classes: must be at most the 4 of features"):
        stream(file, num_tasks=3)
    with pytest.raises(ConfigError, match="a list of 4 shares"):
        stream(file, imbalance=[1.0, 0.5])


FEATURES = ["dataset=features", "dataset.num_tasks=2", "model.widths=[20,20]", "sleep.stimulus.mask=none", "cache=off"]


def test_the_identity_of_a_run_is_the_files_content_not_its_place(file: Path, tmp_path: Path) -> None:
    plain = compose(*FEATURES, f"dataset.path={file}").hash
    moved = tmp_path / "moved.npz"
    moved.write_bytes(file.read_bytes())
    assert compose(*FEATURES, f"dataset.path={moved}").hash == plain
    assert compose(*FEATURES, f"dataset.path={file}", "dataset.divisor=2").hash != plain
    np.savez(moved, **(made() | {"train_y": np.arange(60) % 4 // 2}))
    os.utime(moved, ns=(1, 1))
    assert compose(*FEATURES, f"dataset.path={moved}").hash != plain


def test_a_file_that_changes_within_a_process_is_read_again(file: Path) -> None:
    before = stream(file).tasks[0].train.images
    np.savez(file, **{key: array[:40] for key, array in made().items()})
    assert len(stream(file).tasks[0].train.images) < len(before)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "dataset.path=null names no file"),
        (["dataset.path=nowhere.npz"], "dataset.path=nowhere.npz cannot be read"),
        (["dataset.path={file}", "dataset.divisr=2"], "dataset.divisr is not a setting: did you mean dataset.divisor?"),
        (["dataset.path={file}", "dataset.overlap=2"], "dataset.overlap is not a setting: allowed here: dataset.name"),
        (
            ["dataset.path={file}", "sleep.stimulus.mask=window"],
            "sleep.stimulus.mask=window is not possible with dataset=features",
        ),
    ],
)
def test_the_command_line_refuses_before_any_work(
    overrides: list[str], message: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    said = refuse(monkeypatch, here, *FEATURES, *(each.format(file=file) for each in overrides))
    assert message in said
    assert "\n" not in said.strip()
    assert not list(here.rglob("*.*"))
