"""Joint training on all tasks at once: the upper reference."""

from collections.abc import Mapping

import torch
from torch import Tensor

from src_lab.data import Split, Task
from src_lab.methods.base import Context, Method, MethodConfig


class Parallel(Method):
    """One network, one stage that holds every task's training images: the very images the sequential methods see."""

    def __init__(self, context: Context, config: MethodConfig) -> None:  # noqa: ARG002  # the constructor of all methods
        context.train.pace(None)  # to refuse settings with one number per task before any work
        self.network = context.new_network()
        self._trainer = context.new_trainer(self.network)
        self._joint = _joint_task(context.stream.tasks)

    @property
    def label(self) -> str:
        return f"Parallel ({len(self._joint.train.labels):,} images)"

    def stages(self) -> tuple[Task, ...]:
        return (self._joint,)

    def learn(self, task: Task) -> None:
        self._trainer.fit(task.train, "joint")

    def state(self) -> dict[str, Tensor]:
        return self._trainer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._trainer.load_state(state)


def _joint_task(tasks: tuple[Task, ...]) -> Task:
    def joint(splits: list[Split]) -> Split:
        return Split(torch.cat([s.images for s in splits]), torch.cat([s.labels for s in splits]))

    return Task(
        index=-1,
        classes=tuple(sorted({label for task in tasks for label in task.classes})),
        train=joint([task.train for task in tasks]),
        test=joint([task.test for task in tasks]),
        validation=joint([task.validation for task in tasks]),
    )
