"""`simulate`: one sleep of a bare list of weight matrices under given input spikes, on any backend."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep import triton_kernel
from src_lab.sleep.backend import Backend, Biases, Parameters, Record
from src_lab.sleep.config import SleepConfig
from src_lab.sleep.event import Event
from src_lab.sleep.homeostasis import Readout
from src_lab.sleep.numba_kernel import Numba
from src_lab.sleep.reference import Reference

log = logging.getLogger(__name__)

RECORDABLE = ("spikes", "potentials", "spike_counts")

BACKENDS: dict[str, Callable[[Sequence[Tensor], Parameters, Biases | None], Backend]] = {
    "reference": Reference,
    "event": Event,
    "numba": Numba,
    "triton": triton_kernel.Triton,
}


@dataclass
class SleepResult:
    """What a sleep left behind.

    steps         T, the steps slept
    weights       L tensors (n_l, n_{l-1}), the weights after the last step
    biases        L tensors (n_l,), those after the last step, None for a layer without; None when no bias took part
    spikes        L bool tensors (T, n_l), or None unless recorded
    potentials    L tensors (T, n_l), the membrane potentials just before the threshold test, or None unless recorded
    spike_counts  (T, L) int64 tensor, or None unless recorded
    levelled      with `sleep.discriminant`, the outputs as they were levelled, before it was added; else None
    """

    steps: int
    weights: list[Tensor]
    spikes: list[Tensor] | None = None
    potentials: list[Tensor] | None = None
    spike_counts: Tensor | None = None
    biases: list[Tensor | None] | None = None
    levelled: Readout | None = None


def simulate(
    weights: Sequence[Tensor],
    input_spikes: Tensor,
    config: SleepConfig,
    *,
    alpha: Sequence[float],
    beta: Sequence[float],
    backend: str = "auto",
    record: Sequence[str] = (),
    biases: Biases | None = None,
    unit_rates: Sequence[float] | None = None,
) -> SleepResult:
    """Drive the network `weights` by `input_spikes` and let the local rule change it; `reference` has the equations.

    weights       sequence of L tensors (n_l, n_{l-1}), float32 or float64, not modified
    input_spikes  (T, n_0) bool, uint8 or float tensor of 0 and 1
    alpha, beta   input gain and threshold multiplier of each of the L layers, used as given
    backend       "reference", "event", "numba", "triton", or "auto": the fastest that the weights' device has
    record        any of "spikes", "potentials", "spike_counts"
    biases        L tensors (n_l,) in the weights' dtype, None for a layer without; what they do, `config.bias` says
    unit_rates    with biases: kappa of `src_lab.sleep.bias`, the spikes per step and unit of activation of what feeds each
                  of the L layers

    Raises ConfigError for arguments that do not fit together and NonFiniteError when the weights diverge.
    """
    check_arguments(weights, input_spikes, alpha, beta, record)
    check_biases(weights, biases, unit_rates)
    if config.bias == "ignore":
        biases = None
    asleep = start(weights, config, alpha, beta, backend, biases=biases, unit_rates=unit_rates or ())
    trace = Record.empty(len(input_spikes), weights, record)
    asleep.advance(input_spikes.bool(), trace)
    return SleepResult(
        steps=len(input_spikes),
        weights=asleep.weights(),
        spikes=trace.spikes or None,
        potentials=trace.potentials or None,
        spike_counts=trace.spike_counts if "spike_counts" in record else None,
        biases=asleep.biases(),
    )


def start(
    weights: Sequence[Tensor],
    config: SleepConfig,
    alpha: Sequence[float],
    beta: Sequence[float],
    backend: str = "auto",
    *,
    biases: Biases | None = None,
    unit_rates: Sequence[float] = (),
) -> Backend:
    """A network put to sleep on the named backend, potentials at zero, ready to `advance`; arguments as of `simulate`."""
    return begin(weights, Parameters.of(config, alpha, beta, unit_rates), backend, biases)


def begin(weights: Sequence[Tensor], parameters: Parameters, backend: str, biases: Biases | None = None) -> Backend:
    """`start`, given every number of the sleep."""
    return BACKENDS[choose(backend, weights[0].device)](weights, parameters, biases)


def choose(backend: str, device: torch.device) -> str:
    """Name of the backend to use: the one asked for, or for "auto" the fastest on `device`.

    Raises ConfigError for an unknown name and for a backend that cannot compute on `device`.
    """
    if backend == "auto":
        return _choose_for(device.type)
    if backend not in BACKENDS:
        raise ConfigError(f"sleep.backend={backend} is not known: allowed are auto, {', '.join(BACKENDS)}")
    if backend == "triton":
        triton_kernel.require_device(device)
    if backend == "numba" and device.type != "cpu":
        raise ConfigError(f"sleep.backend=numba runs on the CPU, not on {device}: use sleep.backend=auto or device=cpu")
    return backend


@cache
def _choose_for(device_type: str) -> str:
    """Cached so that the choice is told once per process and kind of device."""
    if device_type == "cpu":
        name, why = "numba", "compiled for the CPU"
    elif device_type == "cuda" and triton_kernel.available():
        name, why = "triton", "compiled for the GPU"
    else:
        name, why = "event", f"PyTorch, as nothing is compiled for {device_type}"
    log.info("sleep backend: %s (%s)", name, why)
    return name


def check_arguments(
    weights: Sequence[Tensor],
    input_spikes: Tensor,
    alpha: Sequence[float],
    beta: Sequence[float],
    record: Sequence[str],
) -> None:
    """Raise ConfigError unless shapes, types and names fit together."""
    if not weights:
        raise ConfigError("weights is empty: give at least one tensor (n_1, n_0)")
    for layer, w in enumerate(weights):
        fits = w.ndim == 2 and w.numel() and w.dtype in (torch.float32, torch.float64) and w.dtype == weights[0].dtype
        if not fits:
            raise ConfigError(
                f"weights[{layer}] is {w.dtype} of shape {tuple(w.shape)}: give 2-d tensors of at least one unit and "
                "one input, all float32 or all float64"
            )
        if layer and w.shape[1] != weights[layer - 1].shape[0]:
            raise ConfigError(
                f"weights[{layer}] has {w.shape[1]} inputs but weights[{layer - 1}] has {weights[layer - 1].shape[0]} "
                "outputs: they must be equal"
            )
    if input_spikes.ndim != 2 or input_spikes.shape[1] != weights[0].shape[1]:
        raise ConfigError(f"input_spikes has shape {tuple(input_spikes.shape)}: must be (steps, {weights[0].shape[1]})")
    if input_spikes.dtype != torch.bool and not ((input_spikes == 0) | (input_spikes == 1)).all():
        raise ConfigError("input_spikes has values other than 0 and 1: give spikes, not rates")
    for name, values in (("alpha", alpha), ("beta", beta)):
        if len(values) != len(weights):
            raise ConfigError(f"{name} has {len(values)} values: give one for each of the {len(weights)} layers")
        if not all(math.isfinite(value) for value in values):
            raise ConfigError(f"{name}={list(values)} is not allowed: give finite numbers")
    for name in record:
        if name not in RECORDABLE:
            raise ConfigError(f"record={name} is not known: any of {', '.join(RECORDABLE)}")


def check_biases(weights: Sequence[Tensor], biases: Biases | None, unit_rates: Sequence[float] | None) -> None:
    """Raise ConfigError unless biases, where there are any, fit the weights and have rates."""
    if biases is None:
        return
    if len(biases) != len(weights):
        raise ConfigError(f"biases has {len(biases)} entries: give a tensor or None for each of the {len(weights)} layers")
    for layer, (b, w) in enumerate(zip(biases, weights, strict=True)):
        if b is not None and (b.shape != w.shape[:1] or b.dtype != w.dtype):
            raise ConfigError(
                f"biases[{layer}] is {b.dtype} of shape {tuple(b.shape)}: give None or one {w.dtype} for each of the "
                f"layer's {w.shape[0]} units"
            )
    rates = list(unit_rates or ())
    if len(rates) != len(weights) or not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise ConfigError(f"unit_rates={unit_rates} with biases: give a number >= 0 for each of the {len(weights)} layers")
