"""Sleep of networks with convolutions and poolings, in plain PyTorch on any device.

A convolution is a layer whose units (channel o, position p) share kernels W (C_out, C_in, height, width). With s_pre the
spikes that the layer is fed, 0 where its padding reaches beyond them, and d a place of the kernel:

    I[o, p]      = alpha sum_{c, d} W[o, c, d] s_pre[c, p + d]        less inhibition, as in `src_lab.sleep.reference`
    W[o, c, d]  += f(W[o, c, d]) mean_p s_post[o, p] (inc s_pre[c, p + d] - dec (1 - s_pre[c, p + d]))

each weight by the mean of what the rule says at the positions it is used at; a bias likewise. Average pooling passes on
the mean of the spikes in its window, a number from 0 to 1, of which the rule is a linear function. A Linear layer is the
case of one position, so that a network without convolutions sleeps here as it does in the reference.

Weights and spikes are multiplied in float64 and rounded once. All of a layer that spiked is visited, densely.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep.backend import Biases, Parameters, Record
from src_lab.sleep.layers import ConvLayer, SleepingLayer
from src_lab.sleep.reference import Reference, mean, write


def is_spatial(layers: Sequence[SleepingLayer]) -> bool:
    """Whether the layers are no chain of matrices, which the other backends need."""
    return any(isinstance(layer, ConvLayer) for layer in layers)


def require_auto(layers: Sequence[SleepingLayer], backend: str) -> None:
    """Raise ConfigError when a backend for matrices is named for a network with a convolution."""
    named = next(layer.name for layer in layers if isinstance(layer, ConvLayer))
    if backend != "auto":
        raise ConfigError(
            f"sleep.backend={backend} is for Linear layers, and layer {named} is a Conv2d: use sleep.backend=auto"
        )


def unit_shapes(layers: Sequence[SleepingLayer], images: Tensor) -> list[tuple[int, ...]]:
    """Shape of each layer's units, (n,) or (channels, height, width), for images (n, ...).

    Raises ConfigError, naming the layer, when the images or what becomes of them do not fit it.
    """
    shapes: list[tuple[int, ...]] = []
    states = torch.zeros(1, *images.shape[1:])
    for layer in layers:
        given = tuple(states.shape[1:])
        try:
            states = layer.fed(states)
            wanted = layer.shape[1] if not isinstance(layer, ConvLayer) else None
            if (states.numel() != wanted) if wanted else (states.ndim != 4 or states.shape[1] != layer.shape[1]):
                raise RuntimeError
            _, shape = layer.columns(states)
        except RuntimeError:
            raise ConfigError(
                f"what comes to layer {layer.name} has shape {given} and does not fit it, with images of shape "
                f"{tuple(images.shape)}: give images, (n, channels, height, width), that fit the network"
            ) from None
        shapes.append(shape)
        states = states.new_zeros(1, *shape)
    return shapes


class Spatial(Reference):
    """Implements `src_lab.sleep.backend.Backend`; potentials, and what is recorded of them, count a layer's units in one
    row, channel by channel."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        parameters: Parameters,
        biases: Biases | None,
        layers: Sequence[SleepingLayer],
        images: Tensor,
    ) -> None:
        super().__init__(weights, parameters, biases)
        self._layers = layers
        self._image_shape = images.shape[1:]
        self._shapes = unit_shapes(layers, images)
        self._potentials = [w.new_zeros(math.prod(shape)) for w, shape in zip(self._weights, self._shapes, strict=True)]

    def _step_layer(self, layer: int, step: int, presynaptic: Tensor, record: Record) -> Tensor:
        p, w = self._parameters, self._weights[layer]
        source = self._shapes[layer - 1] if layer else self._image_shape
        columns, _ = self._layers[layer].columns(self._layers[layer].fed(presynaptic.view(1, *source).double()))
        impulse = p.alpha[layer] * (w.flatten(1).double() @ columns).to(w.dtype)
        impulse -= p.inhibition * mean(impulse)
        v = self._potentials[layer].view_as(impulse)  # (channels, positions)
        v.mul_(p.decay).add_(impulse)
        self._add_bias(layer, v.T)
        if layer == len(self._weights) - 1:
            v += p.dc
        spikes = v >= p.threshold * p.beta[layer]
        write(record, layer, step, self._steps_done, v.flatten(), spikes.flatten())
        if spikes.any():
            if layer not in p.fixed:
                self._learn(layer, spikes.double(), columns)
            self._adapt_shared_bias(layer, spikes)
            v[spikes] = 0
        return spikes.flatten()

    def _learn(self, layer: int, spikes: Tensor, columns: Tensor) -> None:
        """Change the weights by the rule's mean over positions, `spikes` (channels, positions)."""
        inc, dec = self._parameters.rates(layer)
        together = spikes @ columns.T / spikes.shape[1]
        alone = spikes.mean(dim=1, keepdim=True) - together
        w = self._weights[layer]
        rate = (inc * together - dec * alone).to(w.dtype)
        w += rate.view_as(w) * self._factor(w)

    def _adapt_shared_bias(self, layer: int, spikes: Tensor) -> None:
        b = self._biases[layer]
        if b is not None and self._parameters.bias_rate[layer]:
            b += spikes.to(b.dtype).mean(dim=1) * self._parameters.bias_rate[layer] * self._factor(b)
