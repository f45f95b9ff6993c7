"""Settings of the data: the schema behind `conf/dataset/`."""

from dataclasses import dataclass
from typing import Literal

from src_lab.settings import NON_NEGATIVE, ConfigError, Range, check, setting

DatasetName = Literal["mnist", "fashion_mnist", "digits", "permuted_mnist"]

NUM_CLASSES: dict[DatasetName, int] = {"mnist": 10, "fashion_mnist": 10, "digits": 10, "permuted_mnist": 10}


@dataclass(frozen=True)
class DatasetConfig:
    """Which images, and how they are divided into a sequence of tasks. `conf/dataset/` holds the values."""

    name: DatasetName = setting(example="mnist")
    num_tasks: int = setting(within=Range(1), unit="tasks", example="5")
    classes_per_task: int = setting(within=Range(1), unit="classes", example="2")
    samples_per_task: int | None = setting(None, within=Range(1), unit="images", example="5000")
    """Training images of a task: the first so many in file order; null takes all."""
    task_order: list[int] | Literal["random"] | None = setting(None, example="random")
    """A permutation of the task indices, `random` to draw one from the seed, null for 0, 1, 2, ..."""
    validation_per_task: int | None = setting(None, within=NON_NEGATIVE, unit="images", example="1000")
    """Validation images of a task, its last in file order; null takes up to 1000 that training leaves over."""
    root: str | None = setting(None, example="~/data")
    """Folder of the data files; null is the user's cache folder."""

    def __post_init__(self) -> None:
        check(self, "dataset")
        self._check_classes()
        self._check_order()
        if self.root is not None and not self.root.strip():
            raise ConfigError("dataset.root= is empty: give a folder, or dataset.root=null for the user's cache folder")

    def _check_classes(self) -> None:
        available = NUM_CLASSES[self.name]
        if self.name == "permuted_mnist":
            if self.classes_per_task != available:
                raise ConfigError(
                    f"dataset.classes_per_task={self.classes_per_task} is not allowed with dataset=permuted_mnist: "
                    f"every task has all classes, type dataset.classes_per_task={available}"
                )
        elif self.num_tasks * self.classes_per_task > available:
            raise ConfigError(
                f"dataset.num_tasks={self.num_tasks} times dataset.classes_per_task={self.classes_per_task} is "
                f"{self.num_tasks * self.classes_per_task} classes: must be at most the {available} of {self.name}, "
                f"e.g. dataset.num_tasks={available // 2} dataset.classes_per_task=2"
            )

    def _check_order(self) -> None:
        indices = list(range(self.num_tasks))
        if isinstance(self.task_order, list) and sorted(self.task_order) != indices:
            shown, example = (str(order).replace(" ", "") for order in (self.task_order, indices[::-1]))
            raise ConfigError(
                f"dataset.task_order={shown} is not allowed: must be random, null, or a list with each of the task "
                f"indices 0 to {self.num_tasks - 1} once, e.g. dataset.task_order={example}"
            )
