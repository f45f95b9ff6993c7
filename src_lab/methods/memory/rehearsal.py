"""Rehearsal: a fraction of the old tasks' images shuffled among the new ones (Tadros et al. 2022)."""

from dataclasses import dataclass

from torch import Tensor

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.memory.base import Storing
from src_lab.settings import UNIT_INTERVAL, setting


@dataclass(frozen=True)
class RehearsalConfig(MethodConfig):
    fraction: float = setting(
        0.05, within=UNIT_INTERVAL, source="Tadros et al. 2022 compare 0, .01, .025, .05, .1, .25, .5 and 1"
    )
    """Share of every old task's training images, the same of each class, that is kept and trained on again."""


class Rehearsal(Storing):
    """Trains on all images of the task and the kept images of every old task, shuffled together.

    The images of a task are chosen once, at random, when it is learned. 0 is sequential learning, 1 trains each time on
    everything met so far. An epoch is one pass over old and new images, so it grows with what is kept.
    """

    config = RehearsalConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        super().__init__(context, config)
        assert isinstance(config, RehearsalConfig)
        self._fraction = config.fraction

    @property
    def label(self) -> str:
        return "Rehearsal"

    def learn(self, task: Task) -> None:
        self._trainer.fit(self._memory.joined(task.train), task.index)
        shuffled = self._random(task)

        def some(images: Tensor) -> Tensor:
            return shuffled(images)[: round(self._fraction * len(images))]

        self._memory.add(task.train, some)
