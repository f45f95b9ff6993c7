"""Accuracy of a network on the tasks of a stream. Draws no random numbers and leaves the network as it was."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from src_lab.data import Split
from src_lab.metrics import overall_accuracy

BATCH = 1000
"""Images per forward pass: large enough for full speed, 16 MB per layer of 4000 units."""

Adjust = Callable[[Tensor, tuple[int, ...]], Tensor]
"""Changes the outputs (n, classes) for images of a task with the given classes, before the decision."""


@dataclass(frozen=True)
class Accuracy:
    """Shares of `n_test` images classified right, NaN without images.

    accuracy    among all classes (class-incremental)
    task_aware  among the classes of the image's task, from the same outputs
    """

    accuracy: float
    task_aware: float
    n_test: int


def evaluate(
    model: nn.Module, splits: Sequence[tuple[Split, tuple[int, ...]]], adjust: Adjust | None = None
) -> list[Accuracy]:
    """Accuracy on each (images, their task's classes); `adjust` is a method's say in the outputs."""
    return [_accuracy(predict(model, split.images), split.labels, classes, adjust) for split, classes in splits]


def overall(accuracies: Sequence[Accuracy]) -> float:
    """Share of all images of all tasks classified right, NaN when a task was not measured."""
    return overall_accuracy(np.array([a.accuracy for a in accuracies]), np.array([float(a.n_test) for a in accuracies]))


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Outputs (n, classes) of the network in evaluation mode, on the CPU."""
    device = next(model.parameters()).device
    with evaluating(model), torch.inference_mode():
        outputs = [model(batch.to(device)).cpu() for batch in torch.split(images, BATCH)]
    return torch.cat(outputs)  # out here: a result of inference mode could not take part in training


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards every module's own flag again."""
    flags = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


def _accuracy(outputs: Tensor, labels: Tensor, classes: tuple[int, ...], adjust: Adjust | None) -> Accuracy:
    if not len(labels):
        return Accuracy(float("nan"), float("nan"), 0)
    if adjust is not None:
        outputs = adjust(outputs, classes)
    among_task = torch.tensor(classes)[outputs[:, classes].argmax(dim=1)]
    return Accuracy(_share(outputs.argmax(dim=1), labels), _share(among_task, labels), len(labels))


def _share(predicted: Tensor, labels: Tensor) -> float:
    return (predicted == labels).double().mean().item()
