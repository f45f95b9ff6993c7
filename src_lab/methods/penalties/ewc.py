"""Elastic weight consolidation: weights that the old tasks' answers depend on are held where they were."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, Stored, require_dense
from src_lab.methods.fisher import diagonal_fisher
from src_lab.methods.penalties.quadratic import QuadraticPenalty, copied, prefixed, restored, step_size
from src_lab.methods.sequential import Sequential
from src_lab.models import ModelConfig
from src_lab.rng import generator
from src_lab.settings import NON_NEGATIVE, setting
from src_lab.training import PLAIN, Extra


@dataclass(frozen=True)
class EWCConfig(MethodConfig):
    strength: float = setting(100.0, within=NON_NEGATIVE, source="lambda of Kirkpatrick et al. 2017")
    """How strongly important weights are held; 0 is sequential training."""
    fisher: Literal["model", "empirical"] = setting("model", source="model: the Fisher information, as the paper has it")
    """Whose labels its gradients are taken for: drawn from the network's own answers, or the images' true ones."""


class EWC(Sequential):
    """Task k is learned on (Kirkpatrick et al. 2017, arXiv 1612.00796)

        L_k(theta) + sum_{j<k} strength/2 sum_i F_ji (theta_i - theta_ji)^2

    with theta_j the weights after task j, and F_j the diagonal of the Fisher information there, the mean over the task's
    images. The sum over the old tasks is one quadratic form, and kept as such: its stiffness S = sum_j F_j and its centre
    sum_j F_j theta_j / S. So it stores two networks' worth of numbers, and the last task's Fisher as a third, which joins
    them when the next task begins: theta_j is what a sleep in between has left of the weights.
    """

    config = EWCConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, EWCConfig)
        super().__init__(context, config)
        self._context = context
        self._settings = config
        self._importance: dict[str, Tensor] = {}
        self._anchor: dict[str, Tensor] = {}
        self._latest: dict[str, Tensor] = {}

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_dense(config, model)

    @property
    def label(self) -> str:
        return "EWC"

    def learn(self, task: Task) -> None:
        self._trainer.fit(task.train, task.index, extra=self._penalty(task))
        self._keep(self._fisher(task))

    def state(self) -> dict[str, Tensor]:
        held = {"importance.": self._importance, "anchor.": self._anchor, "latest.": self._latest}
        return super().state() | {name: t for prefix, kept in held.items() for name, t in prefixed(prefix, kept).items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._importance = restored(state, "importance.", self.network)
        self._anchor = restored(state, "anchor.", self.network)
        self._latest = restored(state, "latest.", self.network)

    def stored(self) -> Stored:
        kept = [held for held in (self._importance, self._anchor, self._latest) if held]
        return Stored(floats=sum(t.numel() for held in kept for t in held.values()), models=len(kept))

    def _penalty(self, task: Task) -> Extra:
        """What holds the weights during `task`, the latest task's Fisher taken in."""
        if not self._latest:
            return PLAIN
        current = copied(self.network)
        if not self._importance:
            self._importance, self._anchor = self._latest, current
        else:
            for name, latest in self._latest.items():
                self._importance[name] = self._importance[name] + latest
                share = (latest / self._importance[name]).nan_to_num()  # 0/0: a weight that has mattered to no task
                self._anchor[name].lerp_(current[name], share)
        self._latest = {}
        step = step_size(self._context.train, task.index)
        return QuadraticPenalty(self.network, self._importance, self._anchor, self._settings.strength, step)

    def _keep(self, fisher: dict[str, Tensor]) -> None:
        self._latest = fisher

    def _fisher(self, task: Task) -> dict[str, Tensor]:
        return diagonal_fisher(
            self.network,
            task.train.images,
            task.train.labels if self._settings.fisher == "empirical" else None,
            loss=self._context.train.loss,
            generator=generator(self._context.seed, "fisher", task.index),
        )
