"""Every backend against `reference`: spikes exactly, weights bit for bit where the operations are the same."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep import NonFiniteError, SleepConfig, SleepResult, simulate
from src_lab.sleep.backend import Biases, Record
from src_lab.sleep.config import Rule
from src_lab.sleep.simulate import choose, start
from tests.sleep.golden_vectors import CPU_BACKENDS

FAST = [name for name in CPU_BACKENDS if name != "reference"]
RULES: tuple[Rule, ...] = ("tadros", "sigmoid", "proportional")
DTYPES = (torch.float64, torch.float32)
WEIGHT_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
POTENTIAL_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
BUSY = SleepConfig(inc=0.02, dec=0.005, decay=0.95)
ALL_SPIKE = -1e6
NONE_SPIKES = 1e6


def network(sizes: list[int], dtype: torch.dtype, seed: int = 0, grid: int = 0) -> list[Tensor]:
    """Random weights, multiples of 1/grid where one is given: then sums are exact and potentials meet thresholds."""
    draw = torch.Generator().manual_seed(seed)
    shapes = zip(sizes[1:], sizes, strict=False)
    weights = [torch.randn(shape, generator=draw, dtype=torch.float64) * 0.3 for shape in shapes]
    return [((w * grid).round() / grid if grid else w).to(dtype) for w in weights]


def input_spikes(steps: int, inputs: int, rate: float, seed: int = 0) -> Tensor:
    return torch.rand(steps, inputs, generator=torch.Generator().manual_seed(seed)) < rate


def biases_for(weights: list[Tensor], layers: set[int], seed: int = 0, grid: int = 0) -> list[Tensor | None]:
    """Random biases of the `layers` named, on the same grid."""
    draw = torch.Generator().manual_seed(seed + 1)
    drawn = [torch.randn(len(w), generator=draw, dtype=torch.float64) * 0.5 for w in weights]
    scaled = [((b * grid).round() / grid if grid else b).to(weights[0].dtype) for b in drawn]
    return [b if layer in layers else None for layer, b in enumerate(scaled)]


def slept(
    weights: list[Tensor], inputs: Tensor, config: SleepConfig, backend: str, biases: Biases | None = None
) -> tuple[list[Tensor], Record]:
    """The weights afterwards, with them the biases if any, and all that can be recorded. All gains are powers of two."""
    layers = len(weights)
    gains: dict[str, Any] = {} if biases is None else {"biases": biases, "unit_rates": [0.25] * layers}
    asleep = start(weights, config, [2.0] * layers, [0.5] * layers, backend, **gains)
    trace = Record.empty(len(inputs), weights, ("spikes", "potentials"))
    asleep.advance(inputs, trace)
    after = asleep.biases()
    assert (after is None) == (biases is None)
    if after is not None and biases is not None:
        assert [b is None for b in after] == [b is None for b in biases]
    return asleep.weights() + [b for b in after or [] if b is not None], trace


def assert_same(
    weights: list[Tensor],
    inputs: Tensor,
    config: SleepConfig,
    backend: str,
    exact: bool = False,
    biases: Biases | None = None,
) -> int:
    """Sleep on `backend` and on `reference`, compare everything; returns the number of spikes.

    Bit for bit when `exact`, and always for `event` with a rule that has no exponential: PyTorch's vectorised exp may
    round differently at the end of a row, so what passes through it is compared within the tolerances.
    """
    dtype = weights[0].dtype
    exact = exact or (backend == "event" and config.rule == "proportional")
    for_weights = 0.0 if exact else WEIGHT_TOLERANCE[dtype]
    for_potentials = 0.0 if exact else POTENTIAL_TOLERANCE[dtype]
    expected, expected_trace = slept(weights, inputs, config, "reference", biases)
    after, trace = slept(weights, inputs, config, backend, biases)
    assert all(torch.equal(*pair) for pair in zip(trace.spikes, expected_trace.spikes, strict=True))
    close(trace.potentials, expected_trace.potentials, for_potentials)
    close(trace.peaks, expected_trace.peaks, for_potentials)
    close(after, expected, for_weights)
    counted = torch.stack([spikes.sum(dim=1) for spikes in trace.spikes], dim=1)
    assert torch.equal(trace.spike_counts, counted)
    return int(counted.sum())


def close(actual: list[Tensor] | Tensor, expected: list[Tensor] | Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@st.composite
def sleeps(draw: st.DrawFn) -> tuple[list[Tensor], Tensor, SleepConfig, bool, Biases | None]:
    """A network of any size from 1 up, its input spikes, settings, whether all arithmetic is exact, and biases if any.

    Weights and settings in multiples of 1/16 without an exponential make every sum exact, and thresholds are often met.
    """
    seed = draw(st.integers(0, 2**16))
    layers = draw(st.sampled_from([1, 3]))
    sizes = draw(st.lists(st.integers(1, 12), min_size=layers + 1, max_size=layers + 1))
    steps = draw(st.sampled_from([0, 1, 2, 30, 130]))
    rate = draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    dtype = draw(st.sampled_from(DTYPES))
    on_grid = draw(st.booleans())
    config = SleepConfig(
        rule="tadros" if on_grid else draw(st.sampled_from(RULES)),
        inc=draw(st.sampled_from([0.0, 1 / 16] if on_grid else [0.0, 0.001, 0.02, 0.3])),
        dec=draw(st.sampled_from([0.0, 1 / 16] if on_grid else [0.0, 0.0001, 0.005, 0.1])),
        decay=draw(st.sampled_from([0.0, 1.0] if on_grid else [0.0, 0.5, 0.999, 1.0])),
        threshold=draw(st.sampled_from([0.5, 1.0, ALL_SPIKE, NONE_SPIKES] if on_grid else [0.37, 1.1, ALL_SPIKE])),
        inhibition=draw(st.sampled_from([0.0] if on_grid else [0.0, 0.3, 1.0])),
        dc=draw(st.sampled_from([0.0, 0.125] if on_grid else [0.0, 0.07, -0.03])),
        bias=draw(st.sampled_from(["scaled", "adapt"])),
    )
    grid = 16 if on_grid else 0
    weights = network(sizes, dtype, seed, grid)
    biased = draw(st.none() | st.sets(st.integers(0, layers - 1)))
    biases = None if biased is None else biases_for(weights, biased, seed, grid)
    return weights, input_spikes(steps, sizes[0], rate, seed), config, on_grid, biases


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(sleep=sleeps())
def test_any_network_in_any_sleep(
    backend: str, sleep: tuple[list[Tensor], Tensor, SleepConfig, bool, Biases | None]
) -> None:
    weights, inputs, config, on_grid, biases = sleep
    assert_same(weights, inputs, config, backend, on_grid, biases)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("biased", [{0, 1, 2}, {1}], ids=["all", "one"])
@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 0.3),
        ({}, 0.0),
        ({"inhibition": 0.7, "dc": 0.1}, 0.3),
        ({"inc": 0.0}, 0.3),
        ({"inc": 0.0, "dec": 0.0}, 0.3),
        ({"plastic": "output"}, 0.3),
    ],
    ids=str,
)
def test_biases_drive_and_learn_on_every_backend(
    changes: dict[str, Any], rate: float, biased: set[int], backend: str, rule: Rule, dtype: torch.dtype
) -> None:
    weights, inputs = network([11, 9, 7, 4], dtype), input_spikes(60, 11, rate)
    config = replace(BUSY, rule=rule, bias="adapt", **changes)
    assert assert_same(weights, inputs, config, backend, biases=biases_for(weights, biased)) > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("changes", "rate", "spikes"),
    [
        ({}, 0.3, True),
        ({}, 0.0, False),
        ({}, 1.0, True),
        ({"threshold": NONE_SPIKES}, 0.3, False),
        ({"threshold": ALL_SPIKE}, 0.3, True),
        ({"threshold": ALL_SPIKE}, 0.0, True),
        ({"inc": 0.0}, 0.3, True),
        ({"dec": 0.0}, 0.3, True),
        ({"inc": 0.0, "dec": 0.0}, 0.3, True),
        ({"decay": 0.0}, 0.3, True),
        ({"decay": 1.0}, 0.3, True),
        ({"inhibition": 0.7}, 0.3, True),
        ({"dc": 0.3}, 0.3, True),
        ({"dc": 0.3}, 0.0, True),
        ({"inhibition": 1.0, "dc": 0.2, "decay": 0.9}, 0.5, True),
    ],
    ids=str,
)
def test_every_setting_in_its_extreme(
    changes: dict[str, Any], rate: float, spikes: bool, backend: str, rule: Rule, dtype: torch.dtype
) -> None:
    weights, inputs = network([11, 9, 7, 4], dtype), input_spikes(40, 11, rate)
    count = assert_same(weights, inputs, replace(BUSY, rule=rule, **changes), backend)
    assert (count > 0) == spikes


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("rule", RULES)
class TestBiases:
    def test_of_zero_they_are_as_if_there_were_none(self, rule: Rule, backend: str) -> None:
        for dtype in DTYPES:
            weights, inputs = network([11, 9, 7, 4], dtype), input_spikes(120, 11, 0.3)
            config = replace(BUSY, rule=rule, inhibition=0.2, dc=0.05)
            without, trace = slept(weights, inputs, config, backend)
            zeros, same_trace = slept(weights, inputs, config, backend, [w.new_zeros(len(w)) for w in weights])
            assert all(torch.equal(*pair) for pair in zip(without, zeros[:3], strict=True))
            assert not any(b.any() for b in zeros[3:])
            for name in ("spikes", "potentials"):
                assert all(map(torch.equal, getattr(trace, name), getattr(same_trace, name)))
            assert torch.equal(trace.peaks, same_trace.peaks)

    def test_those_given_are_not_modified_and_those_handed_out_are_copies(self, rule: Rule, backend: str) -> None:
        weights, inputs = network([11, 9, 7, 4], torch.float64), input_spikes(60, 11, 0.3)
        given_biases = [b for b in biases_for(weights, {0, 1, 2}) if b is not None]
        before = [b.clone() for b in given_biases]
        config, rates = replace(BUSY, rule=rule, bias="adapt"), [0.25] * 3
        asleep = start(weights, config, [2.0] * 3, [0.5] * 3, backend, biases=given_biases, unit_rates=rates)
        for half in inputs.split(30):
            asleep.advance(half, Record.empty(30, weights))
            for b in asleep.biases() or []:
                assert b is not None
                b.fill_(torch.nan)
        whole, _ = slept(weights, inputs, config, backend, given_biases)
        assert all(torch.equal(*pair) for pair in zip(given_biases, before, strict=True))
        for b, same, old in zip(asleep.biases() or [], whole[3:], before, strict=True):
            assert b is not None
            assert torch.equal(b, same)
            assert not torch.equal(b, old)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("rule", RULES)
class TestBlocks:
    """A sleep taken in pieces, and one that is looked at, is the same sleep."""

    def sleep_in(self, blocks: list[int], rule: Rule, backend: str, look: bool = False) -> tuple[list[Tensor], Record]:
        weights, inputs = network([11, 9, 7, 4], torch.float32), input_spikes(sum(blocks), 11, 0.3)
        asleep = start(weights, replace(BUSY, rule=rule), [2.0] * 3, [0.5] * 3, backend)
        trace = Record.empty(len(inputs), weights, ("spikes", "potentials"))
        done = 0
        for block in blocks:
            asleep.advance(inputs[done : done + block], trace.rows(done, done + block))
            done += block
            if look:
                for weight in asleep.weights():
                    weight.fill_(torch.nan)  # what `weights` hands out is a copy
        return asleep.weights(), trace

    @pytest.mark.parametrize("look", [False, True])
    def test_blocks_of_any_length_change_nothing(self, rule: Rule, backend: str, look: bool) -> None:
        whole, whole_trace = self.sleep_in([300], rule, backend)
        parts, trace = self.sleep_in([1, 0, 99, 2, 198], rule, backend, look)
        assert all(torch.equal(*pair) for pair in zip(parts, whole, strict=True))
        assert torch.equal(trace.peaks, whole_trace.peaks)
        assert torch.equal(trace.spike_counts, whole_trace.spike_counts)
        for name in ("spikes", "potentials"):
            for pair in zip(getattr(trace, name), getattr(whole_trace, name), strict=True):
                assert torch.equal(*pair)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
class TestContract:
    def test_the_weights_given_are_not_modified(self, backend: str) -> None:
        weights = [w.requires_grad_() for w in network([11, 9, 7, 4], torch.float32)]
        before = [w.detach().clone() for w in weights]
        result = simulate(weights, input_spikes(60, 11, 0.3), BUSY, alpha=[2.0] * 3, beta=[0.5] * 3, backend=backend)
        for given_weight, old, new in zip(weights, before, result.weights, strict=True):
            assert torch.equal(given_weight, old)
            assert not torch.equal(new, old)
            assert not new.requires_grad

    def test_weights_that_are_not_contiguous(self, backend: str) -> None:
        weights, inputs = network([11, 9, 7, 4], torch.float64), input_spikes(60, 11, 0.3)
        strided = [torch.stack([w, w], dim=2).transpose(0, 1)[:, :, 0].T for w in weights]
        assert not any(w.is_contiguous() for w in strided)
        (plain, _), (other, _) = (slept(given_weights, inputs, BUSY, backend) for given_weights in (weights, strided))
        assert all(torch.equal(*pair) for pair in zip(plain, other, strict=True))
        assert all(w.is_contiguous() for w in other)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
    def test_input_spikes_of_any_type(self, backend: str, dtype: torch.dtype) -> None:
        weights, inputs = network([11, 9, 7, 4], torch.float32), input_spikes(60, 11, 0.3)
        expected, _ = slept(weights, inputs, BUSY, backend)
        result = simulate(weights, inputs.to(dtype), BUSY, alpha=[2.0] * 3, beta=[0.5] * 3, backend=backend)
        assert all(torch.equal(*pair) for pair in zip(result.weights, expected, strict=True))

    def test_records_only_what_is_asked_for(self, backend: str) -> None:
        weights, inputs = network([11, 9, 7, 4], torch.float32), input_spikes(7, 11, 0.3)

        def result(*record: str) -> SleepResult:
            return simulate(weights, inputs, BUSY, alpha=[2.0] * 3, beta=[0.5] * 3, backend=backend, record=record)

        bare, full = result(), result("spikes", "potentials", "spike_counts")
        assert (bare.steps, bare.spikes, bare.potentials, bare.spike_counts) == (7, None, None, None)
        _, trace = slept(weights, inputs, BUSY, backend)
        assert full.spikes is not None
        assert full.potentials is not None
        assert full.spike_counts is not None
        assert torch.equal(full.spike_counts, trace.spike_counts)
        assert full.spike_counts.dtype == torch.int64
        for layer, units in enumerate([9, 7, 4]):
            assert torch.equal(full.spikes[layer], trace.spikes[layer])
            assert torch.equal(full.potentials[layer], trace.potentials[layer])
            assert (full.spikes[layer].shape, full.spikes[layer].dtype) == ((7, units), torch.bool)
            assert (full.potentials[layer].shape, full.potentials[layer].dtype) == ((7, units), torch.float32)

    def test_a_step_checked_by_hand(self, backend: str) -> None:
        """Two steps of one unit with three inputs, rule proportional, decay 1/2, threshold 3/2, alpha 2, beta 1."""
        config = SleepConfig(rule="proportional", inc=0.5, dec=0.25, decay=0.5, threshold=1.5)
        weights = [torch.tensor([[0.25, 0.5, 1.0]], dtype=torch.float64)]
        inputs = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
        result = simulate(weights, inputs, config, alpha=[2.0], beta=[1.0], backend=backend, record=("potentials",))
        assert result.potentials is not None
        # v = 1.5 reaches the threshold, so w = (.375, .75, .75); 2.25 does, w = (.5625, 1.125, .5625); 1.125 does not.
        assert result.potentials[0].flatten().tolist() == [1.5, 2.25, 1.125]
        assert result.weights[0].tolist() == [[0.5625, 1.125, 0.5625]]

    @pytest.mark.parametrize(
        ("bias", "potentials", "after"),
        [
            ("scaled", [1.125, 1.6875, 0.375], 0.25),
            ("adapt", [1.125, 1.6875, 0.390625], 0.28125),
            ("ignore", [1.0, 1.5, 0.25], None),
        ],
    )
    def test_a_bias_checked_by_hand(self, backend: str, bias: Any, potentials: list[float], after: float | None) -> None:
        """One unit, rule proportional, decay 1/2, threshold 3/2, alpha 2; its bias of 1/4 counts alpha/4 = 1/2 per step.

        As a weight it would hear a spike in a quarter of the steps: it grows by (inc/4 - 3 dec/4) b = b/8 at the spike.
        """
        config = SleepConfig(rule="proportional", inc=1.0, dec=1 / 6, decay=0.5, threshold=1.5, bias=bias)
        weights = [torch.tensor([[0.5, 0.125]], dtype=torch.float64)]
        inputs = torch.tensor([[1, 0], [1, 0], [0, 1]])
        result = simulate(
            weights,
            inputs,
            config,
            alpha=[2.0],
            beta=[1.0],
            backend=backend,
            record=("potentials",),
            biases=[torch.tensor([0.25], dtype=torch.float64)],
            unit_rates=[0.25],
        )
        assert result.potentials is not None
        # v = 1 + 1/8, then half of it + 1 + 1/8, which is a spike; w_1 = 1/8 - 1/48 follows it.
        expected = [*potentials[:2], potentials[2] - 2 / 48]
        torch.testing.assert_close(result.potentials[0].flatten().tolist(), expected)
        found = None if result.biases is None or result.biases[0] is None else result.biases[0].item()
        assert found == (None if after is None else pytest.approx(after, abs=1e-15))

    def test_a_bias_may_diverge_too(self, backend: str) -> None:
        weights, inputs = network([6, 5, 4], torch.float64), input_spikes(200, 6, 0.5)
        config = replace(BUSY, rule="proportional", bias="adapt", inc=1e8, plastic="hidden")
        with pytest.raises(NonFiniteError) as caught:
            slept([0 * w for w in weights], inputs, replace(config, dc=0.0), backend, [torch.ones(5).double(), None])
        assert caught.value.layer == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[6, 5], [6, 5, 4, 3]])
def test_diverging_weights_stop_every_backend_at_the_same_layer_and_step(sizes: list[int], dtype: torch.dtype) -> None:
    """Weights grow a hundred-million-fold per spike until a sum of them overflows."""
    weights, inputs = network(sizes, dtype), input_spikes(200, sizes[0], 0.5)
    config = replace(BUSY, rule="proportional", inc=1e8)
    layers = len(weights)
    stops = set()
    for backend in CPU_BACKENDS:
        asleep = start(weights, config, [2.0] * layers, [0.5] * layers, backend)
        asleep.advance(inputs[:2], Record.empty(2, weights))  # a step is counted from the start of sleep, not of a block
        with pytest.raises(NonFiniteError) as caught:
            asleep.advance(inputs[2:], Record.empty(198, weights))
        assert f"layer {caught.value.layer} are not finite at sleep step {caught.value.step}" in str(caught.value)
        assert "\n" not in str(caught.value)
        stops.add((caught.value.layer, caught.value.step))
    assert len(stops) == 1
    assert stops.pop()[1] > 3


GOOD: dict[str, Any] = {
    "weights": [torch.zeros(3, 4), torch.zeros(2, 3)],
    "input_spikes": torch.zeros(5, 4),
    "alpha": [1.0, 1.0],
    "beta": [1.0, 1.0],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": []}, "weights is empty"),
        ({"weights": [torch.zeros(3, 4), torch.zeros(2, 5)]}, "weights[1] has 5 inputs but weights[0] has 3 outputs"),
        ({"weights": [torch.zeros(3, 4), torch.zeros(2, 3).double()]}, "weights[1] is torch.float64"),
        ({"weights": [torch.zeros(3, 4).half(), torch.zeros(2, 3).half()]}, "weights[0] is torch.float16"),
        ({"weights": [torch.zeros(3, 4).long(), torch.zeros(2, 3).long()]}, "weights[0] is torch.int64"),
        ({"weights": [torch.zeros(12), torch.zeros(2, 3)]}, "of shape (12,)"),
        ({"weights": [torch.zeros(0, 4), torch.zeros(2, 0)]}, "of shape (0, 4)"),
        ({"input_spikes": torch.zeros(5, 3)}, "input_spikes has shape (5, 3): must be (steps, 4)"),
        ({"input_spikes": torch.zeros(4)}, "input_spikes has shape (4,)"),
        ({"input_spikes": torch.full((5, 4), 0.5)}, "input_spikes has values other than 0 and 1"),
        ({"input_spikes": torch.full((5, 4), torch.nan)}, "input_spikes has values other than 0 and 1"),
        ({"input_spikes": torch.full((5, 4), 2)}, "input_spikes has values other than 0 and 1"),
        ({"alpha": [1.0]}, "alpha has 1 values: give one for each of the 2 layers"),
        ({"alpha": [1.0, float("nan")]}, "alpha=[1.0, nan]"),
        ({"beta": [1.0, 1.0, 1.0]}, "beta has 3 values: give one for each of the 2 layers"),
        ({"beta": [float("inf"), 1.0]}, "beta=[inf, 1.0]"),
        ({"backend": "fast"}, "sleep.backend=fast is not known: allowed are auto, reference, event"),
        ({"biases": [None]}, "biases has 1 entries: give a tensor or None for each of the 2 layers"),
        ({"biases": [torch.zeros(4), None], "unit_rates": [1.0, 1.0]}, "biases[0] is torch.float32 of shape (4,)"),
        ({"biases": [None, torch.zeros(2).double()], "unit_rates": [1.0, 1.0]}, "biases[1] is torch.float64 of shape (2,)"),
        ({"biases": [torch.zeros(3), None]}, "unit_rates=None with biases: give a number >= 0 for each of the 2 layers"),
        ({"biases": [torch.zeros(3), None], "unit_rates": [1.0, -1.0]}, "unit_rates=[1.0, -1.0] with biases"),
        ({"record": ("spike",)}, "record=spike is not known: any of spikes, potentials, spike_counts"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    arguments = GOOD | changes
    weights, inputs = arguments.pop("weights"), arguments.pop("input_spikes")
    with pytest.raises(ConfigError) as caught:
        simulate(weights, inputs, SleepConfig(), **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_is_numba_on_the_cpu_and_sleeps_the_same() -> None:
    weights, inputs = network([11, 9, 7, 4], torch.float64), input_spikes(60, 11, 0.3)
    assert choose("auto", torch.device("cpu")) == "numba"
    assert_same(weights, inputs, BUSY, "auto")


def test_event_is_the_fallback_where_nothing_is_compiled_and_numba_refuses_other_devices() -> None:
    device = torch.device("meta")
    assert choose("auto", device) == choose("event", device) == "event"
    with pytest.raises(ConfigError, match="numba runs on the CPU, not on meta"):
        choose("numba", device)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("backend", FAST)
def test_a_first_difference_in_float32_is_a_tie(backend: str, rule: Rule) -> None:
    """Over a long sleep rounding may part two backends, but only where a potential meets its threshold to rounding."""
    weights = network([60, 80, 40, 10], torch.float32, seed=5)
    inputs = input_spikes(1500, 60, 0.1, seed=6)
    config = replace(BUSY, rule=rule, inc=0.002, dec=0.0005)
    _, expected = slept(weights, inputs, config, "reference")
    _, trace = slept(weights, inputs, config, backend)
    assert expected.spike_counts.sum() > 1500, "the sleep is a busy one"
    for step in range(len(inputs)):
        for layer, (spikes, theirs) in enumerate(zip(trace.spikes, expected.spikes, strict=True)):
            differ = spikes[step] != theirs[step]
            if differ.any():
                potentials = expected.potentials[layer][step][differ]
                torch.testing.assert_close(potentials, torch.full_like(potentials, 0.5), rtol=1e-5, atol=0)
                return
