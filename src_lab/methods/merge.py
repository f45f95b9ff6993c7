"""One network per task, all from one initial state, merged by averaging their weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, Method, MethodConfig
from src_lab.training import part


class Merge(Method):
    """After stage k the answering network has the mean weights of the first k task networks."""

    def __init__(self, context: Context, config: MethodConfig) -> None:  # noqa: ARG002  # the constructor of all methods
        self.network = context.new_network()
        self._context = context
        self._sum: dict[str, Tensor] = {}
        self._merged = 0

    @property
    def label(self) -> str:
        return "Merge"

    def stages(self) -> tuple[Task, ...]:
        return self._context.stream.tasks

    def learn(self, task: Task) -> None:
        self._expert = expert = self._context.new_network()
        self._context.new_trainer(expert).fit(task.train, task.index)
        self._merged += 1
        with torch.no_grad():
            for name, parameter in expert.named_parameters():
                self._sum[name] = self._sum[name] + parameter if name in self._sum else parameter.clone()
            for name, parameter in self.network.named_parameters():
                parameter.copy_(self._sum[name] / self._merged)

    def state(self) -> dict[str, Tensor]:
        sums = {f"sum.{name}": tensor for name, tensor in self._sum.items()}
        return super().state() | sums | {"merged": torch.tensor(self._merged)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        device = next(self.network.parameters()).device
        self._sum = {name: tensor.to(device) for name, tensor in part(state, "sum.").items()}
        self._merged = int(state["merged"])

    def experts(self) -> dict[str, nn.Module]:
        return {"expert": self._expert}
