"""One network per task, all from one initial state, merged by averaging their weights."""

from torch import nn

from src_lab.data import Task
from src_lab.methods.merging.task_networks import TaskNetworks, Weights, weights_of


class Merge(TaskNetworks):
    """After stage k the answering network has the mean weights of the first k task networks (Python program).

        theta = 1/k sum_i theta_i

    Carries the sum. A sleep is not carried on: the next merge is made from the sum.
    """

    @property
    def label(self) -> str:
        return "Merge"

    def _take_in(self, task: Task, expert: nn.Sequential, initial: Weights) -> None:  # noqa: ARG002
        self._add("sum", weights_of(expert))

    def _merge(self, initial: Weights) -> Weights:  # noqa: ARG002
        return {name: total / self.met for name, total in self.carried["sum"].items()}
