"""Answering by what the classes look like on average: what prototype classifiers share."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from src_lab.data import Split, Task
from src_lab.methods.base import Context, Method, MethodConfig, Stored
from src_lab.models import LowRankLinear, ModelConfig
from src_lab.settings import ConfigError, setting
from src_lab.training import part

BATCH = 1000
"""Images per forward pass."""
UNSEEN = -1e12
"""The output of a class that was never seen: below what the others answer, and small enough for its square to be finite."""


@dataclass(frozen=True)
class PrototypeConfig(MethodConfig):
    """Settings of all prototype classifiers."""

    features: Literal["input", "first_task"] = setting("first_task", source="Hayes & Kanan 2020: a network trained once")
    """What the classes are described in: the images themselves, or the last hidden layer of a network that was trained on
    the first task and is never changed again."""


class Prototypes(Method):
    """Keeps, by class, the number of images and the mean of their features z; answers linearly in z.

    The network that answers is the frozen part and one Linear layer with a bias, so it cannot sleep.
    """

    config = PrototypeConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, PrototypeConfig)
        self._context = context
        self._learns = config.features == "first_task"
        body, width = _body(context.new_network()) if self._learns else (nn.Sequential(nn.Flatten()), self._pixels())
        classes = context.stream.num_classes
        head = nn.Linear(width, classes, device="meta").to_empty(device=context.device)  # draws no random numbers
        self.body, self._head = body, head
        self.network = nn.Sequential(*body, head).eval()
        self.statistics = {
            "counts": torch.zeros(classes, device=context.device),
            "means": torch.zeros(classes, width, device=context.device),
        }
        """Numbers of images (classes,), means of their features (classes, width), and what a subclass adds."""
        self._set_head(self.statistics["means"], torch.zeros_like(self.statistics["counts"]))

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:  # noqa: ARG003
        if config.sleep_after != "never":
            raise ConfigError(
                f"method.sleep_after={config.sleep_after} is not possible with method={config.name}, whose answers are "
                "class means with a bias that no sleep may change: use method.sleep_after=never"
            )

    def stages(self) -> tuple[Task, ...]:
        return self._context.stream.tasks

    def learn(self, task: Task) -> None:
        if self._learns and not self.statistics["counts"].any():
            self._learn_features(task)
        with torch.no_grad():
            for images, labels in self._batches(task.train):
                self._take_in(self.body(images), labels)
            self._set_head(*self._read_out())

    def state(self) -> dict[str, Tensor]:
        return super().state() | {f"statistics.{name}": tensor for name, tensor in self.statistics.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        loaded = part(state, "statistics.")
        self.statistics = {name: tensor.to(self._context.device, copy=True) for name, tensor in loaded.items()}

    def stored(self) -> Stored:
        return Stored(floats=sum(tensor.numel() for tensor in self.statistics.values()))

    @abstractmethod
    def _read_out(self) -> tuple[Tensor, Tensor]:
        """Weights (classes, width) and biases (classes,) of the answer, from `statistics`."""

    def _take_in(self, features: Tensor, labels: Tensor) -> None:
        """Take the features (n, width) of images with `labels` (n,) into the statistics."""
        new, means = batch_means(features, labels, len(self.statistics["counts"]))
        counts = self.statistics["counts"] + new
        share = (new / counts.clamp(min=1)).unsqueeze(1)
        self.statistics |= {"counts": counts, "means": torch.lerp(self.statistics["means"], means, share)}

    def _learn_features(self, task: Task) -> None:
        network = self._context.new_network()
        self._context.new_trainer(network).fit(task.train, task.index)
        self.body.load_state_dict(_body(network)[0].state_dict())

    def _batches(self, data: Split) -> list[tuple[Tensor, Tensor]]:
        device = self._context.device
        pairs = zip(torch.split(data.images, BATCH), torch.split(data.labels, BATCH), strict=True)
        return [(images.to(device), labels.to(device)) for images, labels in pairs]

    def _set_head(self, weights: Tensor, biases: Tensor) -> None:
        """Answer with `weights` and `biases`, and with `UNSEEN` for classes never seen, whose weights and biases are 0."""
        with torch.no_grad():
            self._head.weight.copy_(weights)
            self._head.bias.copy_(biases + UNSEEN * (self.statistics["counts"] == 0))

    def _pixels(self) -> int:
        return math.prod(self._context.stream.tasks[0].train.images.shape[1:])


def batch_means(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """How many of the `labels` (n,) are each class, (classes,), and the means of their features (n, width), 0 for none."""
    one_hot = nn.functional.one_hot(labels, classes).to(features.dtype)
    counts = one_hot.sum(dim=0)
    return counts, one_hot.T @ features / counts.clamp(min=1).unsqueeze(1)


def _body(network: nn.Sequential) -> tuple[nn.Sequential, int]:
    """The network without its last layer of weights and what follows, and how many numbers that part gives."""
    layers = [(place, module) for place, module in enumerate(network) if isinstance(module, (nn.Linear, LowRankLinear))]
    place, last = layers[-1]
    width = last.B.shape[1] if isinstance(last, LowRankLinear) else last.in_features
    return network[:place], width
