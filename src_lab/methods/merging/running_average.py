"""Averaging along the chain: each task's network starts from the average of those before."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, Method, MethodConfig, require_no_batch_norm
from src_lab.models import ModelConfig
from src_lab.settings import UNIT_INTERVAL, setting


@dataclass(frozen=True)
class RunningAverageConfig(MethodConfig):
    power: float = setting(1.0, within=UNIT_INTERVAL, source="1: the mean of all; ours", later=True)
    """How fast the weight of a new network falls with the tasks met: 0 is sequential learning."""


class RunningAverage(Method):
    """Task k is trained from the average of the networks before, which then takes the new one in.

        theta_k = training of theta_avg on task k,    theta_avg <- theta_avg + k^(-power) (theta_k - theta_avg)

    As in federated averaging, but one after another and with falling weight (ours); power = 1 is the mean of all. The
    average is the network that answers: nothing else is carried but k. It sleeps, too, and a sleep is carried on: the next
    task's network starts from what has slept, and is averaged with it. Every task has a new optimizer, whatever
    `train.keep_momentum` says, as its weights are not where the last training left them.
    """

    config = RunningAverageConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, RunningAverageConfig)
        self._power = config.power
        self.network = context.new_network()
        self._context = context
        self._sleeps = config.sleep_after not in ("never", "last_task")
        self._met = 0

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_no_batch_norm(config, model)

    @property
    def label(self) -> str:
        return "Running average"

    def stages(self) -> tuple[Task, ...]:
        return self._context.stream.tasks

    def learn(self, task: Task) -> None:
        self._expert = expert = copy.deepcopy(self.network)
        # What slept is as individual as its sleep: keeping it would only push out of the cache what others can use.
        context = replace(self._context, cache=None) if self._sleeps and self._met else self._context
        context.new_trainer(expert).fit(task.train, task.index)
        self._met += 1
        with torch.no_grad():
            for mean, new in zip(self.network.parameters(), expert.parameters(), strict=True):
                mean.lerp_(new, self._met**-self._power)

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"met": torch.tensor(self._met)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._met = int(state["met"])

    def experts(self) -> dict[str, nn.Module]:
        return {"expert": self._expert}
