"""Fisher merging: average the task networks, each weight by how much it matters to the task (Matena & Raffel 2022)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, require_dense
from src_lab.methods.fisher import diagonal_fisher
from src_lab.methods.merging.task_networks import TaskNetworks, Weights, weights_of
from src_lab.models import ModelConfig
from src_lab.rng import generator
from src_lab.settings import Range, setting


@dataclass(frozen=True)
class FisherMergeConfig(MethodConfig):
    fisher: Literal["model", "empirical"] = setting("model", source="Matena & Raffel 2022: the model's own labels")
    """Whose labels the gradients are of: drawn from the network's own answers, or the images' own."""
    floor: float = setting(1e-3, within=Range(1e-9), source="ours")
    """Added to every weight's importance, as a share of the mean importance of the task's weights: a weight that matters to
    no task becomes its mean."""


class FisherMerge(TaskNetworks):
    """The mean of the task networks weighted by diagonal Fisher information (Matena & Raffel 2022, arXiv 2111.09832).

        theta = sum_k F_k o theta_k / sum_k F_k,    F_k = F / mean(F) + floor

    the minimum of sum_k (theta - theta_k)^T diag(F_k) (theta - theta_k). F is `diagonal_fisher` of theta_k on the task's
    training images; dividing by its mean lets all tasks count alike (the authors' program divides by its norm). Carries
    numerator and denominator. A sleep is not carried on: the next merge is made from these.
    """

    config = FisherMergeConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, FisherMergeConfig)
        super().__init__(context, config)
        self._settings = config

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_dense(config, model)

    @property
    def label(self) -> str:
        return "Fisher merge"

    def _take_in(self, task: Task, expert: nn.Sequential, initial: Weights) -> None:  # noqa: ARG002
        importance = self._importance(task, expert)
        self._add("importance", importance)
        self._add("weighted", {name: importance[name] * weight for name, weight in weights_of(expert).items()})

    def _merge(self, initial: Weights) -> Weights:  # noqa: ARG002
        importance = self.carried["importance"]
        return {name: weighted / importance[name] for name, weighted in self.carried["weighted"].items()}

    def _importance(self, task: Task, expert: nn.Sequential) -> Weights:
        fisher = diagonal_fisher(
            expert,
            task.train.images,
            task.train.labels if self._settings.fisher == "empirical" else None,
            loss=self._context.train.loss,
            generator=generator(self._context.seed, "fisher", task.index),
        )
        mean = torch.cat([numbers.flatten() for numbers in fisher.values()]).mean()
        mean.clamp_(min=torch.finfo(mean.dtype).tiny)
        return {name: numbers / mean + self._settings.floor for name, numbers in fisher.items()}
