"""One network per task, all from one initial state, and one network made of them: what methods that merge share."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, Method, MethodConfig, Stored, require_no_batch_norm
from src_lab.models import ModelConfig
from src_lab.training import part

Weights = dict[str, Tensor]
"""Numbers by the name of the parameter that they belong to."""


class TaskNetworks(Method):
    """Trains a network on each task from the initial state theta_0; a merge of those met so far answers.

    Of the task networks `carried` is kept: tables of numbers, which a subclass fills and makes the merge from. theta_0 is
    drawn again from the seed and takes no room. The merge is made afresh after every task, so a sleep changes what answers
    until the next task, and nothing that is carried.
    """

    def __init__(self, context: Context, config: MethodConfig) -> None:  # noqa: ARG002  # the constructor of all methods
        self.network = context.new_network()
        self.carried: dict[str, Weights] = {}
        self.met = 0
        """Tasks learned so far."""
        self._context = context

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_no_batch_norm(config, model)

    def stages(self) -> tuple[Task, ...]:
        return self._context.stream.tasks

    def learn(self, task: Task) -> None:
        self._expert = self._train(task)
        self.met += 1
        network = self._context.new_network()
        initial = weights_of(network)
        with torch.no_grad():
            self._take_in(task, self._expert, initial)
            for name, merged in self._merge(initial).items():
                initial[name].copy_(merged)
        self.network = network

    def state(self) -> dict[str, Tensor]:
        carried = {f"carried.{key}.{name}": tensor for key, table in self.carried.items() for name, tensor in table.items()}
        return super().state() | carried | {"met": torch.tensor(self.met)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.carried = {}
        for key, tensor in part(state, "carried.").items():
            table, _, name = key.partition(".")
            self.carried.setdefault(table, {})[name] = tensor.to(self._context.device)
        self.met = int(state["met"])

    def stored(self) -> Stored:
        """All that is carried; `models` are the tables with a number for each of the network's."""
        sizes = [sum(tensor.numel() for tensor in table.values()) for table in self.carried.values()]
        whole = {name: weight.shape for name, weight in weights_of(self.network).items()}
        tables = [{name: tensor.shape for name, tensor in table.items()} for table in self.carried.values()]
        return Stored(floats=sum(sizes), models=tables.count(whole))

    def experts(self) -> dict[str, nn.Module]:
        return {"expert": self._expert}

    def _train(self, task: Task) -> nn.Sequential:
        """The network of `task`, trained from theta_0."""
        network = self._context.new_network()
        self._context.new_trainer(network).fit(task.train, task.index)
        return network

    def _add(self, key: str, numbers: Weights) -> None:
        """Add `numbers` to the table `key`, which begins at 0."""
        table = self.carried.setdefault(key, {})
        for name, number in numbers.items():
            table[name] = table[name] + number if name in table else number.clone()

    @abstractmethod
    def _take_in(self, task: Task, expert: nn.Sequential, initial: Weights) -> None:
        """Note in `carried` what the merge needs of the network of `task`, the `met`-th; `initial` is theta_0."""

    @abstractmethod
    def _merge(self, initial: Weights) -> Weights:
        """The weights of the merge, every parameter's, from `carried`."""


def weights_of(network: nn.Module) -> Weights:
    """The network's parameters by name, without their history: the tensors themselves, not copies."""
    return {name: parameter.detach() for name, parameter in network.named_parameters()}
