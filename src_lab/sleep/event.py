"""The reference's arithmetic, done only where something happens: on spiking rows and columns. Any device.

Rows whose unit did not spike keep their weights, so a step costs O(spikes x width) instead of O(width^2). Every weight
that changes goes through the same operations, in the same order, as in `src_lab.sleep.reference`: spikes are the same, and
weights bit for bit, except where f(w) has an exponential: PyTorch rounds it by up to an ulp otherwise for the last few
elements of a block, which are others here.
"""

from torch import Tensor

from src_lab.sleep.backend import Record
from src_lab.sleep.reference import Reference, mean, weighted_sum, write


class Event(Reference):
    """Sparse backend in plain PyTorch: the readable fast version, and the fallback on every device."""

    def _step_layer(self, layer: int, step: int, presynaptic: Tensor, record: Record) -> Tensor:
        p, w, v = self._parameters, self._weights[layer], self._potentials[layer]
        v.mul_(p.decay)
        active = presynaptic.nonzero().squeeze(1)
        if len(active):
            impulse = p.alpha[layer] * weighted_sum(w, active)
            if p.inhibition:
                impulse -= p.inhibition * mean(impulse)
            v += impulse
        self._add_bias(layer, v)
        if p.dc and layer == len(self._weights) - 1:
            v += p.dc
        spikes = v >= p.threshold * p.beta[layer]
        write(record, layer, step, self._steps_done, v, spikes)
        rows = spikes.nonzero().squeeze(1)
        if len(rows):
            if layer not in p.fixed:
                self._learn(layer, rows, active)
            self._adapt_bias(layer, spikes)
            v[rows] = 0
        return spikes

    def _learn(self, layer: int, rows: Tensor, active: Tensor) -> None:
        """Change the rows of the units that spiked; `active` are the presynaptic units that did."""
        w, (inc, dec) = self._weights[layer], self._parameters.rates(layer)
        before = w.index_select(0, rows)
        rate = w.new_full((w.shape[1],), -dec)
        rate[active] = inc
        w.index_copy_(0, rows, before + rate * self._factor(before))
