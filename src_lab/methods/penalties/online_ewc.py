"""Online elastic weight consolidation: one running importance, one anchor."""

from dataclasses import dataclass

from torch import Tensor

from src_lab.data import Task
from src_lab.methods.penalties.ewc import EWC, EWCConfig
from src_lab.methods.penalties.quadratic import QuadraticPenalty, copied, step_size
from src_lab.settings import UNIT_INTERVAL, setting
from src_lab.training import PLAIN, Extra


@dataclass(frozen=True)
class OnlineEWCConfig(EWCConfig):
    decay: float = setting(1.0, within=UNIT_INTERVAL, source="gamma of Schwarz et al. 2018")
    """What is left of the importance when the next task begins: 1 forgets no task, 0 is sequential training."""


class OnlineEWC(EWC):
    """Task k is learned on (Schwarz et al. 2018, Progress & Compress, arXiv 1805.06370)

        L_k(theta) + strength/2 sum_i decay S_i (theta_i - theta*_i)^2,    then S <- decay S + F_k

    with theta* the weights that the task begins with: those after the last task, or after the sleep that followed. Stores
    S, one network's worth of numbers. The paper also normalises each F_k, which this does not.
    """

    config = OnlineEWCConfig

    @property
    def label(self) -> str:
        return "Online EWC"

    def _penalty(self, task: Task) -> Extra:
        assert isinstance(self._settings, OnlineEWCConfig)
        if not self._importance:
            return PLAIN
        for importance in self._importance.values():
            importance.mul_(self._settings.decay)
        step = step_size(self._context.train, task.index)
        return QuadraticPenalty(self.network, self._importance, copied(self.network), self._settings.strength, step)

    def _keep(self, fisher: dict[str, Tensor]) -> None:
        for name, tensor in fisher.items():
            self._importance[name] = self._importance[name] + tensor if name in self._importance else tensor
