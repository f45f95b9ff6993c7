"""One layer of weights as sleep sees it: what it is fed, a matrix to read and to write, and biases if it has any."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src_lab.models import LowRankLinear


@dataclass(frozen=True)
class SleepingLayer(ABC):
    """One layer of weights, by its name in the model.

    feed  what stands between the layer before and this one and changes what passes: poolings, changes of shape
    """

    name: str
    module: nn.Module
    feed: tuple[nn.Module, ...] = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n_out, n_in), for a convolution in channels."""

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    @abstractmethod
    def weight(self) -> Tensor:
        """A copy of the weights, (n_out, n_in), or (channels out, channels in, height, width)."""

    @abstractmethod
    def bias(self) -> Tensor | None:
        """A copy of the biases, (n_out,), or None for a layer without."""

    @abstractmethod
    def write(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Replace the weights in place, and the biases where they are given."""

    def fed(self, states: Tensor) -> Tensor:
        """What comes through poolings and changes of shape to the layer, given what the layer before sends, (n, ...)."""
        for module in self.feed:
            states = module(states)
        return states

    @abstractmethod
    def sums(self, x: Tensor) -> Tensor:
        """Weighted sums of all units, (n, *units), given what the layer is fed (n, ...)."""

    @abstractmethod
    def columns(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """What each of the layer's units is fed, (inputs of a unit, positions), given what the layer is fed (1, ...);
        and the shape of the layer's units. `weight().flatten(1) @ columns` are the sums of all units."""


@dataclass(frozen=True)
class DenseLayer(SleepingLayer):
    module: nn.Linear | LowRankLinear

    @property
    def shape(self) -> tuple[int, int]:
        if isinstance(self.module, LowRankLinear):
            return self.module.A.shape[0], self.module.B.shape[1]
        return self.module.weight.shape[0], self.module.weight.shape[1]

    def weight(self) -> Tensor:
        if isinstance(self.module, LowRankLinear):
            return self.module.product().detach().clone()
        return self.module.weight.detach().clone(memory_format=torch.contiguous_format)

    def bias(self) -> Tensor | None:
        return None if self.module.bias is None else self.module.bias.detach().clone()

    @torch.no_grad()
    def write(self, weight: Tensor, bias: Tensor | None = None) -> None:
        if isinstance(self.module, LowRankLinear):
            self.module.set_product(weight)
        else:
            self.module.weight.copy_(weight)
        if bias is not None and self.module.bias is not None:
            self.module.bias.copy_(bias)

    def sums(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight().T

    def columns(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        return x.reshape(-1, 1), (self.shape[0],)


@dataclass(frozen=True)
class ConvLayer(SleepingLayer):
    """A convolution, with the batch normalisation behind it folded in where there is one.

    In evaluation y = gamma (W * x + b - mean) / sqrt(var + eps) + beta, which is the convolution by k W with the biases
    k (b - mean) + beta, k = gamma / sqrt(var + eps) per channel. Sleep reads and changes these; what it wrote is divided by
    k again, and biases go into beta, so that the module computes in evaluation what slept. The statistics stay: training
    goes on from W with batches of its own.
    """

    module: nn.Conv2d
    norm: nn.BatchNorm2d | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.module.out_channels, self.module.in_channels

    def weight(self) -> Tensor:
        weight = self.module.weight.detach().clone(memory_format=torch.contiguous_format)
        return weight if self.norm is None else weight * self._factor(self.norm)[:, None, None, None]

    def bias(self) -> Tensor | None:
        own = None if self.module.bias is None else self.module.bias.detach().clone()
        if self.norm is None:
            return own
        return self._shift(self.norm) + self.norm.bias.detach()

    @torch.no_grad()
    def write(self, weight: Tensor, bias: Tensor | None = None) -> None:
        if self.norm is None:
            self.module.weight.copy_(weight)
            if bias is not None and self.module.bias is not None:
                self.module.bias.copy_(bias)
            return
        self.module.weight.copy_(weight / self._factor(self.norm)[:, None, None, None])
        if bias is not None:
            self.norm.bias.copy_(bias - self._shift(self.norm))

    def sums(self, x: Tensor) -> Tensor:
        module = self.module
        return nn.functional.conv2d(x, self.weight(), None, module.stride, module.padding, module.dilation)

    def columns(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        height, width = (
            (size + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1
            for size, pads, dilation, kernel, stride in zip(
                x.shape[2:], self._padding(), self.module.dilation, self.module.kernel_size, self.module.stride, strict=True
            )
        )
        (top, bottom), (left, right) = self._padding()
        padded = nn.functional.pad(x, (left, right, top, bottom))
        module = self.module
        found = nn.functional.unfold(padded, module.kernel_size, dilation=module.dilation, stride=module.stride)
        return found[0], (module.out_channels, height, width)

    def _padding(self) -> list[tuple[int, int]]:
        """Silent rows above and below, and columns left and right."""
        if self.module.padding == "same":
            missing = [d * (k - 1) for d, k in zip(self.module.dilation, self.module.kernel_size, strict=True)]
            return [(total // 2, total - total // 2) for total in missing]
        sides = (0, 0) if isinstance(self.module.padding, str) else self.module.padding
        return [(side, side) for side in sides]

    def _factor(self, norm: nn.BatchNorm2d) -> Tensor:
        """k, (channels,)."""
        assert norm.running_var is not None
        return (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()

    def _shift(self, norm: nn.BatchNorm2d) -> Tensor:
        """k (b - mean), (channels,)."""
        assert norm.running_mean is not None
        own = torch.zeros_like(norm.running_mean) if self.module.bias is None else self.module.bias.detach()
        return self._factor(norm) * (own - norm.running_mean)
