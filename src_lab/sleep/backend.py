"""What every sleep backend is: a network asleep that advances by blocks of steps and writes what happened."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from src_lab.sleep.config import SleepConfig

Biases = Sequence[Tensor | None]
"""One (n_l,) tensor per layer, None for a layer without."""


class NonFiniteError(FloatingPointError):
    """A membrane potential or a weight became infinite or NaN; the message names layer and step."""

    def __init__(self, layer: int, step: int) -> None:
        super().__init__(
            f"weights of layer {layer} are not finite at sleep step {step}: lower sleep.inc, sleep.dec or sleep.alpha_scale"
        )
        self.layer = layer
        self.step = step


@dataclass(frozen=True)
class Parameters:
    """Numbers of one sleep, symbols as in `src_lab.sleep.reference`; `alpha`, `beta` have one entry per layer.

    fixed       indices of the layers whose weights do not change: spikes run through them, and nothing is learned
    bias_drive  per layer, what a bias of 1 adds to the potentials at every step, alpha_l kappa_{l-1}
    bias_rate   per layer, factor of f(b) in the change of a bias when its unit spikes; 0 where biases do not change

    steps       per layer, inc and dec where they differ from layer to layer, else `inc` and `dec` hold for all

    `bias_drive` and `bias_rate` are needed only where there are biases; `src_lab.sleep.bias` derives them.
    """

    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    rule: str
    inc: float
    dec: float
    decay: float
    threshold: float
    inhibition: float
    dc: float
    fixed: frozenset[int] = frozenset()
    bias_drive: tuple[float, ...] = ()
    bias_rate: tuple[float, ...] = ()
    steps: tuple[tuple[float, float], ...] = ()

    @staticmethod
    def of(
        config: SleepConfig,
        alpha: Sequence[float],
        beta: Sequence[float],
        unit_rates: Sequence[float] = (),
        steps: Sequence[tuple[float, float]] | None = None,
    ) -> "Parameters":
        """The numbers of `config`, with the gains and thresholds that a network sleeps with.

        unit_rates  kappa of what feeds each layer (`src_lab.sleep.bias`), for a network with biases
        steps       inc and dec of each layer, where they are not those of `config` (`sleep.plasticity`)
        """
        if steps is None:
            layers = len(alpha)
            steps = list(zip(config.per_layer("inc", layers), config.per_layer("dec", layers), strict=True))
        fixed = frozenset(range(len(alpha))) - config.plastic_layers(len(alpha))
        chances = [min(1.0, rate) for rate in unit_rates]
        changes = [inc * p - dec * (1 - p) for p, (inc, dec) in zip(chances, steps, strict=False)]
        return Parameters(
            alpha=tuple(float(a) for a in alpha),
            beta=tuple(float(b) for b in beta),
            rule=config.rule,
            inc=steps[0][0],
            dec=steps[0][1],
            decay=config.decay,
            threshold=config.threshold,
            inhibition=config.inhibition,
            dc=config.dc,
            fixed=fixed,
            steps=tuple(steps),
            bias_drive=tuple(float(a) * rate for a, rate in zip(alpha, unit_rates, strict=False)),
            bias_rate=tuple(
                change if config.bias == "adapt" and layer not in fixed else 0.0 for layer, change in enumerate(changes)
            ),
        )

    def rates(self, layer: int) -> tuple[float, float]:
        """inc and dec of one layer: 0 where the weights do not change."""
        if layer in self.fixed:
            return 0.0, 0.0
        return self.steps[layer] if self.steps else (self.inc, self.dec)

    def first_layer(self) -> "Parameters":
        """The numbers of the first layer, as a network of its own: what it does depends on no later one."""
        return replace(
            self,
            alpha=self.alpha[:1],
            beta=self.beta[:1],
            steps=self.steps[:1],
            bias_drive=self.bias_drive[:1],
            bias_rate=self.bias_rate[:1],
            dc=self.dc if len(self.alpha) == 1 else 0.0,
            fixed=self.fixed & {0},
        )


@dataclass
class Record:
    """What `Backend.advance` writes for each of T steps of a network with layers of n_1 .. n_L units.

    spike_counts  (T, L) int64, spikes per step and layer
    peaks         (L,) float64, highest potential met at a threshold test so far (updated, not overwritten)
    spikes        L tensors (T, n_l) bool, or empty when not asked for
    potentials    L tensors (T, n_l) in the weights' dtype, just before the threshold test, or empty
    """

    spike_counts: Tensor
    peaks: Tensor
    spikes: list[Tensor] = field(default_factory=list)
    potentials: list[Tensor] = field(default_factory=list)

    @staticmethod
    def empty(steps: int, weights: Sequence[Tensor], what: Sequence[str] = ()) -> "Record":
        """A record for `steps` steps of the network `weights`; `what` names "spikes" and "potentials" if wanted."""

        def traces(name: str, dtype: torch.dtype) -> list[Tensor]:
            wanted = weights if name in what else ()
            return [torch.zeros(steps, w.shape[0], dtype=dtype) for w in wanted]

        return Record(
            spike_counts=torch.zeros(steps, len(weights), dtype=torch.int64),
            peaks=torch.full((len(weights),), -torch.inf, dtype=torch.float64),
            spikes=traces("spikes", torch.bool),
            potentials=traces("potentials", weights[0].dtype),
        )

    def rows(self, start: int, stop: int) -> "Record":
        """The part of the record that steps `start` to `stop` write: views, not copies."""
        return Record(
            self.spike_counts[start:stop],
            self.peaks,
            [trace[start:stop] for trace in self.spikes],
            [trace[start:stop] for trace in self.potentials],
        )


class Backend(Protocol):
    """A network asleep. Potentials start at zero; the weights and biases given are copied, never modified."""

    def __init__(self, weights: Sequence[Tensor], parameters: Parameters, biases: Biases | None = None) -> None: ...

    def advance(self, input_spikes: Tensor, record: Record) -> None:
        """Sleep through the rows of `input_spikes` (T, n_0) bool, continuing where the last call ended.

        Writes all of `record` (made for T steps). Raises NonFiniteError when a potential stops being finite; its step
        counts from the first step of this sleep.
        """

    def weights(self) -> list[Tensor]:
        """The present weights, (n_l, n_{l-1}) each, on the device and in the dtype of those given."""

    def biases(self) -> list[Tensor | None] | None:
        """The present biases in the same way, None for a layer without, or None where none were given."""
