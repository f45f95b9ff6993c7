"""The sleep phase as the paper writes it: every weight visited at every step. Slow, and what all backends must equal.

One step of a network with weights `W_l` (n_l, n_{l-1}), l = 1 .. L (Tadros et al. 2022, doi 10.1038/s41467-022-34938-7):

    s_0 = input spikes of the step
    I   = alpha_l (W_l s_{l-1}),   I <- I - inhibition * mean(I)        mean over the units of layer l
    v_l = decay v_l + I            (+ alpha_l kappa_{l-1} b_l where the layer has biases; + dc in the last layer)
    s_l = v_l >= threshold * beta_l                                     inclusive; layer l sees s_{l-1} of the same step
    W_l[i, j] += inc f(W_l[i, j])  where s_l[i] = 1 and s_{l-1}[j] = 1
    W_l[i, j] -= dec f(W_l[i, j])  where s_l[i] = 1 and s_{l-1}[j] = 0
    b_l[i] += bias_rate_l f(b_l[i])  where s_l[i] = 1, if biases learn
    v_l[i] = 0                     where s_l[i] = 1

Biases and their two constants are explained in `src_lab.sleep.bias`. Their drive comes after inhibition and is no part of
the mean that it takes: inhibition is of what the layer below sends.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from src_lab.sleep.backend import Biases, NonFiniteError, Parameters, Record
from src_lab.sleep.rules import RULES


class Reference:
    """Dense backend in plain PyTorch, any device."""

    def __init__(self, weights: Sequence[Tensor], parameters: Parameters, biases: Biases | None = None) -> None:
        self._weights = [w.detach().clone(memory_format=torch.contiguous_format) for w in weights]
        self._biased = biases is not None
        self._biases = copied([None] * len(weights) if biases is None else biases)
        self._potentials = [w.new_zeros(w.shape[0]) for w in weights]
        self._parameters = parameters
        self._factor = RULES[parameters.rule]
        self._steps_done = 0

    def advance(self, input_spikes: Tensor, record: Record) -> None:
        for step, spikes in enumerate(input_spikes.to(self._weights[0].device)):
            for layer in range(len(self._weights)):
                spikes = self._step_layer(layer, step, spikes, record)
            self._steps_done += 1

    def _step_layer(self, layer: int, step: int, presynaptic: Tensor, record: Record) -> Tensor:
        p, w, v = self._parameters, self._weights[layer], self._potentials[layer]
        impulse = p.alpha[layer] * weighted_sum(w, presynaptic.nonzero().squeeze(1))
        impulse -= p.inhibition * mean(impulse)
        v.mul_(p.decay).add_(impulse)
        self._add_bias(layer, v)
        if layer == len(self._weights) - 1:
            v += p.dc
        spikes = v >= p.threshold * p.beta[layer]
        write(record, layer, step, self._steps_done, v, spikes)

        if layer not in p.fixed:
            inc, dec = p.rates(layer)
            rate = torch.where(presynaptic, w.new_tensor(inc), w.new_tensor(-dec))
            torch.where(spikes[:, None], w + rate * self._factor(w), w, out=w)
        self._adapt_bias(layer, spikes)
        v[spikes] = 0
        return spikes

    def _add_bias(self, layer: int, v: Tensor) -> None:
        b = self._biases[layer]
        if b is not None:
            v += self._parameters.bias_drive[layer] * b

    def _adapt_bias(self, layer: int, spikes: Tensor) -> None:
        b = self._biases[layer]
        if b is not None and self._parameters.bias_rate[layer]:
            torch.where(spikes, b + self._parameters.bias_rate[layer] * self._factor(b), b, out=b)

    def weights(self) -> list[Tensor]:
        return [w.clone() for w in self._weights]

    def biases(self) -> list[Tensor | None] | None:
        return copied(self._biases) if self._biased else None


def copied(biases: Biases) -> list[Tensor | None]:
    return [None if b is None else b.detach().clone(memory_format=torch.contiguous_format) for b in biases]


def weighted_sum(w: Tensor, active: Tensor) -> Tensor:
    """W s for 0/1 spikes s: the sum of the columns of the `active` units, in float64, rounded once to the weights' dtype.

    Rounding once makes the float32 sum independent of its order, so that backends differ only where a float64 sum
    falls within 1e-16 of the midpoint of two float32 numbers.
    """
    return w.index_select(1, active).sum(dim=1, dtype=torch.float64).to(w.dtype)


def mean(impulse: Tensor) -> Tensor:
    """Mean over the units of a layer, summed in float64 and rounded once, for the same reason."""
    return impulse.mean(dtype=torch.float64).to(impulse.dtype)


def write(record: Record, layer: int, step: int, steps_done: int, potentials: Tensor, spikes: Tensor) -> None:
    """Note one layer's step in `record`. Raises NonFiniteError when the highest potential is not finite."""
    peak = potentials.max().item()
    if not torch.isfinite(potentials).all():
        raise NonFiniteError(layer, steps_done)
    record.peaks[layer] = max(record.peaks[layer].item(), peak)
    record.spike_counts[step, layer] = int(spikes.sum())
    if record.spikes:
        record.spikes[layer][step] = spikes
    if record.potentials:
        record.potentials[layer][step] = potentials
