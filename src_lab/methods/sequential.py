"""Tasks one after another on one network with one head: what forgets, and what sleep repairs."""

from collections.abc import Mapping

from torch import Tensor

from src_lab.data import Task
from src_lab.methods.base import Context, Method, MethodConfig


class Sequential(Method):
    """Plain training on each task in turn."""

    def __init__(self, context: Context, config: MethodConfig) -> None:  # noqa: ARG002  # the constructor of all methods
        self.network = context.new_network()
        self._trainer = context.new_trainer(self.network)
        self._tasks = context.stream.tasks

    @property
    def label(self) -> str:
        return "Sequential"

    def stages(self) -> tuple[Task, ...]:
        return self._tasks

    def learn(self, task: Task) -> None:
        self._trainer.fit(task.train, task.index)

    def state(self) -> dict[str, Tensor]:
        return self._trainer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._trainer.load_state(state)
