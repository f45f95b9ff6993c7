"""The networks of the lab as plain `nn.Sequential` chains: multilayer perceptrons, dense or low-rank, and convolutions."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from src_lab.rng import seed_for
from src_lab.settings import POSITIVE, ConfigError, Range, setting, typed


@dataclass(frozen=True)
class ModelConfig:
    """A multilayer perceptron, behind convolutions where there are `channels`; inputs and outputs follow from the data."""

    name: str = setting(example="mlp")
    widths: list[int] = setting(within=Range(1), unit="units", example="[4000,4000]")
    """Units of each hidden layer; [] is a network of one layer of weights."""
    bias: bool = setting(example="false")
    dropout: float = setting(within=Range(0, 0.999), unit="probability", example="0.25")
    dropout_scaling: Literal["train", "test"] = setting(
        source="train: PyTorch's, kept units divided by 1-p; test: MATLAB program, all units times 1-p when testing"
    )
    output: Literal["linear", "relu"] = setting(source="Python program: linear; MATLAB program: relu")
    init_range: float | None = setting(
        within=POSITIVE, example="0.01", source="null: PyTorch's U(+-1/sqrt(n_in)); MATLAB program: U(-.01, .01)"
    )
    rank: int | None = setting(within=Range(1), example="10", source="null: dense; Python program: 10")
    channels: list[int] = setting([], within=Range(1), unit="channels", example="[16,32]", later=True)
    """Channels of each convolution; a rectifier and an average pooling of 2 x 2 follow it. [] is no convolution."""
    kernel: int = setting(3, within=Range(1, 99), unit="pixels", example="3", later=True)
    """Side of the kernels; images are padded by half of it."""
    batch_norm: bool = setting(False, example="true", later=True)
    """Batch normalisation between each convolution and its rectifier."""

    @property
    def layers(self) -> int:
        """Layers of weights."""
        return len(self.channels) + len(self.widths) + 1

    @property
    def is_deep(self) -> bool:
        """Whether there is a hidden layer."""
        return self.layers > 1


class LowRankLinear(nn.Module):
    """y = A (B x) + b with A (n_out, rank) and B (rank, n_in), initialised as two `nn.Linear` in a row are.

    `offset` (n_out, n_in), absent until sleep, is what sleep changed on the product A B: a dense, untrained addition that
    keeps the layer's function exact and its factors trainable.
    """

    offset: Tensor | None

    def __init__(self, n_in: int, n_out: int, rank: int, bias: bool) -> None:
        super().__init__()
        self.B = nn.Parameter(torch.empty(rank, n_in).uniform_(-1, 1) / math.sqrt(n_in))
        self.A = nn.Parameter(torch.empty(n_out, rank).uniform_(-1, 1) / math.sqrt(rank))
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-1, 1) / math.sqrt(rank)) if bias else None
        self.register_buffer("offset", None)

    def product(self) -> Tensor:
        """The layer's weights, (n_out, n_in)."""
        product = self.A @ self.B
        return product if self.offset is None else product + self.offset

    def set_product(self, weights: Tensor) -> None:
        """Make `weights` (n_out, n_in) the layer's weights, keeping the factors."""
        self.offset = weights - self.A @ self.B

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401  # as torch has it
        # PyTorch refuses a buffer that is None here and a tensor there: make room for the offset of a network that slept.
        offset = state_dict.get(f"{prefix}offset")
        self.offset = None if offset is None else torch.empty_like(offset, device=self.A.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(nn.functional.linear(x, self.B), self.A, self.bias)
        return y if self.offset is None else y + nn.functional.linear(x, self.offset)


class UnscaledDropout(nn.Module):
    """Dropout as the MATLAB program has it: a 0/1 mask in training, every unit times 1 - p in testing."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask(x) if self.training else x * (1 - self.p)

    def mask(self, x: Tensor) -> Tensor:
        return torch.empty_like(x).bernoulli_(1 - self.p)


class StraightThroughReLU(nn.ReLU):
    """ReLU on the way forward, the identity on the way back: the MATLAB program's output layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (x.relu() - x).detach()


def build_model(
    config: ModelConfig,
    inputs: int,
    outputs: int,
    seed: int,
    *purpose: str | int,
    image_shape: tuple[int, int] | None = None,
) -> nn.Sequential:
    """A network on the CPU whose initial weights depend on `seed` and `purpose` alone.

    Convolutions need the `image_shape` (height, width) of what comes flat, with one channel or more. Raises ConfigError for
    images that are none, or too small for so many poolings.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "init", *purpose))
        if config.channels:
            stages, inputs = _convolutions(config, inputs, image_shape)
            layers += stages
        for place, (n_in, n_out) in enumerate(pairwise([inputs, *config.widths, outputs])):
            if place:
                layers += [nn.ReLU(), *_dropout(config)]
            layers.append(_linear(config, n_in, n_out))
    if config.output == "relu":
        layers.append(StraightThroughReLU())
    return nn.Sequential(*layers)


def _convolutions(config: ModelConfig, inputs: int, image_shape: tuple[int, int] | None) -> tuple[list[nn.Module], int]:
    """The layers up to a flat vector again, and its length."""
    if image_shape is None or not math.prod(image_shape) or inputs % math.prod(image_shape):
        raise ConfigError(f"model.channels={typed(config.channels)} needs images, which these are not: use model=mlp")
    height, width = image_shape
    channels = inputs // (height * width)
    layers: list[nn.Module] = [nn.Unflatten(1, (channels, height, width))]
    for count in config.channels:
        conv = nn.Conv2d(channels, count, config.kernel, padding=config.kernel // 2, bias=config.bias)
        _initialise(config, conv)
        layers += [conv, *([nn.BatchNorm2d(count)] if config.batch_norm else []), nn.ReLU(), nn.AvgPool2d(2)]
        grown = 1 - config.kernel % 2
        channels, height, width = count, (height + grown) // 2, (width + grown) // 2
    if not height * width:
        raise ConfigError(
            f"model.channels={typed(config.channels)} halves images of {image_shape[0]} x {image_shape[1]} to nothing: "
            "give fewer, e.g. model.channels=[16]"
        )
    return [*layers, nn.Flatten()], channels * height * width


def _linear(config: ModelConfig, n_in: int, n_out: int) -> nn.Module:
    if config.rank is not None:
        layer: nn.Module = LowRankLinear(n_in, n_out, config.rank, config.bias)
    else:
        layer = nn.Linear(n_in, n_out, bias=config.bias)
    _initialise(config, layer)
    return layer


def _initialise(config: ModelConfig, layer: nn.Module) -> None:
    if config.init_range is not None:
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -config.init_range, config.init_range)


def _dropout(config: ModelConfig) -> list[nn.Module]:
    if not config.dropout:
        return []
    return [nn.Dropout(config.dropout) if config.dropout_scaling == "train" else UnscaledDropout(config.dropout)]
