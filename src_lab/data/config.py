"""Settings of the data: the schema behind `conf/dataset/`."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from src_lab.settings import NON_NEGATIVE, POSITIVE, ConfigError, Range, as_plain, check, setting, typed

DatasetName = Literal["mnist", "fashion_mnist", "digits", "permuted_mnist", "cross_modal", "patches", "features"]

NUM_CLASSES: dict[DatasetName, int] = {
    "mnist": 10,
    "fashion_mnist": 10,
    "digits": 10,
    "permuted_mnist": 10,
    "cross_modal": 10,
    "patches": 4,
}
"""Classes of the data sets that always have the same; those of `features` are counted when the file is read."""
ALL_CLASSES_IN_EVERY_TASK: tuple[DatasetName, ...] = ("permuted_mnist", "cross_modal")
CROSS_MODAL_TASKS = 2
MOST_PATCH_PIXELS = 25
"""A quarter of 10 x 10: what each of four patches can have without overlap."""


@dataclass(frozen=True)
class DatasetConfig:
    """Which images, and how they are divided into a sequence of tasks. `conf/dataset/` holds the values."""

    name: DatasetName = setting(example="mnist")
    num_tasks: int = setting(within=Range(1), unit="tasks", example="5")
    classes_per_task: int = setting(within=Range(1), unit="classes", example="2")
    samples_per_task: int | list[int] | None = setting(None, within=Range(1), unit="images", example="5000")
    """Training images of a task: the first so many in file order; null takes all. A list has one number per task, in the
    order they are learned."""
    task_order: list[int] | Literal["random"] | None = setting(None, example="random")
    """A permutation of the task indices, `random` to draw one from the seed, null for 0, 1, 2, ..."""
    validation_per_task: int | None = setting(None, within=NON_NEGATIVE, unit="images", example="1000")
    """Validation images of a task, its last in file order; null takes up to 1000 that training leaves over."""
    root: str | None = setting(None, example="~/data")
    """Folder of the data files; null is the user's cache folder."""
    imbalance: float | list[float] | None = setting(None, within=POSITIVE, example="100", later=True)
    """Of a task's training images, which share of each class is kept: a list with one share per class of the data set, or
    a number, the ratio of the first class to the last of a long tail (`shares`). Tests and validation stay balanced."""

    def __post_init__(self) -> None:
        check(self, "dataset")
        if self.name in NUM_CLASSES:
            self.check_classes(NUM_CLASSES[self.name])
        self._check_order()
        self._check_samples()
        if self.root is not None and not self.root.strip():
            raise ConfigError("dataset.root= is empty: give a folder, or dataset.root=null for the user's cache folder")

    def identity(self) -> dict[str, Any]:
        """What the images of the tasks depend on, beside the seed: equal for equal data, wherever its files are."""
        return {key: value for key, value in as_plain(self).items() if key != "root"}

    def check_classes(self, available: int) -> None:
        """Raise ConfigError unless the tasks and the shares of the classes fit a data set of `available` classes."""
        if self.name in ALL_CLASSES_IN_EVERY_TASK:
            if self.classes_per_task != available:
                raise ConfigError(
                    f"dataset.classes_per_task={self.classes_per_task} is not allowed with dataset={self.name}: "
                    f"every task has all classes, type dataset.classes_per_task={available}"
                )
        elif self.num_tasks * self.classes_per_task > available:
            raise ConfigError(
                f"dataset.num_tasks={self.num_tasks} times dataset.classes_per_task={self.classes_per_task} is "
                f"{self.num_tasks * self.classes_per_task} classes: must be at most the {available} of {self.name}, "
                f"e.g. dataset.num_tasks={max(1, available // 2)} dataset.classes_per_task={min(2, available)}"
            )
        if self.name == "cross_modal" and self.num_tasks > CROSS_MODAL_TASKS:
            raise ConfigError(
                f"dataset.num_tasks={self.num_tasks} is not allowed with dataset=cross_modal: it has two tasks, MNIST and "
                "Fashion-MNIST, type dataset.num_tasks=2"
            )
        self._check_imbalance(available)

    def samples(self, position: int) -> int | None:
        """Training images of the task learned at `position`; None for all that it has."""
        return self.samples_per_task[position] if isinstance(self.samples_per_task, list) else self.samples_per_task

    def shares(self, classes: int) -> list[float]:
        """Share of each class's training images that is kept.

        A ratio r gives class c of C the share r^(-c / (C - 1)): the long tail of Cui et al. 2019 (arXiv 1901.05555).
        """
        if self.imbalance is None:
            return [1.0] * classes
        if isinstance(self.imbalance, list):
            return self.imbalance
        return [self.imbalance ** (-number / max(1, classes - 1)) for number in range(classes)]

    def _check_imbalance(self, classes: int) -> None:
        given = self.imbalance
        if isinstance(given, list) and (len(given) != classes or max(given) > 1):
            raise ConfigError(
                f"dataset.imbalance={typed(given)} is not allowed: must be a number >= 1, or a list of {classes} shares "
                f"> 0 and <= 1, one per class of {self.name}, e.g. dataset.imbalance={typed([0.1] + [1] * (classes - 1))}"
            )
        if isinstance(given, float) and given < 1:
            raise ConfigError(
                f"dataset.imbalance={given:g} is not allowed: must be a number >= 1, the ratio of the first class to the "
                "last, or a list of shares; e.g. dataset.imbalance=100"
            )

    def _check_order(self) -> None:
        indices = list(range(self.num_tasks))
        if isinstance(self.task_order, list) and sorted(self.task_order) != indices:
            raise ConfigError(
                f"dataset.task_order={typed(self.task_order)} is not allowed: must be random, null, or a list with each of "
                f"the task indices 0 to {self.num_tasks - 1} once, e.g. dataset.task_order={typed(indices[::-1])}"
            )

    def _check_samples(self) -> None:
        given = self.samples_per_task
        if isinstance(given, list) and len(given) != self.num_tasks:
            raise ConfigError(
                f"dataset.samples_per_task={typed(given)} has {len(given)} values but the stream has {self.num_tasks} "
                f"tasks: give one number, or one per task, e.g. dataset.samples_per_task={typed([100] * self.num_tasks)}"
            )


