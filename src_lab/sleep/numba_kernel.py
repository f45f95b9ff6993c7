"""Sleep compiled by numba for one CPU thread: every weight sees the reference's operations, only later and in bulk.

A weight matrix is kept transposed, so that the weights leaving one presynaptic unit (a column) are contiguous. Between
two spikes of that unit its column changes in one way only: rows whose units spike are decremented, and rows do not
affect each other. So a step notes which units spiked, and a column is brought up to date when its presynaptic unit
spikes again, for only then is it read. What is due is applied in rounds of distinct rows, which vectorise; the notes
are a binary tree over steps (`Log`), so that a row that spiked often is fetched once for many rounds.

Each weight goes through the additions and products of `src_lab.sleep.reference`, in its order, without fused
multiply-add. Two roundings differ, by an ulp or two of what they round: the factor f(w), whose exponential is not
PyTorch's, and in float64 the weighted sum, whose order is not. f is a pure function of w, so results depend neither on
the length of the blocks nor on when `weights` is called.
"""

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from src_lab.sleep.backend import Biases, NonFiniteError, Parameters, Record
from src_lab.sleep.numba_compiled import (
    LEVELS,
    LOG_STEPS,
    PROPORTIONAL,
    SIGMOID,
    TADROS,
    Array,
    Layer,
    Log,
    Scratch,
    advance,
    settle,
)

log = logging.getLogger(__name__)

RULE_CODES = {"tadros": TADROS, "sigmoid": SIGMOID, "proportional": PROPORTIONAL}
LOG_SPIKES = 1 << 16
"""Spikes that a log holds beside those of one more step: 4 bytes for each of its levels and spikes, 2.9 MB a layer."""
BLOCK_STEPS = 256
"""Steps per call of compiled code: bounds the buffers of a record and lets Ctrl-C through."""


class Numba:
    """Backend for the CPU, on one thread: compiled at the first use of a dtype and depth, then kept on disk."""

    def __init__(self, weights: Sequence[Tensor], parameters: Parameters, biases: Biases | None = None) -> None:
        last = len(weights) - 1
        self._device = weights[0].device
        self._has_bias = None if biases is None else [b is not None for b in biases]
        given = [None] * len(weights) if biases is None else biases
        self._layers = tuple(
            _layer(w, b, parameters, index, index == last) for index, (w, b) in enumerate(zip(weights, given, strict=True))
        )
        self._scratch = _scratch(self._layers)
        self._steps_done = 0
        self._compile(weights)

    def _compile(self, weights: Sequence[Tensor]) -> None:
        """Have the code compiled, or read from disk, before the first step, and say so where it took its time."""
        started = time.perf_counter()
        self._advance_block(torch.zeros(0, weights[0].shape[1], dtype=torch.bool), Record.empty(0, weights))
        seconds = time.perf_counter() - started
        if seconds > 1:
            log.info("compiled the sleep kernel in %.1f s; it is kept on disk, so the next run has it at once", seconds)

    def advance(self, input_spikes: Tensor, record: Record) -> None:
        for start in range(0, len(input_spikes), BLOCK_STEPS):
            block = input_spikes[start : start + BLOCK_STEPS]
            self._advance_block(block, record.rows(start, start + len(block)))

    def _advance_block(self, input_spikes: Tensor, record: Record) -> None:
        stimulus = input_spikes.cpu().contiguous().numpy()
        widths = [layer.potentials.size for layer in self._layers]
        steps, units = len(stimulus), sum(widths)
        counts = np.zeros((steps, len(widths)), np.int64)
        peaks = record.peaks.numpy()
        spikes = np.zeros((steps if record.spikes else 0, units), np.bool_)
        potentials = np.zeros((steps if record.potentials else 0, units), self._scratch.impulse.dtype)
        step, layer = advance(self._layers, self._scratch, stimulus, counts, peaks, spikes, potentials)
        if layer >= 0:
            raise NonFiniteError(layer, self._steps_done + step)
        record.spike_counts.copy_(torch.from_numpy(counts))
        for traces, written in ((record.spikes, spikes), (record.potentials, potentials)):
            for trace, part in zip(traces, np.split(written, np.cumsum(widths)[:-1], axis=1), strict=False):
                trace.copy_(torch.from_numpy(part))
        self._steps_done += steps

    def weights(self) -> list[Tensor]:
        for layer in self._layers:
            settle(layer, self._scratch.gathered)
        copies = [torch.from_numpy(_transposed(torch.from_numpy(layer.columns))) for layer in self._layers]
        return [w.to(self._device) for w in copies]

    def biases(self) -> list[Tensor | None] | None:
        if self._has_bias is None:
            return None
        copies = [torch.from_numpy(layer.bias.copy()).to(self._device) for layer in self._layers]
        return [copy if has else None for copy, has in zip(copies, self._has_bias, strict=True)]


def _layer(w: Tensor, b: Tensor | None, p: Parameters, index: int, is_last: bool) -> Layer:
    columns = _transposed(w.detach())
    scalar = columns.dtype.type
    units, inputs = w.shape
    inc, dec = p.rates(index)
    return Layer(
        columns=columns,
        applied=np.zeros(inputs, np.int64),
        potentials=np.zeros(units, columns.dtype),
        log=_empty_log(units),
        rule=RULE_CODES[p.rule],
        alpha=scalar(p.alpha[index]),
        inc=scalar(inc),
        dec=scalar(dec),
        decay=scalar(p.decay),
        inhibition=scalar(p.inhibition),
        dc=scalar(p.dc if is_last else 0),
        threshold=scalar(p.threshold * p.beta[index]),
        bias=np.zeros(0, columns.dtype) if b is None else b.detach().cpu().numpy().copy(),
        bias_drive=scalar(0 if b is None else p.bias_drive[index]),
        bias_rate=scalar(0 if b is None else p.bias_rate[index]),
    )


def _transposed(w: Tensor) -> Array:
    """A contiguous copy of the transpose, twice as fast into memory from NumPy, which asks for huge pages."""
    copy = np.empty(w.shape[::-1], np.float32 if w.dtype == torch.float32 else np.float64)
    torch.from_numpy(copy).copy_(w.t())
    return copy


def _empty_log(units: int) -> Log:
    capacity = units + min(LOG_SPIKES, units * LOG_STEPS)
    return Log(
        units=np.empty((LEVELS, capacity), np.uint32),
        sizes=np.zeros((LEVELS, LOG_STEPS), np.int32),
        starts=np.zeros(LOG_STEPS + 1, np.int64),
        steps=np.zeros(1, np.int64),
    )


def _scratch(layers: Sequence[Layer]) -> Scratch:
    widest = max(max(layer.columns.shape) for layer in layers)
    dtype = layers[0].columns.dtype
    return Scratch(
        total=np.empty(widest, np.float64),
        impulse=np.empty(widest, dtype),
        gathered=np.empty(widest, dtype),
        counts=np.zeros(widest, np.int32),
        cursor=np.empty(LOG_STEPS, np.int32),
        active=np.empty((2, widest + 1), np.uint32),
    )
