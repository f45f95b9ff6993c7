"""The `triton` backend: every layer and step is one launch on a CUDA GPU, for a whole batch of networks at once.

`src_lab.sleep.triton_device` holds the device code and the reasons for its layout. Steps come in chunks of CHUNK; the
launches of a chunk are captured once in a CUDA graph and replayed, so that Python and the driver are paid once per
chunk. A launch knows its step only as a row of the chunk's buffers, which makes the graph the same for every chunk. The
first chunk, which compiles, and a shorter last one run launch by launch. Memory beyond one copy of the weights:
O(width) per network, times CHUNK for the spikes (bytes) and, when recorded, for the potentials.

Differences from `reference`: float64 sums run in another, fixed, order (1e-16 relative); float32 sums are rounded once
from float64 and agree unless that falls on the midpoint of two numbers; the exponential in f(w) is the GPU's, in
float32 wrong by a few units in the last place. Multiplications and additions are never fused. Results do not vary from
run to run, nor with the batch a network is part of.

What was checked: all its tests on an NVIDIA H100 (Triton 3.6) and, but for the CUDA graph, in Triton's interpreter on CPU
tensors; compilation to machine code for sm_80, sm_90 and sm_100 (`scripts/compile_kernels.py`). Speed: a step is bound by
the latency of its launches, see docs/results/sleep_speed.md, which has the block sizes that were tried as well.
"""

import importlib.util
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep.backend import Biases, NonFiniteError, Parameters, Record

PARAMETERS = 9
"""Numbers per network and layer, see `_numbers`."""
CHUNK = 64
"""Steps per CUDA graph, and between two checks for divergence."""
SEGMENT = 16
"""Units per program, and spikes per count."""
BLOCKS = {"SEGMENT": SEGMENT, "ACTIVE": 32, "GROUP": 32, "COLUMNS": 1024}
"""Per program: units, spikes summed at a time, blocks of segments searched at a time, weights changed at a time."""
LAUNCH = {"num_warps": 4, "enable_fp_fusion": False, "maxnreg": 128}
"""Without fusion v * decay is rounded before the impulse is added, as in every other backend. The bound on registers is
never reached; without one the assembler spills a few to fit one more program on a multiprocessor."""


def available() -> bool:
    """Whether `Triton` can run here: on an NVIDIA GPU, or in Triton's interpreter.

    The interpreter takes TRITON_INTERPRET=1 in the environment before anything imports Triton, as torchvision does.
    """
    return importlib.util.find_spec("triton") is not None and (_interpreting() or torch.cuda.is_available())


def _interpreting() -> bool:
    import triton

    return bool(triton.knobs.runtime.interpret) and not isinstance(triton.language.zeros, triton.JITFunction)


