"""The reference's arithmetic, done only where something happens: on spiking rows and columns. Any device.

Rows whose unit did not spike keep their weights, so a step costs O(spikes x width) instead of O(width^2). Every weight
that changes goes through the same operations, in the same order, as in `src_lab.sleep.reference`: spikes and weights are
bit-identical to it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from src_lab.sleep.backend import Parameters, Record
from src_lab.sleep.reference import mean, weighted_sum, write
from src_lab.sleep.rules import RULES


class Event:
    """Sparse backend in plain PyTorch: the readable fast version, and the fallback on every device."""

    def __init__(self, weights: Sequence[Tensor], parameters: Parameters) -> None:
        self._weights = [w.detach().clone(memory_format=torch.contiguous_format) for w in weights]
        self._potentials = [w.new_zeros(w.shape[0]) for w in weights]
        self._parameters = parameters
        self._factor = RULES[parameters.rule]
        self._steps_done = 0

    def advance(self, input_spikes: Tensor, record: Record) -> None:
        for step, row in enumerate(input_spikes.to(self._weights[0].device)):
            for layer in range(len(self._weights)):
                row = self._step_layer(layer, step, row, record)
            self._steps_done += 1

    def _step_layer(self, layer: int, step: int, presynaptic: Tensor, record: Record) -> Tensor:
        p, w, v = self._parameters, self._weights[layer], self._potentials[layer]
        v.mul_(p.decay)
        active = presynaptic.nonzero().squeeze(1)
        if len(active):
            impulse = p.alpha[layer] * weighted_sum(w, active)
            if p.inhibition:
                impulse -= p.inhibition * mean(impulse)
            v += impulse
        if p.dc and layer == len(self._weights) - 1:
            v += p.dc
        spikes = v >= p.threshold * p.beta[layer]
        write(record, layer, step, self._steps_done, v, spikes)
        rows = spikes.nonzero().squeeze(1)
        if len(rows):
            self._learn(w, rows, active)
            v[rows] = 0
        return spikes

    def _learn(self, w: Tensor, rows: Tensor, active: Tensor) -> None:
        """Change the rows of the units that spiked; `active` are the presynaptic units that did."""
        p = self._parameters
        before = w.index_select(0, rows)
        rate = w.new_full((w.shape[1],), -p.dec)
        rate[active] = p.inc
        w.index_copy_(0, rows, before + rate * self._factor(before))

    def weights(self) -> list[Tensor]:
        return [w.clone() for w in self._weights]
