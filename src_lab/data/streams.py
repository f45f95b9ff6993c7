"""Task streams: a data set divided into the tasks that a network learns one after another."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src_lab.data.config import NUM_CLASSES, DatasetConfig, DatasetName
from src_lab.data.sources import Images, Source, default_root, digits, fashion_mnist, mnist
from src_lab.rng import generator
from src_lab.settings import ConfigError

DATASETS: dict[DatasetName, Callable[[Path], Source]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "digits": digits,
    "permuted_mnist": mnist,
}
AUTOMATIC_VALIDATION = 1000
"""Most validation images of a task when `validation_per_task` is null."""


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
    """The tasks that `config` asks for; `seed` draws the random order and the pixel permutations, nothing else.

    Class-incremental data sets give task k the classes k * classes_per_task and following (Split MNIST: van de Ven et
    al. 2022, "Three types of incremental learning"). In `permuted_mnist` every task has all classes and its own
    permutation of the pixels (Goodfellow et al. 2013, arXiv 1312.6211); that of task 0 is the identity. `task_order`
    then reorders the tasks. Raises ConfigError when files are missing or tasks have too few images.
    """
    root = Path(os.path.expanduser(config.root)).absolute() if config.root is not None else default_root()
    source = DATASETS[config.name](root)
    height, width = source.train.pixels.shape[1:]
    return Stream(
        name=config.name,
        tasks=tuple(_task(config, seed, source, *place) for place in enumerate(_order(config, seed))),
        num_classes=NUM_CLASSES[config.name],
        image_shape=(height, width),
    )


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


def _task(config: DatasetConfig, seed: int, source: Source, position: int, number: int) -> Task:
    """Task `number` of the data set, learned at `position` of the stream."""
    permutation: Tensor | slice = slice(None)
    if config.name == "permuted_mnist":
        classes = tuple(range(NUM_CLASSES[config.name]))
        permutation = pixel_permutation(seed, number, source.train.pixels[0].numel())
    else:
        first = number * config.classes_per_task
        classes = tuple(range(first, first + config.classes_per_task))

    def split(images: Images, rows: Tensor) -> Split:
        pixels = images.pixels[rows].flatten(1)[:, permutation]
        return Split(pixels.float() / source.white, images.labels[rows])

    available = _rows_of(source.train, classes)
    name = f"task {number} (classes {', '.join(map(str, classes))})"
    train, validation = _train_and_validation(config, len(available), name)
    return Task(
        index=position,
        classes=classes,
        train=split(source.train, available[:train]),
        test=split(source.test, _rows_of(source.test, classes)),
        validation=split(source.train, available[len(available) - validation :]),
    )


def _rows_of(images: Images, classes: tuple[int, ...]) -> Tensor:
    return torch.isin(images.labels, torch.tensor(classes)).nonzero().squeeze(1)


def _train_and_validation(config: DatasetConfig, available: int, task: str) -> tuple[int, int]:
    """How many of a task's training images, the first of them, to train on, and how many, the last, to validate on."""
    samples, validation = config.samples_per_task, config.validation_per_task
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