@dataclass(frozen=True)
class PatchesConfig(DatasetConfig):
    """Four binary patterns, the toy data of Tadros et al. 2022."""

    overlap: int = setting(12, within=Range(0, MOST_PATCH_PIXELS), unit="pixels", source="MATLAB program: 1 to 25")
    """Pixels that are on in all four images."""
    active_pixels: int = setting(16, within=Range(1, MOST_PATCH_PIXELS), unit="pixels", source="MATLAB program")
    """Pixels that are on in each image, those of the overlap included; of a larger overlap all are on, and no others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation_per_task:
            raise ConfigError(
                f"dataset.validation_per_task={self.validation_per_task} is not allowed with dataset=patches: a class is "
                "one image, which training needs, type dataset.validation_per_task=0"
            )


@dataclass(frozen=True)
class FeaturesConfig(DatasetConfig):
    """Features of images, from a file: see docs/data.md."""

    path: str | None = setting(None, example="cifar10.npz")
    """File with train_x, train_y, test_x and test_y: .npz, .mat or .safetensors."""
    divisor: float | Literal["maximum"] = setting("maximum", within=POSITIVE, source="MATLAB program: CIFAR-10")
    """What the features are divided by: a number, or the largest of the training features, which brings them to [0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None or not self.path.strip():
            raise ConfigError(
                f"dataset.path={'null' if self.path is None else ''} names no file: dataset=features needs one, "
                "dataset.path=FILE; scripts/extract_features.py makes it (docs/data.md)"
            )
        self.content()

    @property
    def file(self) -> Path:
        assert self.path is not None  # checked when this was made
        return Path(self.path).expanduser().absolute()

    def content(self) -> str:
        """SHA-256 of the file. Raises ConfigError when it cannot be read."""
        try:
            stat = self.file.stat()
            return _sha256(self.file, stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            raise ConfigError(
                f"dataset.path={self.path} cannot be read ({error.strerror}): give a file of features, dataset.path=FILE; "
                "scripts/extract_features.py makes one (docs/data.md)"
            ) from None

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"path": self.content()}


SCHEMAS: dict[str, type[DatasetConfig]] = {"patches": PatchesConfig, "features": FeaturesConfig}
"""Schema of the data sets that have settings of their own."""


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
