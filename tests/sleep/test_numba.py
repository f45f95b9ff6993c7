"""What is special to the compiled backend: its elementary functions, its log of decrements, its memory, its cache.

That it equals the reference on golden and random networks is tested with all backends in `test_backends.py`.
"""

import tracemalloc
from collections.abc import Callable

import numba
import numpy as np
import pytest
import torch
from numba.core import caching
from torch import Tensor

from src_lab.sleep import numba_compiled, numba_kernel
from src_lab.sleep.backend import Backend, Biases, NonFiniteError, Parameters, Record
from src_lab.sleep.numba_kernel import RULE_CODES, Numba
from src_lab.sleep.reference import Reference
from src_lab.sleep.rules import RULES

DTYPES = [np.float32, np.float64]
PARAMETERS = {
    "alpha": (2.0, 1.5, 1.0),
    "beta": (1.0, 1.2, 0.9),
    "rule": "sigmoid",
    "inc": 0.03,
    "dec": 0.002,
    "decay": 0.95,
    "threshold": 1.0,
    "inhibition": 0.1,
    "dc": 0.05,
}


def network(*widths: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pairs = zip(widths[1:], widths[:-1], strict=True)
    return [torch.randn(n, m, generator=generator, dtype=dtype) / m**0.5 + 0.2 for n, m in pairs]


def input_spikes(steps: int, units: int, rate: float = 0.3) -> Tensor:
    return torch.rand(steps, units, generator=torch.Generator().manual_seed(1)) < rate


def run(
    backend: type[Backend], weights: list[Tensor], spikes: Tensor, biases: Biases | None = None, **changes: object
) -> tuple[Backend, Record]:
    asleep = backend(weights, Parameters(**{**PARAMETERS, **changes}), biases)  # type: ignore[arg-type]
    record = Record.empty(len(spikes), weights, ("spikes", "potentials"))
    asleep.advance(spikes, record)
    return asleep, record


def assert_equal_to_reference(
    weights: list[Tensor], spikes: Tensor, biases: Biases | None = None, **changes: object
) -> Record:
    fast, record = run(Numba, weights, spikes, biases, **changes)
    slow, expected = run(Reference, weights, spikes, biases, **changes)
    assert torch.equal(record.spike_counts, expected.spike_counts)
    for ours, theirs in zip(record.spikes, expected.spikes, strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(
        [*fast.weights(), *(fast.biases() or []), *record.potentials, record.peaks],
        [*slow.weights(), *(slow.biases() or []), *expected.potentials, expected.peaks],
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    return record


def vectorised(function: Callable[..., object]) -> Callable[[np.ndarray], np.ndarray]:
    @numba.njit
    def fill(x: np.ndarray, out: np.ndarray) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    def apply(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        fill(x, out)
        return out

    return apply


def ulps(got: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(got - exact) / np.spacing(exact.astype(got.dtype)).astype(np.longdouble)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_within_1_1_ulp_and_reaches_zero_and_infinity(dtype: type) -> None:
    exp = vectorised(numba_compiled._exp)
    low, high = np.log(np.finfo(dtype).tiny), np.log(np.finfo(dtype).max) * 0.9999
    for x in (np.linspace(low, high, 200_001, dtype=dtype), np.linspace(-3, 3, 200_001, dtype=dtype)):
        assert ulps(exp(x), np.exp(x.astype(np.longdouble))) <= 1.1
    ends = exp(np.array([-np.inf, -1e4, 0, 1e4, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(ends, np.array([0, 0, 1, np.inf, np.inf, np.nan], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_near_zero_is_within_1_2_ulp(dtype: type) -> None:
    w = np.linspace(-1, 1, 400_001, dtype=dtype)
    got = vectorised(numba_compiled._sigmoid_near_zero)(w)
    assert ulps(got, 1 / (1 + np.exp(-w.astype(np.longdouble)))) <= 1.2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_change_equals_the_rule(rule: str, scale: float, dtype: type) -> None:
    w = np.linspace(-scale, scale, 40_001, dtype=dtype)
    rate = dtype(-0.003)
    expected = (torch.from_numpy(w) + torch.tensor(rate) * RULES[rule](torch.from_numpy(w))).numpy()
    numba_compiled.change(w, rate, RULE_CODES[rule])
    if rule == "proportional":
        np.testing.assert_array_equal(w, expected)
    assert np.max(np.abs(w - expected) / (np.spacing(np.abs(expected)) + abs(rate) * np.finfo(dtype).eps)) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_tadros_is_exactly_two_and_zero_where_it_saturates(dtype: type) -> None:
    w = np.array([-1e9, -1.0, -0.1, 0.0, 0.1, 1.0, 1e9], dtype)
    expected = w + dtype(0.25) * np.array([2, 2, 2, 1, 0, 0, 0], dtype)
    numba_compiled.change(w, dtype(0.25), numba_compiled.TADROS)
    np.testing.assert_array_equal(w, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_short_cut_near_zero_changes_no_bit(dtype: type) -> None:
    """A weight is changed by either code, depending on its neighbours: the two must agree where both apply."""
    w = np.linspace(-1, 1, 100_003, dtype=dtype)
    short, full = w.copy(), w.copy()
    numba_compiled.change(short, dtype(0.01), numba_compiled.SIGMOID_NEAR_ZERO)
    numba_compiled.change(full, dtype(0.01), numba_compiled.SIGMOID)
    one_by_one = w[:1000].copy()
    for i in range(1000):
        numba_compiled.change(one_by_one[i : i + 1], dtype(0.01), numba_compiled.SIGMOID)
    np.testing.assert_array_equal(short, full)
    np.testing.assert_array_equal(one_by_one, full[:1000])


def test_a_long_sleep_empties_the_log_and_goes_on() -> None:
    steps = 2 * numba_compiled.LOG_STEPS + 100
    record = assert_equal_to_reference(network(6, 5, 4, 3), input_spikes(steps, 6))
    assert (record.spike_counts[:, 0] > 0).sum() > 1.5 * numba_compiled.LOG_STEPS


@pytest.mark.parametrize("rule", RULES)
def test_units_that_their_biases_alone_drive(rule: str) -> None:
    """No input spikes, so no column is ever read; a unit of the first layer that spikes changes its bias all the same."""
    weights = network(6, 5, 4, 3)
    biases = [torch.linspace(-1, 1.5, len(w), dtype=torch.float64) for w in weights]
    bias = {"bias_drive": (0.4, 0.3, 0.2), "bias_rate": (0.02, -0.01, 0.0), "dc": 0.0}
    steps = numba_compiled.LOG_STEPS + 100
    record = assert_equal_to_reference(weights, torch.zeros(steps, 6, dtype=torch.bool), biases, rule=rule, **bias)
    assert record.spike_counts[:, 0].any()
    noisy = assert_equal_to_reference(weights, input_spikes(300, 6), [biases[0], None, biases[2]], rule=rule, **bias)
    assert noisy.spike_counts.any(dim=0).all()


@pytest.mark.parametrize("rule", RULES)
def test_columns_that_lag_far_behind_catch_up(rule: str) -> None:
    """Inputs 3 .. spike once in 97 steps or never, so decrements of hundreds of steps, over many nodes, are due."""
    spikes = input_spikes(700, 12, rate=0.5)
    spikes[:, 3:] = False
    spikes[::97, 3:8] = True
    assert_equal_to_reference(network(12, 40, 30, 4), spikes, rule=rule, dec=1e-4, inc=1e-3)


def test_weights_far_from_zero_and_near_it_share_a_column() -> None:
    weights = network(12, 40, 30, 4)
    for w in weights:
        w[::3] *= 40
    assert_equal_to_reference(weights, input_spikes(200, 12), rule="sigmoid")


@pytest.mark.parametrize("changes", [{"threshold": 0.0}, {"threshold": -1.0}, {"dc": 2.0}])
def test_units_spike_without_input(changes: dict[str, float]) -> None:
    record = assert_equal_to_reference(network(5, 4, 3, 2), torch.zeros(50, 5, dtype=torch.bool), **changes)
    assert record.spike_counts.any()


def test_a_log_too_small_for_two_steps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, spikes = network(9, 8, 7, 5), input_spikes(300, 9)
    roomy, _ = run(Numba, weights, spikes)
    monkeypatch.setattr(numba_kernel, "LOG_SPIKES", 1)
    tight, _ = run(Numba, weights, spikes)
    assert tight._layers[0].log.units.shape[1] == 9  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in zip(roomy.weights(), tight.weights(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_and_looking_at_the_weights_change_no_bit(dtype: torch.dtype) -> None:
    weights, spikes = network(20, 30, 25, 4, dtype=dtype), input_spikes(400, 20)
    whole, expected = run(Numba, weights, spikes)
    parts, start = Numba(weights, Parameters(**PARAMETERS)), 0  # type: ignore[arg-type]
    record = Record.empty(400, weights, ("spikes", "potentials"))
    for length in (0, 1, 7, 0, 250, 100, 42):
        parts.advance(spikes[start : start + length], record.rows(start, start + length))
        start += length
        for w in parts.weights():
            w.fill_(torch.nan)
    for ours, theirs in zip(
        [*parts.weights(), *record.potentials, record.peaks, record.spike_counts],
        [*whole.weights(), *expected.potentials, expected.peaks, expected.spike_counts],
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_any_layout_of_weights_is_read_and_none_is_modified() -> None:
    weights = network(8, 6, 5, 3)
    strided = [torch.stack([w, w], dim=2)[:, :, 1] for w in weights]
    before = [w.clone() for w in strided]
    ours = run(Numba, strided, input_spikes(50, 8))[0].weights()
    assert all(torch.equal(a, b) for a, b in zip(strided, before, strict=True))
    for w, plain in zip(ours, run(Numba, weights, input_spikes(50, 8))[0].weights(), strict=True):
        assert w.is_contiguous()
        assert torch.equal(w, plain)


def test_divergence_names_layer_and_step_of_the_reference() -> None:
    """Proportional increments make the weights grow by half at each spike, until a sum overflows."""
    weights, spikes = network(6, 5, 4, 3, dtype=torch.float32), torch.ones(2000, 6, dtype=torch.bool)
    changes = {"rule": "proportional", "inc": 0.5, "threshold": 0.01, "inhibition": 0.0}
    failures = []
    for backend in (Reference, Numba):
        with pytest.raises(NonFiniteError) as caught:
            run(backend, weights, spikes, **changes)
        failures.append((caught.value.layer, caught.value.step))
    assert failures[0] == failures[1]
    with pytest.raises(NonFiniteError) as caught:
        advance_step_by_step(Numba(weights, Parameters(**{**PARAMETERS, **changes})), spikes, weights)  # type: ignore[arg-type]
    assert (caught.value.layer, caught.value.step) == failures[0]


def advance_step_by_step(asleep: Backend, spikes: Tensor, weights: list[Tensor]) -> None:
    for row in spikes:
        asleep.advance(row[None], Record.empty(1, weights))


def test_memory_beyond_the_weights_and_their_transpose_is_small() -> None:
    """At 784-4000-4000-10 the issue allows 50 MB. NumPy reports its memory to tracemalloc, PyTorch (the input) not."""
    weights = [torch.zeros(n, m) for n, m in ((4000, 784), (4000, 4000), (10, 4000))]
    transposed = sum(w.nbytes for w in weights)
    spikes = input_spikes(300, 784, rate=0.02)
    tracemalloc.start()
    run_quietly(weights, spikes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert transposed < peak < transposed + 15e6


def run_quietly(weights: list[Tensor], spikes: Tensor) -> None:
    Numba(weights, Parameters(**PARAMETERS)).advance(spikes, Record.empty(len(spikes), weights))  # type: ignore[arg-type]


def test_compiled_code_is_kept_on_disk() -> None:
    run_quietly(network(3, 3, 3, 3), input_spikes(2, 3))
    stats = numba_compiled.advance.stats  # type: ignore[attr-defined]
    assert sum(stats.cache_hits.values()) + sum(stats.cache_misses.values()) > 0


def test_compiles_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert numba_compiled.compiled(abs_difference)(3.0, 5.0) == 2.0


def abs_difference(a: float, b: float) -> float:
    return abs(a - b)
