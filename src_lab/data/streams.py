"""Task streams: a data set divided into the tasks that a network learns one after another."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src_lab.data.config import (
    ALL_CLASSES_IN_EVERY_TASK,
    NUM_CLASSES,
    DatasetConfig,
    DatasetName,
    FeaturesConfig,
    PatchesConfig,
)
from src_lab.data.features import features
from src_lab.data.patches import patches
from src_lab.data.sources import Images, Source, default_root, digits, fashion_mnist, mnist
from src_lab.rng import generator
from src_lab.settings import ConfigError

SourceOf = Callable[[DatasetConfig, Path, int, int], Source]
"""The images that a task is taken from, given the settings, the data root, the seed and the number of the task."""


def _alone(load: Callable[[Path], Source]) -> SourceOf:
    return lambda _config, root, _seed, _number: load(root)


def _cross_modal(_config: DatasetConfig, root: Path, _seed: int, number: int) -> Source:
    return (mnist, fashion_mnist)[number](root)


def _patches(config: DatasetConfig, _root: Path, seed: int, _number: int) -> Source:
    assert isinstance(config, PatchesConfig)
    return patches(config.active_pixels, config.overlap, seed)


def _features(config: DatasetConfig, _root: Path, _seed: int, _number: int) -> Source:
    assert isinstance(config, FeaturesConfig)
    return features(config.file, config.content(), config.divisor)


DATASETS: dict[DatasetName, SourceOf] = {
    "mnist": _alone(mnist),
    "fashion_mnist": _alone(fashion_mnist),
    "digits": _alone(digits),
    "permuted_mnist": _alone(mnist),
    "cross_modal": _cross_modal,
    "patches": _patches,
    "features": _features,
}
AUTOMATIC_VALIDATION = 1000
"""Most validation images of a task when `validation_per_task` is null."""
MOST_SHOWN = 10
"""Most classes of a task that a message lists."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images (n, features) float32 in [0, 1] with their labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Task:
    """One task. `index` is its position in the stream; labels are those of the whole data set, whatever the task."""

    index: int
    classes: tuple[int, ...]
    train: Split
    test: Split
    validation: Split


@dataclass(frozen=True, eq=False)
class Stream:
    """Tasks in the order they are learned, for a network of `num_classes` outputs."""

    name: str
    tasks: tuple[Task, ...]
    num_classes: int
    image_shape: tuple[int, int]


def load_stream(config: DatasetConfig, seed: int) -> Stream:
    """The tasks that `config` asks for; `seed` draws the random order, the pixel permutations and the patches.

    Class-incremental data sets give task k the classes k * classes_per_task and following (Split MNIST: van de Ven et
    al. 2022, "Three types of incremental learning"). In `permuted_mnist` every task has all classes and its own
    permutation of the pixels (Goodfellow et al. 2013, arXiv 1312.6211); that of task 0 is the identity. In `cross_modal`
    task 0 is MNIST and task 1 Fashion-MNIST, on the same ten outputs (Tadros et al. 2022). `task_order` then reorders the
    tasks. Raises ConfigError when files are missing or tasks have too few images.
    """
    root = Path(os.path.expanduser(config.root)).absolute() if config.root is not None else default_root()
    first = DATASETS[config.name](config, root, seed, 0)
    num_classes = NUM_CLASSES.get(config.name) or int(first.train.labels.max()) + 1
    config.check_classes(num_classes)
    height, width = first.train.pixels.shape[1:]
    tasks = [
        _task(config, seed, DATASETS[config.name](config, root, seed, number), num_classes, position, number)
        for position, number in enumerate(_order(config, seed))
    ]
    return Stream(config.name, tuple(tasks), num_classes, image_shape=(height, width))


def pixel_permutation(seed: int, task: int, features: int) -> Tensor:
    """Pixel order (features,) of task `task` of a permuted stream: its pixel i is pixel order[i] of the data set."""
    if task == 0:
        return torch.arange(features)
    return torch.randperm(features, generator=generator(seed, "dataset", "pixels", task))


def _order(config: DatasetConfig, seed: int) -> list[int]:
    if config.task_order == "random":
        order: list[int] = torch.randperm(config.num_tasks, generator=generator(seed, "dataset", "order")).tolist()
        return order
    return config.task_order if config.task_order is not None else list(range(config.num_tasks))


def _task(config: DatasetConfig, seed: int, source: Source, num_classes: int, position: int, number: int) -> Task:
    """Task `number` of the data set, learned at `position` of the stream."""
    first = 0 if config.name in ALL_CLASSES_IN_EVERY_TASK else number * config.classes_per_task
    classes = tuple(range(first, first + config.classes_per_task))
    pixels: Tensor | slice = slice(None)
    if config.name == "permuted_mnist":
        pixels = pixel_permutation(seed, number, source.train.pixels[0].numel())

    def split(images: Images, rows: Tensor) -> Split:
        return Split(images.pixels[rows].flatten(1)[:, pixels].float() / source.white, images.labels[rows])

    available = _rows_of(source.train, classes)
    shown = classes if len(classes) <= MOST_SHOWN else (classes[0], "...", classes[-1])
    name = f"task {number} (classes {', '.join(map(str, shown))})"
    train, validation = _train_and_validation(config, position, len(available), name)
    kept = _imbalanced(source.train.labels, available[:train], config.shares(num_classes))
    return Task(
        index=position,
        classes=classes,
        train=split(source.train, kept),
        test=split(source.test, _rows_of(source.test, classes)),
        validation=split(source.train, available[len(available) - validation :]),
    )


def _imbalanced(labels: Tensor, rows: Tensor, shares: list[float]) -> Tensor:
    """Of the images in `rows`, the share of each class that is kept: the first of it in file order, at least one."""
    keep = torch.ones(len(rows), dtype=torch.bool)
    for class_, share in enumerate(shares):
        mine = (labels[rows] == class_).nonzero().squeeze(1)
        if len(mine):
            keep[mine[max(1, round(share * len(mine))) :]] = False
    return rows[keep]


def _rows_of(images: Images, classes: tuple[int, ...]) -> Tensor:
    return torch.isin(images.labels, torch.tensor(classes)).nonzero().squeeze(1)


def _train_and_validation(config: DatasetConfig, position: int, available: int, task: str) -> tuple[int, int]:
    """How many of a task's training images, the first of them, to train on, and how many, the last, to validate on."""
    samples, validation = config.samples(position), config.validation_per_task
    has = f"{task} of {config.name} has {available} training images"
    if samples is not None and samples > available:
        raise ConfigError(
            f"dataset.samples_per_task={samples} is too many: {has}; give at most that, or "
            "dataset.samples_per_task=null for all of each task"
        )
    if samples is not None and samples + (validation or 0) > available:
        raise ConfigError(
            f"dataset.samples_per_task={samples} and dataset.validation_per_task={validation} are too many together: "
            f"{has}; lower one, e.g. dataset.validation_per_task={available - samples}"
        )
    if samples is None and validation is not None and validation >= available:
        raise ConfigError(
            f"dataset.validation_per_task={validation} is too many: {has} and some must be left to train on; "
            "give fewer, or dataset.validation_per_task=null"
        )
    if validation is None:
        validation = min(AUTOMATIC_VALIDATION, available - (samples or available))
    return samples or available - validation, validation
