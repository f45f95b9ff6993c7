"""DARE: drop most of each task's changes at random, scale up the rest, add (Yu et al. 2024)."""

from dataclasses import dataclass
from typing import Literal

import torch

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.merging.task_networks import Weights
from src_lab.methods.merging.task_vectors import TaskVectorConfig, TaskVectors
from src_lab.rng import generator
from src_lab.settings import Range, setting


@dataclass(frozen=True)
class DareConfig(TaskVectorConfig):
    drop: float = setting(0.2, within=Range(0, 0.999), unit="probability", source="p of Yu et al. 2024")
    """Probability that a weight's change is dropped."""
    combine: Literal["sum", "average"] = setting("sum", source="Yu et al. 2024: before task arithmetic, before averaging")


class Dare(TaskVectors):
    """Drop and rescale, then sum or average (Yu et al. 2024, arXiv 2311.03099).

        d_k = m_k o tau_k / (1 - drop),    m_k ~ Bernoulli(1 - drop) weight by weight, so that E d_k = tau_k
        theta = theta_0 + scale * sum_k d_k    or    theta_0 + scale * mean_k d_k

    Carries the sum. A sleep is not carried on: the next merge is made from the sum.
    """

    config = DareConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, DareConfig)
        super().__init__(context, config)
        self._drop = config.drop
        self._average = config.combine == "average"

    @property
    def label(self) -> str:
        return "DARE (average)" if self._average else "DARE"

    def _take_in_vector(self, task: Task, vector: Weights) -> None:
        draws = generator(self._context.seed, "dare", task.index)
        self._add("sum", drop_and_rescale(vector, self._drop, draws))

    def _merge_vectors(self) -> Weights:
        divisor = self.met if self._average else 1
        return {name: total / divisor for name, total in self.carried["sum"].items()}


def drop_and_rescale(vector: Weights, drop: float, draws: torch.Generator) -> Weights:
    """`vector` with each entry 0 with probability `drop`, else divided by 1 - `drop`; `draws` is a CPU generator."""
    masks = {name: torch.rand(change.shape, generator=draws) >= drop for name, change in vector.items()}
    return {name: change * masks[name].to(change.device) / (1 - drop) for name, change in vector.items()}
