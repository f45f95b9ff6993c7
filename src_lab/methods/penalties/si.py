"""Synaptic intelligence: a weight is as important as its change was useful."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, Stored
from src_lab.methods.penalties.quadratic import QuadraticPenalty, copied, prefixed, restored, step_size
from src_lab.methods.sequential import Sequential
from src_lab.settings import NON_NEGATIVE, POSITIVE, setting
from src_lab.training import Extra


@dataclass(frozen=True)
class SIConfig(MethodConfig):
    strength: float = setting(0.1, within=NON_NEGATIVE, source="c of Zenke et al. 2017")
    """How strongly important weights are held; 0 is sequential training."""
    damping: float = setting(0.001, within=POSITIVE, source="xi of Zenke et al. 2017")
    """Keeps the importance of weights that hardly moved finite."""


class SI(Sequential):
    """Task k is learned on (Zenke, Poole, Ganguli 2017, arXiv 1703.04200)

        L_k(theta) + strength sum_i Omega_i (theta_i - theta*_i)^2,    then Omega_i += w_i / (Delta_i^2 + damping)

    with theta* the weights that the task begins with, Delta_i how far weight i moved during the task, and w_i = - sum over
    its steps of (dL_k/dtheta_i times the step taken): how much of the loss's fall is owed to weight i. Omega never falls
    below 0 (the authors' program). Stores Omega, one network's worth of numbers. A sleep moves theta*, not Omega.
    """

    config = SIConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, SIConfig)
        super().__init__(context, config)
        self._settings = config
        self._train = context.train
        self._importance: dict[str, Tensor] = {}

    @property
    def label(self) -> str:
        return "SI"

    def learn(self, task: Task) -> None:
        start = copied(self.network)
        step = step_size(self._train, task.index)
        penalty = QuadraticPenalty(self.network, self._importance, start, 2 * self._settings.strength, step)
        path = PathIntegral(self.network, penalty)
        self._trainer.fit(task.train, task.index, extra=path)
        for name, parameter in self.network.named_parameters():
            moved = parameter.detach() - start[name]
            gain = path.gains[name] / (moved.square() + self._settings.damping)
            self._importance[name] = (self._importance.get(name, 0) + gain).clamp_(min=0)

    def state(self) -> dict[str, Tensor]:
        return super().state() | prefixed("importance.", self._importance)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._importance = restored(state, "importance.", self.network)

    def stored(self) -> Stored:
        return Stored(floats=sum(t.numel() for t in self._importance.values()), models=int(bool(self._importance)))


class PathIntegral(Extra):
    """`penalty`, and beside it w_i of every weight, `gains`: of the loss without the penalty, along the steps with it."""

    def __init__(self, network: nn.Module, penalty: QuadraticPenalty) -> None:
        self._penalty = penalty
        self._parameters = dict(network.named_parameters())
        self._before = copied(network)
        self.gains = {name: torch.zeros_like(tensor) for name, tensor in self._before.items()}

    def before_update(self) -> None:
        for name, parameter in self._parameters.items():
            self._before[name].copy_(parameter.detach())

    def after_update(self) -> None:
        self._penalty.after_update()
        for name, parameter in self._parameters.items():
            assert parameter.grad is not None
            self.gains[name].addcmul_(parameter.grad, self._before[name].sub_(parameter.detach()))
