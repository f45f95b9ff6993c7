"""One low-rank network per task, combined: the Python program's low-rank merge and concat."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, Method, MethodConfig, Stored, require_no_convolution
from src_lab.models import LowRankLinear, ModelConfig
from src_lab.settings import ConfigError, setting
from src_lab.training import part


@dataclass(frozen=True)
class LowRankMergeConfig(MethodConfig):
    combine: Literal["average", "concat"] = setting("average", source="Python program")
    """`average`: W_l = mean_k A_k B_k, networks of one initial state. `concat`: W_l = [A_1 .. A_k] [B_1; ..; B_k], the sum
    of the products, networks of independent initial states."""


class LowRankMerge(Method):
    """Combines, layer by layer, the products A B of the task networks met so far into one dense network."""

    config = LowRankMergeConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, LowRankMergeConfig)
        self._context = context
        self._concat = config.combine == "concat"
        self._experts: list[nn.Sequential] = []
        self.network = _combine([context.new_network(*self._purpose(0))], self._dense(), mean=True)

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_no_convolution(config, model)
        if model.rank is None:
            raise ConfigError(
                f"model={model.name} is not low-rank, which method={config.name} needs: use model=lowrank or set a rank, "
                "e.g. model.rank=10"
            )

    @property
    def label(self) -> str:
        return "Low-rank concat" if self._concat else "Low-rank merge"

    def stages(self) -> tuple[Task, ...]:
        return self._context.stream.tasks

    def learn(self, task: Task) -> None:
        expert = self._context.new_network(*self._purpose(task.index))
        self._context.new_trainer(expert).fit(task.train, task.index)
        self._experts.append(expert)
        self.network = _combine(self._experts, self._dense(), mean=not self._concat)

    def state(self) -> dict[str, Tensor]:
        experts = (expert.state_dict(prefix=f"expert.{index}.") for index, expert in enumerate(self._experts))
        return super().state() | {name: tensor for expert in experts for name, tensor in expert.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._experts = []
        while expert := part(state, f"expert.{len(self._experts)}."):
            self._experts.append(self._context.new_network())
            self._experts[-1].load_state_dict(expert)

    def stored(self) -> Stored:
        numbers = sum(parameter.numel() for expert in self._experts for parameter in expert.parameters())
        return Stored(floats=numbers, models=len(self._experts))

    def experts(self) -> dict[str, nn.Module]:
        return {"expert": self._experts[-1]}

    def _purpose(self, index: int) -> tuple[str | int, ...]:
        return ("task", index) if self._concat else ()

    def _dense(self) -> nn.Sequential:
        return self._context.new_network(model=replace(self._context.model, rank=None))


def _combine(experts: list[nn.Sequential], dense: nn.Sequential, mean: bool) -> nn.Sequential:
    """`dense` with the mean or the sum of the experts' products, and of their biases, as its weights."""
    divisor = len(experts) if mean else 1
    with torch.no_grad():
        for position, layer in enumerate(dense):
            if isinstance(layer, nn.Linear):
                parts = [part for expert in experts if isinstance(part := expert[position], LowRankLinear)]
                layer.weight.copy_(torch.stack([part.product() for part in parts]).sum(dim=0) / divisor)
                if layer.bias is not None:
                    biases = torch.stack([part.bias for part in parts if part.bias is not None])
                    layer.bias.copy_(biases.sum(dim=0) / divisor)
    return dense.eval()
