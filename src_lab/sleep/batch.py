"""`simulate_batch`: many networks of equal sizes asleep side by side, each with weights and settings of its own."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep.backend import Biases, NonFiniteError, Parameters, Record
from src_lab.sleep.config import SleepConfig
from src_lab.sleep.simulate import SleepResult, check_arguments, check_biases, choose, simulate
from src_lab.sleep.triton_kernel import TritonBatch

T = TypeVar("T")
PerLayer = Sequence[float]


def simulate_batch(
    weights: Sequence[Sequence[Tensor]],
    input_spikes: Tensor,
    configs: SleepConfig | Sequence[SleepConfig],
    *,
    alpha: PerLayer | Sequence[PerLayer],
    beta: PerLayer | Sequence[PerLayer],
    backend: str = "auto",
    record: Sequence[str] = (),
    biases: Sequence[Biases] | None = None,
    unit_rates: PerLayer | Sequence[PerLayer] | None = None,
) -> list[SleepResult]:
    """`simulate` for B networks: result i is, bit for bit, what `simulate` returns for network i alone.

    weights       B networks, each a sequence of L tensors as in `simulate`, not modified
    input_spikes  (T, n_0) for all networks, or (B, T, n_0)
    configs       one SleepConfig for all, or B of them
    alpha, beta   L numbers for all, or B sequences of L numbers
    biases        B sequences of L tensors or None, as in `simulate`
    unit_rates    L numbers for all, or B sequences of L numbers, as in `simulate`
    backend       as in `simulate`; "triton" runs all networks in the same launches, the others one after another

    Raises ConfigError for arguments that do not fit together; with triton also unless sizes, dtype, device, rule and the
    layers that have biases are the same in all networks. Raises NonFiniteError when a network diverges, with a note that
    tells which.
    """
    if not weights:
        raise ConfigError("weights is empty: give at least one network, a sequence of tensors (n_l, n_{l-1})")
    count = len(weights)
    settings = _each("configs", [configs] if isinstance(configs, SleepConfig) else configs, count)
    alphas, betas = (_each(name, _rows(value), count) for name, value in (("alpha", alpha), ("beta", beta)))
    inputs = _each("input_spikes", list(input_spikes) if input_spikes.ndim == 3 else [input_spikes], count)
    given = [None] * count if biases is None else _each("biases", biases, count)
    rates = [None] * count if unit_rates is None else _each("unit_rates", _rows(unit_rates), count)
    for i in range(count):
        check_arguments(weights[i], inputs[i], alphas[i], betas[i], record)
        check_biases(weights[i], given[i], rates[i])

    if choose(backend, weights[0][0].device) == "triton":
        _check_alike(weights, settings)
        took_part = _alike_biases(given, settings)
        parameters = [
            Parameters.of(config, a, b, kappa or ())
            for config, a, b, kappa in zip(settings, alphas, betas, rates, strict=True)
        ]
        return _simulate_together(weights, input_spikes, parameters, record, took_part)
    results = []
    for i in range(count):
        try:
            kept = simulate(
                weights[i],
                inputs[i],
                settings[i],
                alpha=alphas[i],
                beta=betas[i],
                backend=backend,
                record=record,
                biases=given[i],
                unit_rates=rates[i],
            )
        except NonFiniteError as error:
            error.add_note(f"in network {i} of the batch")
            raise
        results.append(kept)
    return results


def _simulate_together(
    weights: Sequence[Sequence[Tensor]],
    input_spikes: Tensor,
    parameters: Sequence[Parameters],
    record: Sequence[str],
    biases: Sequence[Biases] | None,
) -> list[SleepResult]:
    steps = input_spikes.shape[-2]
    asleep = TritonBatch(weights, parameters, biases)
    traces = [Record.empty(steps, network, record) for network in weights]
    asleep.advance(input_spikes.bool(), traces)
    return [
        SleepResult(
            steps=steps,
            weights=after,
            spikes=trace.spikes or None,
            potentials=trace.potentials or None,
            spike_counts=trace.spike_counts if "spike_counts" in record else None,
            biases=shifted,
        )
        for after, shifted, trace in zip(asleep.weights(), asleep.biases(), traces, strict=True)
    ]


def _rows(value: PerLayer | Sequence[PerLayer]) -> Sequence[PerLayer]:
    """`value` as one sequence per network: as it is if its entries are sequences, else in a list of one."""
    shared = len(value) == 0 or np.ndim(value[0]) == 0
    return [value] if shared else value  # type: ignore[return-value,list-item]  # told apart by its first entry


def _each(name: str, values: Sequence[T], count: int) -> list[T]:
    """`values` for `count` networks, a single one repeated. Raises ConfigError for any other number."""
    if len(values) not in (1, count):
        raise ConfigError(f"{name} is given for {len(values)} networks but weights has {count}: give one, or one each")
    return list(values) * (count // len(values))


def _check_alike(weights: Sequence[Sequence[Tensor]], configs: Sequence[SleepConfig]) -> None:
    """Raise ConfigError unless the networks can share launches: equal sizes, dtype, device and rule."""
    first = [(tuple(w.shape), w.dtype, w.device) for w in weights[0]]
    for i, network in enumerate(weights):
        other = [(tuple(w.shape), w.dtype, w.device) for w in network]
        if other != first:
            raise ConfigError(
                f"weights[{i}] is {_show(network)} but weights[0] is {_show(weights[0])}: "
                "networks in one triton batch must be alike, or use sleep.backend=numba"
            )
    rules = {config.rule for config in configs}
    if len(rules) > 1:
        raise ConfigError(
            f"sleep.rule={','.join(sorted(rules))} in one triton batch: give one rule, or use sleep.backend=numba"
        )


def _alike_biases(biases: Sequence[Biases | None], configs: Sequence[SleepConfig]) -> list[Biases] | None:
    """The biases that take part in a triton batch. Raises ConfigError unless the same layers of all networks have them."""
    used = [None if config.bias == "ignore" else b for b, config in zip(biases, configs, strict=True)]
    places = {None if b is None else tuple(part is not None for part in b) for b in used}
    if len(places) > 1:
        raise ConfigError(
            "biases are in other layers of some networks in one triton batch: give all networks biases in the same layers "
            "and sleep.bias alike, or use sleep.backend=numba"
        )
    return [b for b in used if b is not None] or None


def _show(network: Sequence[Tensor]) -> str:
    widths = [network[0].shape[1], *(w.shape[0] for w in network)]
    return f"{'-'.join(str(width) for width in widths)} {network[0].dtype} on {network[0].device}"
