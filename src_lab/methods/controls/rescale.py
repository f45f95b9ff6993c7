"""Sequential learning whose outputs are rescaled when it is asked: how much of sleep's gain is only that."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.evaluation import predict
from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.sequential import Sequential
from src_lab.models import LowRankLinear
from src_lab.rng import generator
from src_lab.settings import setting
from src_lab.sleep.stimulus import BLOCK, image_sides, spike_blocks

STIMULUS_IMAGES = 1000


@dataclass(frozen=True)
class RescaleConfig(MethodConfig):
    by: Literal["row_norm", "centre", "standardise"] = setting("standardise", source="ours")
    """`row_norm`: each output over the norm of its weights; `centre`: less its mean; `standardise`: less its mean, over its
    standard deviation."""
    over: Literal["current", "stimulus"] = setting("current", source="ours")
    """Where `centre` and `standardise` measure: on the current task's training images, or on what sleep would show."""


class Rescale(Sequential):
    """Answers by rescaled logits z'_k = (z_k - shift_k) / scale_k, the network itself being that of sequential learning.

        row_norm      shift_k = 0             scale_k = |w_k|, the norm of the weights into output k
        centre        shift_k = mean(z_k)     scale_k = 1
        standardise   shift_k = mean(z_k)     scale_k = sd(z_k)

    Mean and sd are over the images named by `over`, measured anew whenever the network is asked, of the network as it is
    then: after a sleep (`method.sleep_after`) of the one that slept. `stimulus` is the first STIMULUS_IMAGES steps of the
    input spikes of a sleep that knows the current task's images alone, times the one number that makes them as bright, on
    average, as these images: the network was trained on images, and its logits grow with their brightness. Logits are taken
    before the rectifier of a network that ends in one. A scale of 0 counts as 1. Classes that no task had so far are no
    answer (-inf): rescaling would lift what was never learned to the level of what was.
    """

    config = RescaleConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        super().__init__(context, config)
        assert isinstance(config, RescaleConfig)
        self._context = context
        self._settings = config
        self._learned = -1
        if self._shows_stimulus:
            image_sides(self._images(self._tasks[0]), context.sleep.stimulus)

    @property
    def label(self) -> str:
        learner = "Sequential" if self._settings.sleep_after == "never" else "SRC"
        how = {"row_norm": "rows of equal norm", "centre": "centred", "standardise": "standardised"}[self._settings.by]
        where = "the sleep stimulus" if self._settings.over == "stimulus" else "current images"
        return f"{learner}, {how}" if self._settings.by == "row_norm" else f"{learner}, {how} on {where}"

    def learn(self, task: Task) -> None:
        super().learn(task)
        self._learned = task.index

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"learned": torch.tensor(self._learned)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._learned = int(state["learned"])

    def classifier(self, network: nn.Module) -> nn.Module:
        if self._learned < 0:
            return network
        logits = _before_rectifier(network)
        if self._settings.by == "row_norm":
            scale = _last_weights(network).norm(dim=1)
            shift = torch.zeros_like(scale)
        else:
            scale, shift = torch.std_mean(predict(logits, self._measured_on()), dim=0, correction=0)
            if self._settings.by == "centre":
                scale = torch.ones_like(scale)
        met = sorted({label for task in self._tasks[: self._learned + 1] for label in task.classes})
        return Rescaled(logits, shift, scale, met)

    @property
    def _shows_stimulus(self) -> bool:
        return self._settings.by != "row_norm" and self._settings.over == "stimulus"

    def _measured_on(self) -> Tensor:
        """Images (n, features) over which mean and sd are taken."""
        task = self._tasks[self._learned]
        if not self._shows_stimulus:
            return task.train.images
        draw = generator(self._context.seed, "sleep", self._learned)
        blocks = spike_blocks(self._images(task), self._context.sleep, draw)
        spikes = torch.cat(list(islice(blocks, STIMULUS_IMAGES // BLOCK))).float()
        return spikes * (task.train.images.mean() / spikes.mean())

    def _images(self, task: Task) -> Tensor:
        return task.train.images.view(-1, *self._context.stream.image_shape)


class Rescaled(nn.Module):
    """(logits(x) - shift) / scale of the classes `met`, -inf of the others; shift and scale are (classes,)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, logits: nn.Module, shift: Tensor, scale: Tensor, met: list[int]) -> None:
        super().__init__()
        self.logits = logits
        device = next(logits.parameters()).device
        # less infinity, an output is no answer
        unmet = torch.ones(len(shift), dtype=torch.bool).index_fill(0, torch.tensor(met), False)
        self.register_buffer("shift", shift.cpu().masked_fill(unmet, torch.inf).to(device))
        self.register_buffer("scale", torch.where(scale > 0, scale, 1).to(device))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        rescaled: Tensor = (self.logits(images) - self.shift) / self.scale
        return rescaled


def _before_rectifier(network: nn.Module) -> nn.Module:
    """The layers of `network` up to its logits, in evaluation mode, which `predict` would else take them out of."""
    assert isinstance(network, nn.Sequential)
    return (network[:-1] if isinstance(network[-1], nn.ReLU) else network).eval()


def _last_weights(network: nn.Module) -> Tensor:
    """Weights into the outputs, (classes, n_in)."""
    last = [module for module in network.modules() if isinstance(module, (nn.Linear, LowRankLinear))][-1]
    return (last.product() if isinstance(last, LowRankLinear) else last.weight).detach()
