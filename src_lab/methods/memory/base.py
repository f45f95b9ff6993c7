"""What the methods that store training images have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.evaluation import predict
from src_lab.methods.base import Context, MethodConfig, Stored
from src_lab.methods.memory.exemplars import Draws, Memory, Order, herding
from src_lab.methods.sequential import Sequential
from src_lab.models import LowRankLinear, ModelConfig
from src_lab.rng import generator
from src_lab.settings import ConfigError, Range, setting


@dataclass(frozen=True)
class ExemplarConfig(MethodConfig):
    """A memory of fixed size, shared equally by the classes met."""

    memory: int = setting(100, within=Range(1), unit="images in total")
    choice: Literal["random", "herding"] = setting("random")
    """Which images are kept: drawn at random, or those whose mean feature is nearest to the class's (Rebuffi et al. 2017,
    arXiv 1611.07725, algorithm 4)."""


class Storing(Sequential):
    """Sequential learning with a memory of training images, which resume and the count of what is stored include."""

    def __init__(self, context: Context, config: MethodConfig) -> None:
        super().__init__(context, config)
        self._context = context
        self._memory = Memory()

    def state(self) -> dict[str, Tensor]:
        return super().state() | self._memory.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._memory.load_state(state)

    def stored(self) -> Stored:
        return Stored(images=len(self._memory))

    def _random(self, task: Task) -> Order:
        draw = generator(self._context.seed, "memory", task.index)
        return lambda images: torch.randperm(len(images), generator=draw)


class Budgeted(Storing):
    """A memory that never holds more than `method.memory` images, the same number of each class of each task.

    It is filled after a task's training and before its sleep: herding goes by the features of then.
    """

    config = ExemplarConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        super().__init__(context, config)
        assert isinstance(config, ExemplarConfig)
        self._budget = config.memory
        self._herds = config.choice == "herding"

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        assert isinstance(config, ExemplarConfig)
        if config.choice == "herding" and not model.is_deep:
            raise ConfigError(
                "method.choice=herding needs hidden features, but model.widths=[] has no hidden layer: use "
                "method.choice=random or give widths, e.g. model.widths=[400]"
            )

    def _remember(self, task: Task) -> None:
        self._memory.add(task.train, self._nearest_to_mean if self._herds else self._random(task))
        self._memory.reduce(self._budget)

    def _nearest_to_mean(self, images: Tensor) -> Tensor:
        return herding(unit_features(self.network, images))

    def _draws(self, task: Task) -> Draws:
        """Minibatches of the memory while `task` is learned."""
        return Draws(self._memory.all(), generator(self._context.seed, "replay", task.index), self._context.device)


def penultimate(network: nn.Module) -> nn.Sequential:
    """The part of `network`, a chain, before its last layer of weights, in evaluation mode: images to features (n, d)."""
    assert isinstance(network, nn.Sequential)
    weights = [index for index, module in enumerate(network) if isinstance(module, (nn.Linear, LowRankLinear))]
    return network[: weights[-1]].eval()


def unit_features(network: nn.Module, images: Tensor) -> Tensor:
    """Penultimate activations (n, d) divided by their norms, on the CPU; zero where no unit is active."""
    return nn.functional.normalize(predict(penultimate(network), images))
