"""What a continual-learning method is, and what it gets to work with."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from src_lab.cache import Cache
from src_lab.data import Stream, Task
from src_lab.evaluation import Adjust
from src_lab.models import ModelConfig, build_model
from src_lab.settings import ConfigError, Range, setting, typed
from src_lab.sleep import SleepConfig
from src_lab.training import TrainConfig, Trainer, part

SleepAfter = Literal["never", "each_task", "last_task"] | int


@dataclass(frozen=True)
class MethodConfig:
    """Settings that every method has."""

    name: str = setting(example="src")
    sleep_after: SleepAfter = setting(within=Range(2), example="each_task")
    """After which of the method's stages its network sleeps, a number k being every k-th and the last (once after several
    tasks: arXiv 2606.08447); how it sleeps is the group `sleep`."""


def require_dense(config: MethodConfig, model: ModelConfig) -> None:
    """Raise ConfigError for a low-rank or convolutional model, for methods that are about whole weight matrices."""
    require_no_convolution(config, model)
    if model.rank is not None:
        raise ConfigError(
            f"model.rank={model.rank} is not possible with method={config.name}, which is about whole weight matrices: use "
            "model.rank=null or model=mlp"
        )


def require_no_convolution(config: MethodConfig, model: ModelConfig) -> None:
    """Raise ConfigError for a convolutional model, for methods that know matrices only."""
    if model.channels:
        raise ConfigError(
            f"model.channels={typed(model.channels)} is not possible with method={config.name}, which is about whole weight "
            "matrices: use model.channels=[] or model=mlp"
        )


def require_no_batch_norm(config: MethodConfig, model: ModelConfig) -> None:
    """Raise ConfigError for batch normalisation, for methods that combine parameters: statistics are none."""
    if model.channels and model.batch_norm:
        raise ConfigError(
            f"model.batch_norm=true is not possible with method={config.name}, which combines weights and not statistics: "
            "use model.batch_norm=false"
        )


@dataclass(frozen=True)
class Context:
    """What a method builds and trains its networks from."""

    model: ModelConfig
    train: TrainConfig
    stream: Stream
    seed: int
    device: torch.device
    cache: Cache | None = None
    sleep: SleepConfig = field(default_factory=SleepConfig)

    def new_network(self, *purpose: str | int, model: ModelConfig | None = None) -> nn.Sequential:
        """A fresh network on the run's device, in evaluation mode; equal purposes give equal initial weights."""
        inputs = self.stream.tasks[0].train.images.shape[1]
        shape = self.stream.image_shape
        network = build_model(model or self.model, inputs, self.stream.num_classes, self.seed, *purpose, image_shape=shape)
        return network.to(self.device).eval()

    def new_trainer(self, network: nn.Module) -> Trainer:
        return Trainer(network, self.train, self.seed, self.cache)


@dataclass(frozen=True)
class Stored:
    """What a method carries from task to task beside the network that answers.

    floats  numbers that are not training images: copies of weights, importances, statistics, momentum not counted
    images  training images
    models  how many whole networks are among the `floats`
    """

    floats: int = 0
    images: int = 0
    models: int = 0

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(self.floats + other.floats, self.images + other.images, self.models + other.models)


class Method(ABC):
    """A learner that meets the stages of a stream in order."""

    config: ClassVar[type[MethodConfig]] = MethodConfig
    """Schema of the group `method`."""
    network: nn.Module
    """What answers, and what sleeps, after each stage."""

    @abstractmethod
    def __init__(self, context: Context, config: MethodConfig) -> None: ...

    @property
    @abstractmethod
    def label(self) -> str:
        """Display name of the variant that runs."""

    @classmethod  # noqa: B027  # optional: most methods take any model
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        """Raise ConfigError for settings or a model that the method cannot use. Called before any work."""

    @abstractmethod
    def stages(self) -> tuple[Task, ...]:
        """What is learned, in order. A stage that is no single task has index -1."""

    @abstractmethod
    def learn(self, task: Task) -> None:
        """Learn one stage."""

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the stages to come depend on, by name: what a checkpoint holds. The network, unless more."""
        return self.network.state_dict(prefix="network.")

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on, in a method just made, from what `state` gave."""
        self.network.load_state_dict(part(state, "network."))

    def experts(self) -> dict[str, nn.Module]:
        """{"expert": the network of the task learned last}, for methods that train one per task and combine them."""
        return {}

    def stored(self) -> Stored:
        """What is carried over to the next task now; nothing, unless the method says more."""
        return Stored()

    def classifier(self, network: nn.Module) -> nn.Module:
        """What is asked when `network` is evaluated, the method's own or a copy of it in the middle of a sleep: images to
        outputs (n, classes). The network itself, unless the method decides in another way than by its outputs."""
        return network

    def adjust(self, current: Task) -> Adjust | None:  # noqa: ARG002  # for methods that use it
        """A change to the outputs when evaluating after `current`; None for the plain decision."""
        return None
