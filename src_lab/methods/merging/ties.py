"""TIES merging: keep each task's largest changes, agree on their signs, average those that agree (Yadav et al. 2023)."""

from dataclasses import dataclass

import torch

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.merging.task_networks import Weights
from src_lab.methods.merging.task_vectors import TaskVectorConfig, TaskVectors
from src_lab.settings import Range, setting


@dataclass(frozen=True)
class TiesConfig(TaskVectorConfig):
    scale: float = setting(1.0, within=Range(0, 100), source="Yadav et al. 2023: 1 where there is no validation set")
    density: float = setting(0.2, within=Range(0, 1, above=True), source="Yadav et al. 2023: top 20 %")
    """Share of each task vector that is kept, the largest of all its weights."""


class Ties(TaskVectors):
    """Trim, elect sign, disjoint merge (Yadav et al. 2023, arXiv 2306.01708).

        trim      t_k = tau_k where |tau_k| is among the largest `density` of the whole vector, else 0
        elect     s = sign(sum_k t_k), weight by weight
        merge     tau = mean of the t_k that have the sign s;    theta = theta_0 + scale * tau

    Carries, for each weight, sum and number of the positive t_k and of the negative ones: four tables however many tasks.
    A sleep is not carried on: the next merge is made from these.
    """

    config = TiesConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, TiesConfig)
        super().__init__(context, config)
        self._density = config.density

    @property
    def label(self) -> str:
        return "TIES"

    def _take_in_vector(self, task: Task, vector: Weights) -> None:  # noqa: ARG002
        kept = trim(vector, self._density)
        self._add("rise", {name: change.clamp(min=0) for name, change in kept.items()})
        self._add("fall", {name: change.clamp(max=0) for name, change in kept.items()})
        self._add("rises", {name: (change > 0).to(change.dtype) for name, change in kept.items()})
        self._add("falls", {name: (change < 0).to(change.dtype) for name, change in kept.items()})

    def _merge_vectors(self) -> Weights:
        rise, fall, rises, falls = (self.carried[key] for key in ("rise", "fall", "rises", "falls"))
        merged: Weights = {}
        for name in rise:
            sign = torch.sign(rise[name] + fall[name])
            up, down = rise[name] / rises[name].clamp(min=1), fall[name] / falls[name].clamp(min=1)
            merged[name] = torch.where(sign > 0, up, down).where(sign != 0, 0)
        return merged


def trim(vector: Weights, density: float) -> Weights:
    """`vector` with all but its largest entries, a share `density` of all its weights together, set to 0."""
    sizes = torch.cat([change.abs().flatten() for change in vector.values()])
    kept = max(1, round(density * len(sizes)))
    smallest = sizes.kthvalue(len(sizes) - kept + 1).values
    return {name: change.where(change.abs() >= smallest, 0) for name, change in vector.items()}
