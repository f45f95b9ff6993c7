"""Supervised training of one network on one set of images, by minibatch gradient descent with momentum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from src_lab.data import Split
from src_lab.rng import generator, seed_for
from src_lab.settings import NON_NEGATIVE, POSITIVE, Range, setting


class DivergedError(FloatingPointError):
    """Training reached a loss that is not finite."""


@dataclass(frozen=True)
class TrainConfig:
    """How each task is learned; the presets in `conf/train/` name their sources."""

    name: str = setting(example="python")
    learning_rate: float = setting(within=POSITIVE, example="0.01")
    momentum: float = setting(within=Range(0, 0.9999), example="0.5")
    batch_size: int = setting(within=Range(1), unit="images", example="100")
    epochs: int = setting(within=NON_NEGATIVE, example="2")
    loss: Literal["cross_entropy", "half_squared_error"] = setting()
    keep_momentum: bool = setting(source="MATLAB program: carried across tasks and sleep; Python program: a new optimizer")


def half_squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """L = 1/2 sum (y - target)^2 / batch with one-hot targets (MATLAB program)."""
    targets = nn.functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    return (outputs - targets).square().sum() / (2 * len(outputs))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": nn.functional.cross_entropy,
    "half_squared_error": half_squared_error,
}


class Trainer:
    """Trains one network on one data set after another, as `config` says.

    `seed` fixes the order of the images and the dropout masks of every task, whatever else draws random numbers.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, seed: int) -> None:
        self.model = model
        self.config = config
        self._seed = seed
        self._optimizer: torch.optim.Optimizer | None = None

    def fit(self, data: Split, *purpose: str | int) -> None:
        """Train for `config.epochs` epochs; `purpose` names the random stream, the task's index say.

        Raises DivergedError when the loss stops being finite.
        """
        if self._optimizer is None or not self.config.keep_momentum:
            self._optimizer = self._new_optimizer()
        device = next(self.model.parameters()).device
        images, labels = data.images.to(device), data.labels.to(device)
        order = generator(self._seed, "order", *purpose)
        self.model.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed_for(self._seed, "dropout", *purpose))
            for epoch in range(self.config.epochs):
                shuffled = torch.randperm(len(images), generator=order).to(device)
                label = f"train {' '.join(map(str, purpose))} epoch {epoch + 1}/{self.config.epochs}"
                for batch in tqdm(torch.split(shuffled, self.config.batch_size), label, leave=False, disable=None):
                    loss = self.step(images[batch], labels[batch])
                if len(images) and not torch.isfinite(loss):
                    raise DivergedError(
                        f"the training loss is {loss.item()} after epoch {epoch + 1} with train.learning_rate="
                        f"{self.config.learning_rate:g}: use a smaller one, e.g. train.learning_rate="
                        f"{self.config.learning_rate / 10:g}"
                    )
        self.model.eval()

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One gradient step on one minibatch; returns its loss."""
        if self._optimizer is None:
            self._optimizer = self._new_optimizer()
        self._optimizer.zero_grad()
        loss = LOSSES[self.config.loss](self.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self._optimizer.step()
        return loss.detach()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        # The fused update passes over the weights once where the default passes three times.
        return torch.optim.SGD(
            self.model.parameters(), lr=self.config.learning_rate, momentum=self.config.momentum, fused=True
        )
