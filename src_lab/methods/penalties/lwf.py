"""Learning without forgetting: on the new images the old outputs shall stay what they were."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.sequential import Sequential
from src_lab.settings import NON_NEGATIVE, POSITIVE, setting
from src_lab.training import PLAIN, Extra


@dataclass(frozen=True)
class LwFConfig(MethodConfig):
    strength: float = setting(1.0, within=NON_NEGATIVE, source="lambda_o of Li & Hoiem 2016")
    """Weight of the old outputs beside the new labels; 0 is sequential training."""
    temperature: float = setting(2.0, within=POSITIVE, source="T of Li & Hoiem 2016")
    """What outputs are divided by before the softmax; of no effect with train.loss=half_squared_error."""


class LwF(Sequential):
    """Task k is learned on (Li & Hoiem 2016, arXiv 1606.09282)

        L_k(theta) - strength mean_n sum_{c old} softmax(o*_n / T)_c log softmax(o_n / T)_c

    with o_n the outputs, among the classes of earlier tasks, for image n of task k, and o*_n those of the network as the
    task begins, without dropout. With train.loss=half_squared_error the second term is strength/2 mean_n |o_n - o*_n|^2
    (ours). Stores nothing from task to task. A sleep changes what is remembered: o* are the outputs of the network that
    slept.
    """

    config = LwFConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, LwFConfig)
        super().__init__(context, config)
        self._loss = context.train.loss
        self._settings = config

    @property
    def label(self) -> str:
        return "LwF"

    def learn(self, task: Task) -> None:
        old = earlier_classes(task, self._tasks)
        distils = old and self._settings.strength > 0
        extra = Distillation(self.network, old, self._settings, self._loss) if distils else PLAIN
        self._trainer.fit(task.train, task.index, extra=extra)


class Distillation(Extra):
    """Adds to the loss what LwF asks of the outputs of `classes`; the teacher is `network` as it is now."""

    def __init__(self, network: nn.Module, classes: Sequence[int], settings: LwFConfig, loss: str) -> None:
        self._teacher = deepcopy(network).eval().requires_grad_(False)
        self._classes = list(classes)
        self._settings = settings
        self._squared = loss == "half_squared_error"

    def loss(self, plain: Tensor, images: Tensor, labels: Tensor, outputs: Tensor) -> Tensor:  # noqa: ARG002
        with torch.no_grad():
            wanted = self._teacher(images)[:, self._classes]
        return plain + self._settings.strength * self._difference(outputs[:, self._classes], wanted)

    def _difference(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        if self._squared:
            return (outputs - wanted).square().sum(dim=1).mean() / 2
        temperature = self._settings.temperature
        return nn.functional.cross_entropy(outputs / temperature, (wanted / temperature).softmax(dim=1))


def earlier_classes(task: Task, tasks: Sequence[Task]) -> list[int]:
    """The classes of all tasks learned before `task`, in order."""
    return sorted({label for earlier in tasks[: task.index] for label in earlier.classes})