class TritonBatch:
    """Networks of equal sizes asleep side by side, each with weights, biases and parameters of its own; one rule for all.

    All networks have biases in the same layers.
    """

    def __init__(
        self,
        networks: Sequence[Sequence[Tensor]],
        parameters: Sequence[Parameters],
        biases: Sequence[Biases] | None = None,
    ) -> None:
        self._device = networks[0][0].device
        require_device(self._device)
        self._graphed = self._device.type == "cuda" and not _interpreting()
        self._rule = parameters[0].rule
        self._inhibited = any(p.inhibition for p in parameters)
        self._networks = len(networks)
        stacks = [torch.stack([w.detach() for w in same]) for same in zip(*networks, strict=True)]
        tables = [[_numbers(p, layer) for p in parameters] for layer in range(len(stacks))]
        self._has_bias = None if biases is None else [b is not None for b in biases[0]]
        shared = [None] * len(stacks) if biases is None else [_stacked(same) for same in zip(*biases, strict=True)]
        self._layers = [_Layer.of(w, w.new_tensor(t), b) for w, t, b in zip(stacks, tables, shared, strict=True)]
        widths = [stacks[0].shape[2], *(w.shape[1] for w in stacks)]
        segments = [-(-width // SEGMENT) for width in widths]
        rows = (CHUNK, self._networks)
        self._spikes = [torch.zeros(*rows, n, SEGMENT, dtype=torch.uint8, device=self._device) for n in segments]
        self._counts = [torch.zeros(*rows, n, dtype=torch.int32, device=self._device) for n in segments]
        self._traces: list[Tensor] = []
        self._graphs: dict[bool, torch.cuda.CUDAGraph | None] = {}
        self._steps_done = 0

    def advance(self, input_spikes: Tensor, records: Sequence[Record]) -> None:
        """As `Backend.advance`; `input_spikes` is (T, n_0), or (B, T, n_0) with one set of spikes per network.

        Raises NonFiniteError for the network that diverges first; a note on it tells which one that is.
        """
        spikes = input_spikes if input_spikes.ndim == 3 else input_spikes[None]
        potentials = bool(records[0].potentials)
        with self._on_device():
            for start in range(0, spikes.shape[1], CHUNK):
                chunk = spikes[:, start : start + CHUNK]
                steps = chunk.shape[1]
                self._load(chunk)
                self._run(steps, potentials)
                self._check()
                self._write([record.rows(start, start + steps) for record in records])
                self._steps_done += steps
        peaks = torch.stack([layer.peaks.amax(1) for layer in self._layers], 1).to("cpu", torch.float64)
        for record, peak in zip(records, peaks, strict=True):
            torch.maximum(record.peaks, peak, out=record.peaks)

    def weights(self) -> list[list[Tensor]]:
        """The present weights of every network, (n_l, n_{l-1}) each."""
        return [[layer.weights[i].clone() for layer in self._layers] for i in range(self._networks)]

    def biases(self) -> list[list[Tensor | None] | None]:
        """The present biases of every network, as `Backend.biases`."""
        if self._has_bias is None:
            return [None] * self._networks
        pairs = list(zip(self._layers, self._has_bias, strict=True))
        return [[layer.biases[i].clone() if has else None for layer, has in pairs] for i in range(self._networks)]

    def _on_device(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _load(self, chunk: Tensor) -> None:
        """Put input spikes (1 or B, steps, n_0) where the first layer's launches look for them."""
        steps, width = chunk.shape[1:]
        spikes, counts = self._spikes[0][:steps], self._counts[0][:steps]
        spikes.flatten(2)[..., :width] = chunk.to(self._device).transpose(0, 1)
        counts.copy_(spikes.sum(-1, dtype=torch.int32))

    def _run(self, steps: int, potentials: bool) -> None:
        """Launch the first `steps` rows of a chunk, by graph where there is one."""
        if potentials and not self._traces:
            self._traces = [layer.weights.new_empty(CHUNK, *layer.potentials.shape) for layer in self._layers]
        if steps < CHUNK or not self._graphed:
            self._launch(steps, potentials)
        elif potentials not in self._graphs:
            self._launch(steps, potentials)
            self._graphs[potentials] = None
        else:
            graph = self._graphs[potentials] or self._capture(potentials)
            graph.replay()

    def _capture(self, potentials: bool) -> torch.cuda.CUDAGraph:
        """Record the launches of a whole chunk; they have run once before, so that nothing compiles meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._launch(CHUNK, potentials)
        self._graphs[potentials] = graph
        return graph

    def _launch(self, steps: int, potentials: bool) -> None:
        from src_lab.sleep import triton_device

        for row in range(steps):
            for index, layer in enumerate(self._layers):
                _, n_out, n_in = layer.weights.shape
                grid = (layer.peaks.shape[1], self._networks)
                sources = (layer.weights, self._spikes[index], self._counts[index])
                impulses = (layer.impulses, layer.impulse_sums, layer.parameters)
                sizes = (row, self._networks, n_out, n_in, PARAMETERS)
                if self._inhibited:
                    blocks = {name: BLOCKS[name] for name in ("SEGMENT", "ACTIVE", "GROUP")}
                    triton_device.sum_impulses[grid](*sources, *impulses, *sizes, **blocks, **LAUNCH)
                triton_device.step[grid](
                    *sources,
                    self._spikes[index + 1],
                    self._counts[index + 1],
                    layer.potentials,
                    self._traces[index] if potentials else layer.potentials,
                    layer.peaks,
                    layer.diverged,
                    layer.biases,
                    *impulses,
                    *sizes,
                    RULE=self._rule,
                    INHIBITED=self._inhibited,
                    BIASED=layer.biases is not layer.potentials,
                    RECORD=potentials,
                    **BLOCKS,
                    **LAUNCH,
                )

    def _check(self) -> None:
        """Raise NonFiniteError for the earliest potential that is not finite, if any."""
        first = torch.stack([layer.diverged.amin(1) for layer in self._layers], 1).cpu()  # (B, L)
        row = int(first.min())
        if row == CHUNK:
            return
        layer, network = (int(i) for i in (first == row).T.nonzero()[0])
        error = NonFiniteError(layer, self._steps_done + row)
        if self._networks > 1:
            error.add_note(f"in network {network} of the batch")
        raise error

    def _write(self, records: Sequence[Record]) -> None:
        """Copy what the last chunk left in the device's buffers."""
        steps = len(records[0].spike_counts)
        counts = torch.stack([count[:steps].sum(-1) for count in self._counts[1:]], -1).cpu()  # (steps, B, L)
        for i, record in enumerate(records):
            record.spike_counts[:] = counts[:, i]
            for trace, spikes in zip(record.spikes, self._spikes[1:], strict=bool(record.spikes)):
                trace[:] = spikes[:steps, i].flatten(1)[:, : trace.shape[1]]
            for trace, potentials in zip(record.potentials, self._traces, strict=bool(record.potentials)):
                trace[:] = potentials[:steps, i]


class Triton:
    """One network on the GPU: a batch of one. Implements `src_lab.sleep.backend.Backend`."""

    def __init__(self, weights: Sequence[Tensor], parameters: Parameters, biases: Biases | None = None) -> None:
        self._batch = TritonBatch([weights], [parameters], None if biases is None else [biases])

    def advance(self, input_spikes: Tensor, record: Record) -> None:
        self._batch.advance(input_spikes, [record])

    def weights(self) -> list[Tensor]:
        return self._batch.weights()[0]

    def biases(self) -> list[Tensor | None] | None:
        return self._batch.biases()[0]


@dataclass(frozen=True)
class _Layer:
    """One layer of all networks, on the device; each field is the argument of `triton_device.step` of that name.

    biases  the potentials again, as something to point at, for a layer without
    """

    weights: Tensor
    parameters: Tensor
    potentials: Tensor
    impulses: Tensor
    impulse_sums: Tensor
    peaks: Tensor
    diverged: Tensor
    biases: Tensor

    @staticmethod
    def of(weights: Tensor, parameters: Tensor, biases: Tensor | None) -> "_Layer":
        networks, units, _ = weights.shape
        per_segment = (networks, -(-units // SEGMENT))
        potentials = weights.new_zeros(networks, units)
        return _Layer(
            weights=weights,
            parameters=parameters,
            potentials=potentials,
            biases=potentials if biases is None else biases,
            impulses=weights.new_zeros(networks, units),
            impulse_sums=weights.new_zeros(per_segment, dtype=torch.float64),
            peaks=weights.new_full(per_segment, -torch.inf),
            diverged=weights.new_full(per_segment, CHUNK, dtype=torch.int32),
        )


def _numbers(p: Parameters, layer: int) -> list[float]:
    """A layer's row of the table that the kernels read; its order is `parameter_ptr`'s in `triton_device.step`."""
    dc = p.dc if layer == len(p.alpha) - 1 else 0.0
    inc, dec = p.rates(layer)
    bias = [p.bias_drive[layer], p.bias_rate[layer]] if p.bias_drive else [0.0, 0.0]
    return [p.alpha[layer], p.threshold * p.beta[layer], p.decay, dc, p.inhibition, inc, -dec, *bias]


def _stacked(biases: Biases) -> Tensor | None:
    """The biases (networks, n_l) of one layer of all networks, or None where it has none."""
    given = [b.detach() for b in biases if b is not None]
    return torch.stack(given) if given else None


def require_device(device: torch.device) -> None:
    """Raise ConfigError unless `Triton` can compute for a network on `device`."""
    if importlib.util.find_spec("triton") is None:
        raise ConfigError(
            "sleep.backend=triton needs the package triton, which is not installed: "
            "install it where it exists (Linux), or type sleep.backend=event"
        )
    if not (device.type == "cuda" or _interpreting()):
        raise ConfigError(
            f"sleep.backend=triton needs a network on an NVIDIA GPU and this one is on {device.type}: "
            "type sleep.backend=numba, or device=cuda where there is a GPU"
        )
