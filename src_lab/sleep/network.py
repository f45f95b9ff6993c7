"""`sleep`: put a PyTorch network to sleep, in place."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn
from tqdm import tqdm

from src_lab.settings import ConfigError
from src_lab.sleep.backend import Backend, Biases, NonFiniteError, Parameters, Record
from src_lab.sleep.bias import sleeping_biases
from src_lab.sleep.chain import find_layers
from src_lab.sleep.config import SleepConfig
from src_lab.sleep.homeostasis import HOMEOSTASIS_STEPS, Readout, as_images, level_outputs
from src_lab.sleep.layers import SleepingLayer
from src_lab.sleep.preparation import copied_generator, first_steps, sleeping_parameters
from src_lab.sleep.simulate import SleepResult, begin
from src_lab.sleep.spatial import Spatial, is_spatial, require_auto, unit_shapes
from src_lab.sleep.stimulus import spike_blocks
from src_lab.sleep.summary import Summary, require_taught, samples
from src_lab.sleep.surrogate import bias_surrogates, surrogates

log = logging.getLogger(__name__)

CALLBACK_EVERY = 100
"""Steps between two calls of a callback when `record_every` does not say."""


@dataclass
class SleepState:
    """A moment of a sleep, as a callback sees it. Weights and norms are computed when asked for.

    step          steps slept so far
    spike_counts  (L,) int64, spikes per layer since sleep began
    """

    step: int
    spike_counts: Tensor
    _backend: Backend
    _before: Sequence[Tensor]

    @cached_property
    def weights(self) -> list[Tensor]:
        """The present weights, L tensors (n_l, n_{l-1}), or as `SleepingLayer.weight` for a convolution."""
        return self._backend.weights()

    @cached_property
    def biases(self) -> list[Tensor | None] | None:
        """The present biases, None for a layer without, or None when no bias takes part."""
        return self._backend.biases()

    def change_norms(self) -> list[tuple[float, float]]:
        """Per layer, Frobenius norms of what has grown and shrunk: ||max(D, 0)||, ||min(D, 0)|| of D = W - W_0."""
        changes = (now - before for now, before in zip(self.weights, self._before, strict=True))
        return [(change.clamp(min=0).norm().item(), change.clamp(max=0).norm().item()) for change in changes]


def sleep(
    model: nn.Module,
    images: Tensor,
    config: SleepConfig,
    *,
    generator: torch.Generator,
    backend: str = "auto",
    callback: Callable[[int, SleepState], None] | None = None,
    mean_image: Tensor | None = None,
    observe: Callable[[Record], None] | None = None,
    outputs: Sequence[int] | None = None,
    summaries: Sequence[Summary] | None = None,
) -> SleepResult:
    """Let `model` sleep, in place, for `config.iterations` steps, driven by noise shaped like `images`.

    model       any module whose forward is a chain of Linear, ReLU, Dropout, Flatten and Identity, float32 or
                float64, on any device; also of Conv2d, AvgPool2d and BatchNorm2d (`src_lab.sleep.spatial`), in evaluation
                mode; what biases do asleep, `config.bias` says (`src_lab.sleep.bias`)
    images      (n, ...) with values in [0, 1]: their mean, or means of a few, shape the noise, and with
                `scaling=data` the activations they cause set the gains
    generator   CPU generator of the noise: equal states give equal input spikes on every backend and device; a surrogate
                change (`sleep.change`) is drawn from it when the sleep is over
    backend     see `simulate`; only "auto" for a network with convolutions
    callback    called with (step, state) every `config.record_every` steps (every 100 where that is null)
    mean_image  replaces the images' mean where one was carried along instead of old data
    observe     called, in order, with the record of every stretch of at most 100 steps, spikes of each unit included
    outputs     with `homeostasis=outputs`, those that have learned something and are levelled; all, if not given
    summaries   with `config.summary`, of each task's images, on which outputs are levelled; if not given, one of `images`.
                `config.discriminant` needs their `outputs`

    Weights, and biases that learn, are written when the whole sleep is over: an exception leaves the model as it was.
    Training flags, dtype and device stay. Returns what is new and the spikes per step and layer. Raises ConfigError for a
    model that cannot sleep, or images or settings that do not fit it, and NonFiniteError when the weights diverge.
    """
    layers = find_layers(model)
    units = _units(layers, images)
    if config.discriminant:
        require_taught(summaries or ())
    before = [layer.weight() for layer in layers]
    biases = sleeping_biases(layers, config)
    parameters = sleeping_parameters(model, layers, biases, images, config, generator, mean_image)
    asleep = _fall_asleep(layers, before, biases, parameters, images, backend)
    if observe is not None:
        asleep = _Observed(asleep, units, observe)
    trace = Record.empty(config.iterations, before)

    def pause(step: int) -> None:
        if callback is not None:
            callback(step, SleepState(step, trace.spike_counts[:step].sum(dim=0), asleep, before))

    every = (config.record_every or CALLBACK_EVERY) if callback is not None else None
    noise = copied_generator(generator)
    slept = _advance(asleep, trace, spike_blocks(images, config, generator, mean_image), config, every, pause)
    after, shifted = asleep.weights(), asleep.biases()
    _check_finite(after, shifted, slept)
    if config.change != "learned":
        after = surrogates(before, after, config.change, generator)
        if biases is not None and shifted is not None and config.bias == "adapt":
            shifted = bias_surrogates(biases, shifted, config.change, generator)
    _write(layers, after, shifted if config.bias == "adapt" else None)
    levelled = None
    if config.homeostasis == "outputs":
        shown, taught = _shown_to_outputs(images, before[-1], config, noise, mean_image, summaries)
        levelled = level_outputs(
            model,
            layers[-1],
            shown,
            outputs,
            config.decorrelation,
            taught,
            config.discriminant,
            config.discriminant_ridge,
        )
        after[-1] = layers[-1].weight()
        if shifted is not None:
            shifted[-1] = layers[-1].bias()
    _warn_if_silent(trace, slept, parameters)
    return SleepResult(
        steps=slept, weights=after, spike_counts=trace.spike_counts[:slept], biases=shifted, levelled=levelled
    )


def _shown_to_outputs(
    images: Tensor,
    weight: Tensor,
    config: SleepConfig,
    noise: torch.Generator,
    mean_image: Tensor | None,
    summaries: Sequence[Summary] | None,
) -> tuple[Tensor, list[tuple[int, ...]]]:
    """What outputs are levelled on, in the shape of `images`, and of each of its equal parts the outputs that it taught."""
    if config.summary is None:
        return as_images(first_steps(HOMEOSTASIS_STEPS, images, config, noise, mean_image), images, weight), []
    known = summaries or [Summary.of(images, config.summary, residual=config.summary_residual)]
    drawn = samples(known, config.summary_images, noise).view(-1, *images.shape[1:])
    return drawn, [summary.outputs for summary in known]


def _fall_asleep(
    layers: Sequence[SleepingLayer],
    weights: Sequence[Tensor],
    biases: Biases | None,
    parameters: Parameters,
    images: Tensor,
    backend: str,
) -> Backend:
    """The layers on the backend that can have them asleep. Raises ConfigError for one that cannot."""
    if is_spatial(layers):
        require_auto(layers, backend)
        return Spatial(weights, parameters, biases, layers, images)
    return begin(weights, parameters, backend, biases)


def _check_finite(weights: Sequence[Tensor], biases: Biases | None, slept: int) -> None:
    """Raise NonFiniteError for the first layer whose weights or biases the last steps made infinite or NaN."""
    for index, weight in enumerate(weights):
        bias = None if biases is None else biases[index]
        if not torch.isfinite(weight).all() or (bias is not None and not torch.isfinite(bias).all()):
            raise NonFiniteError(index, slept)


def _write(layers: Sequence[SleepingLayer], weights: Sequence[Tensor], biases: Biases | None) -> None:
    for layer, weight, bias in zip(layers, weights, [None] * len(layers) if biases is None else biases, strict=True):
        layer.write(weight, bias)


class _Observed:
    """A sleeping network that shows what its units do, stretch by stretch, so that nobody has to keep it all."""

    def __init__(self, asleep: Backend, units: Sequence[int], observe: Callable[[Record], None]) -> None:
        self._asleep = asleep
        self._units = units
        self._observe = observe

    def advance(self, input_spikes: Tensor, record: Record) -> None:
        spikes = [torch.zeros(len(input_spikes), units, dtype=torch.bool) for units in self._units]
        seen = replace(record, spikes=spikes)
        self._asleep.advance(input_spikes, seen)
        self._observe(seen)

    def weights(self) -> list[Tensor]:
        return self._asleep.weights()

    def biases(self) -> list[Tensor | None] | None:
        return self._asleep.biases()


def _advance(
    asleep: Backend,
    trace: Record,
    stimulus: Iterator[Tensor],
    config: SleepConfig,
    every: int | None,
    pause: Callable[[int], None],
) -> int:
    """Sleep, calling `pause` every so many steps; returns the steps slept.

    Ends early after exactly `config.stop_when_silent` steps without a spike beyond the input: a stretch is never longer
    than the silence still missing, so no step is slept that should not have been.
    """
    slept = used = silent = 0
    block = next(stimulus)
    with tqdm(total=config.iterations, desc="sleep", leave=False, disable=None) as bar:
        while slept < config.iterations and silent != config.stop_when_silent:
            if used == len(block):
                block, used = next(stimulus), 0
            limits = [len(block) - used, config.iterations - slept]
            if every is not None:
                limits.append(every - slept % every)
            if config.stop_when_silent is not None:
                limits.append(config.stop_when_silent - silent)
            stretch = min(limits)
            rows = trace.rows(slept, slept + stretch)
            asleep.advance(block[used : used + stretch], rows)
            used, slept = used + stretch, slept + stretch
            silent = _silent_steps(rows.spike_counts, silent)
            bar.update(stretch)
            if every is not None and slept % every == 0:
                pause(slept)
    return slept


def _silent_steps(spike_counts: Tensor, silent_before: int) -> int:
    """Steps since the last spike, given the counts (T, L) of the last T steps and the silence before them."""
    loud = spike_counts.any(dim=1).nonzero()
    return silent_before + len(spike_counts) if not len(loud) else len(spike_counts) - 1 - int(loud[-1])


def _units(layers: Sequence[SleepingLayer], images: Tensor) -> list[int]:
    """Units of each layer. Raises ConfigError unless the images fit the network: without convolutions, when they have one
    value per input."""
    if is_spatial(layers) and images.ndim > 1 and len(images):
        return [prod(shape) for shape in unit_shapes(layers, images)]
    first = layers[0]
    values = images[0].numel() if images.ndim and len(images) else 0
    if values != first.shape[1]:
        raise ConfigError(
            f"images of shape {tuple(images.shape)} do not fit layer {first.name}: give (n, ...) with "
            f"{first.shape[1]} values each"
        )
    return [layer.shape[0] for layer in layers]


def _warn_if_silent(trace: Record, slept: int, parameters: Parameters) -> None:
    """Say so when no hidden unit spiked (in a network of one layer: no unit), as such a sleep replays nothing."""
    alpha, beta = parameters.alpha, parameters.beta
    hidden = max(1, len(alpha) - 1)
    if slept and not trace.spike_counts[:slept, :hidden].any():
        numbers = [", ".join(f"{value:.4g}" for value in values) for values in (trace.peaks.tolist(), alpha, beta)]
        log.warning(
            "no hidden unit spiked in %d sleep steps: the highest potentials per layer were [%s] with alpha=[%s] "
            "beta=[%s]; raise sleep.alpha_scale or lower sleep.beta_scale",
            slept,
            *numbers,
        )


def restore_levelled(model: nn.Module, levelled: Readout | None) -> None:
    """Give `model`, in place, the outputs that its sleep had levelled (`SleepResult.levelled`), without discriminants: what
    it should learn with, next, where `discriminant_lasts` is false. None changes nothing."""
    if levelled is not None:
        find_layers(model)[-1].write(levelled.weight, levelled.bias)


def load_weights(model: nn.Module, weights: Sequence[Tensor], biases: Biases | None = None) -> None:
    """Put the weights, and biases if any, of a `SleepState` or `SleepResult` into a model of the kind that slept."""
    _write(find_layers(model), weights, biases)
