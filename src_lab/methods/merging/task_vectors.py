"""What methods share that merge task vectors: how far, and in which direction, each task's training went."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.merging.task_networks import TaskNetworks, Weights, weights_of
from src_lab.settings import Range, setting


@dataclass(frozen=True)
class TaskVectorConfig(MethodConfig):
    """Settings of all that merge task vectors."""

    scale: float = setting(0.4, within=Range(0, 100), source="lambda of Ilharco et al. 2023, arXiv 2212.04089")
    """How far to go from theta_0 in the merged direction."""


class TaskVectors(TaskNetworks):
    """theta = theta_0 + scale * tau, with tau made of the task vectors tau_k = theta_k - theta_0 (Ilharco et al. 2023)."""

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, TaskVectorConfig)
        super().__init__(context, config)
        self._scale = config.scale

    def _take_in(self, task: Task, expert: nn.Sequential, initial: Weights) -> None:
        self._take_in_vector(task, {name: weight - initial[name] for name, weight in weights_of(expert).items()})

    def _merge(self, initial: Weights) -> Weights:
        return {name: initial[name] + self._scale * vector for name, vector in self._merge_vectors().items()}

    @abstractmethod
    def _take_in_vector(self, task: Task, vector: Weights) -> None:
        """Note in `carried` what the merge needs of the task vector of `task`."""

    @abstractmethod
    def _merge_vectors(self) -> Weights:
        """The merged task vector, from `carried`."""
