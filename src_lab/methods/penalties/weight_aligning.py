"""Weight aligning: after each task the output weights of its classes are made as large as those of the old ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, require_dense
from src_lab.methods.penalties.lwf import LwF, LwFConfig, earlier_classes
from src_lab.models import ModelConfig
from src_lab.settings import ConfigError


@dataclass(frozen=True)
class WeightAligningConfig(LwFConfig):
    """LwF's, whose training comes before the aligning; strength 0 is sequential training, aligned."""


class WeightAligning(LwF):
    """Task k is learned as by LwF; then, w_c being the output weights of class c (Zhao et al. 2020, arXiv 1911.07053),

        w_c <- gamma w_c for each new class c,    gamma = mean_{old} |w_c| / mean_{new} |w_c|

    The paper distils from exemplars as well as the new images, and can keep the output weights positive; both are left
    out. Biases stay as they are: the paper has none. Stores nothing from task to task. A sleep comes after the aligning,
    and the next task's aligning goes by the weights that it left.
    """

    config = WeightAligningConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        super().__init__(context, config)
        for task in self._tasks[1:]:
            if not _new_classes(task, self._tasks):
                raise ConfigError(
                    f"method={config.name} aligns the outputs of new classes, and task {task.index} of "
                    f"dataset={context.stream.name} has none: use tasks of different classes, e.g. dataset=mnist"
                )

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_dense(config, model)

    @property
    def label(self) -> str:
        return "Weight aligning"

    def learn(self, task: Task) -> None:
        super().learn(task)
        if old := earlier_classes(task, self._tasks):
            align(self.network, old, _new_classes(task, self._tasks))


@torch.no_grad()
def align(network: nn.Module, old: Sequence[int], new: Sequence[int]) -> None:
    """Scale the output weights of the classes `new` by one factor, so that their mean norm is that of the classes `old`."""
    weight = [module for module in network.modules() if isinstance(module, nn.Linear)][-1].weight
    norms = weight.norm(dim=1)
    weight[list(new)] *= norms[list(old)].mean() / norms[list(new)].mean()


def _new_classes(task: Task, tasks: Sequence[Task]) -> list[int]:
    return sorted(set(task.classes) - set(earlier_classes(task, tasks)))
