"""Task arithmetic: add to the initial weights what each task's training changed (Ilharco et al. 2023)."""

from src_lab.data import Task
from src_lab.methods.merging.task_networks import Weights
from src_lab.methods.merging.task_vectors import TaskVectorConfig, TaskVectors


class TaskArithmetic(TaskVectors):
    """The sum of the task vectors, scaled (Ilharco et al. 2023, arXiv 2212.04089).

        theta = theta_0 + scale * sum_k tau_k,    tau_k = theta_k - theta_0

    With scale = 1/k this is `merge`. Carries the sum. A sleep is not carried on: the next merge is made from the sum.
    """

    config = TaskVectorConfig

    @property
    def label(self) -> str:
        return "Task arithmetic"

    def _take_in_vector(self, task: Task, vector: Weights) -> None:  # noqa: ARG002
        self._add("sum", vector)

    def _merge_vectors(self) -> Weights:
        return self.carried["sum"]
