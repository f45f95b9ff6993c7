"""Which images belong to which class or task, and an even choice of them where all would be too many."""

from collections.abc import Sequence

import torch
from torch import Tensor

from src_lab.settings import ConfigError

Tasks = Sequence[Sequence[int]]
"""The classes of each task; no class is in two tasks."""


def rows_of_classes(labels: Tensor, per_class: int | None = None) -> dict[int, Tensor]:
    """Rows of the images of each class that occurs, in the order of the classes, at most `per_class` of each."""
    classes = sorted(set(labels.tolist()))
    return {class_: evenly((labels == class_).nonzero().squeeze(1), per_class) for class_ in classes}


def rows_of_tasks(labels: Tensor, tasks: Tasks, per_task: int | None = None) -> list[Tensor]:
    """Rows of the images of each task, at most `per_task` of each.

    Raises ConfigError when a class is in two tasks, as images are told apart by their labels alone, and for a task
    without images.
    """
    classes = [class_ for task in tasks for class_ in task]
    twice = sorted({class_ for class_ in classes if classes.count(class_) > 1})
    if twice:
        raise ConfigError(
            f"class {twice[0]} is in several tasks, so labels do not tell whose image it is: number the classes of "
            "every task apart, e.g. label + task * classes"
        )
    rows = [evenly(torch.isin(labels, torch.tensor(task)).nonzero().squeeze(1), per_task) for task in tasks]
    for number, own in enumerate(rows):
        if not len(own):
            raise ConfigError(f"task {number} has no images: give images of all the tasks, or leave the task out")
    return rows


def evenly(rows: Tensor, limit: int | None) -> Tensor:
    """At most `limit` of the rows, evenly spaced, so that a data set sorted by class is represented too."""
    if limit is None or len(rows) <= limit:
        return rows
    return rows[torch.arange(limit) * len(rows) // limit]
