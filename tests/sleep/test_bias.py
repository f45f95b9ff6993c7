"""Biases asleep: the rates that carry them over, what they add to a network's function, what of them learns and is kept."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, SleepState, StimulusConfig, load_weights, simulate, sleep
from src_lab.sleep.backend import NonFiniteError
from src_lab.sleep.bias import require_positive, sleeping_biases, unit_rates
from src_lab.sleep.chain import find_layers
from tests.sleep import small_network
from tests.sleep.golden_vectors import CPU_BACKENDS
from tests.sleep.small_network import IMAGES, weights_of

CONFIG = replace(small_network.CONFIG, iterations=150)
network = partial(small_network.network, torch.float64, bias=True)


def put_to_sleep(model: nn.Module, config: SleepConfig = CONFIG, **options: Any) -> Any:
    return sleep(model, IMAGES, config, generator=torch.Generator().manual_seed(3), **options)


def biases_of(model: nn.Module) -> list[Tensor]:
    return [bias for layer in find_layers(model) if (bias := layer.bias()) is not None]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("stimulus", "shape", "share"),
    [
        ({"mask": "pixel", "keep": 0.3}, (2, 100), 0.3),
        ({"mask": "window", "window": 5}, (2, 100), 0.25),
        ({"mask": "window", "window": 4}, (2, 1, 8, 10), 0.2),
        ({"mask": "none"}, (2, 100), 1.0),
    ],
)
def test_rates_by_hand(stimulus: dict[str, Any], shape: tuple[int, ...], share: float) -> None:
    config = SleepConfig(max_rate_hz=200.0, dt_s=0.001, threshold=2.0, stimulus=StimulusConfig(**stimulus))
    rates = unit_rates(config, [3.0, 0.5, 7.0], [1.5, 0.25, 9.0], torch.rand(shape))
    assert rates == pytest.approx([0.4 * share, 0.4 * share, 0.4 * share])
    rates = unit_rates(config, [6.0, 0.5, 7.0], [1.5, 1.0, 9.0], torch.rand(shape))
    assert rates == pytest.approx([0.4 * share, 0.8 * share, 0.2 * share])


def test_the_rates_are_those_of_spikes_per_activation() -> None:
    """Integrators under noise, without leak, spike kappa_l a_l times a step, a_l the activations awake, biases included."""
    draw = torch.Generator().manual_seed(0)
    weights = [torch.rand(shape, generator=draw, dtype=torch.float64) - 0.3 for shape in ((40, 60), (30, 40))]
    biases = [torch.randn(len(w), generator=draw, dtype=torch.float64) for w in weights]
    image = torch.rand(60, generator=draw, dtype=torch.float64)
    config = SleepConfig(inc=0.0, dec=0.0, decay=1.0, max_rate_hz=200.0, stimulus=StimulusConfig(mask="none"))
    alpha, beta = [0.5, 0.5], [20.0, 8.0]
    rates = unit_rates(config, [*alpha, 1.0], [*beta, 1.0], image[None])
    spikes = torch.rand(20_000, 60, generator=draw) < rates[0] * image
    result = simulate(
        weights, spikes, config, alpha=alpha, beta=beta, record=("spikes",), biases=biases, unit_rates=rates[:2]
    )
    assert result.spikes is not None
    states = image
    for w, b, fired, kappa in zip(weights, biases, result.spikes, rates[1:], strict=True):
        states = (w @ states + b).relu()
        counted = fired.double().mean(dim=0) / kappa
        sure = states > 0.5
        assert sure.sum() > 5
        assert (counted[sure] / states[sure] - 1).abs().mean() < 0.1


@pytest.mark.parametrize("backend", CPU_BACKENDS)
class TestASleepingNetwork:
    def test_scaled_biases_drive_and_stay(self, backend: str) -> None:
        model, without = network(), network(bias=False)
        load_weights(without, weights_of(model))
        before = biases_of(model)
        parameters = list(model.parameters())
        result = put_to_sleep(model, backend=backend)
        assert equal(biases_of(model), before)
        assert equal(result.biases, before)
        assert not torch.equal(result.spike_counts, put_to_sleep(without, backend=backend).spike_counts)
        assert all(old is new for old, new in zip(parameters, model.parameters(), strict=True))

    def test_adapting_biases_end_in_the_model(self, backend: str) -> None:
        model = network()
        before, config = biases_of(model), replace(CONFIG, bias="adapt")
        result = put_to_sleep(model, config, backend=backend)
        reference = put_to_sleep(network(), config, backend="reference")
        assert equal(biases_of(model), result.biases)
        assert not any(torch.equal(*pair) for pair in zip(before, result.biases, strict=True))
        torch.testing.assert_close(result.biases, reference.biases, rtol=0, atol=1e-12)
        assert torch.equal(result.spike_counts, reference.spike_counts)

    def test_ignored_biases_leave_the_sleep_of_a_network_without(
        self, backend: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        model, without = network(), network(bias=False)
        load_weights(without, weights_of(model))
        before = biases_of(model)
        result = put_to_sleep(model, replace(CONFIG, bias="ignore"), backend=backend)
        plain = put_to_sleep(without, backend=backend)
        assert equal(result.weights, plain.weights)
        assert equal(biases_of(model), before)
        assert result.biases is plain.biases is None
        (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert said == "sleep.bias=ignore: the biases of layers 1, 4, 7 are left out asleep, and stay as they are"

    def test_a_layer_that_is_fixed_keeps_its_bias(self, backend: str) -> None:
        model = network()
        before = biases_of(model)
        after = put_to_sleep(model, replace(CONFIG, bias="adapt", plastic="hidden"), backend=backend).biases
        assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [False, False, True]

    def test_silence_ends_it_and_a_bias_can_keep_it_awake(self, backend: str) -> None:
        dark = replace(CONFIG, max_rate_hz=1e-9, stop_when_silent=20)
        quiet, driven = network(), network()
        with torch.no_grad():
            for layer in find_layers(quiet):
                layer.write(layer.weight(), -torch.ones(layer.shape[0]))
        assert put_to_sleep(quiet, dark, backend=backend).steps == 20
        driven[1].bias.data.fill_(1e13)
        assert put_to_sleep(driven, dark, backend=backend).steps == 150

    def test_a_low_rank_layer_sleeps_with_its_bias(self, backend: str) -> None:
        model, dense = network(rank=3), network()
        load_weights(dense, weights_of(model), biases_of(model))
        config = replace(CONFIG, bias="adapt")
        put_to_sleep(model, config, backend=backend)
        put_to_sleep(dense, config, backend=backend)
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(IMAGES.double()), dense.eval()(IMAGES.double()))


class TestWhatIsCarriedAlong:
    def test_a_callback_sees_the_biases_of_its_moment(self) -> None:
        states: list[SleepState] = []
        config = replace(CONFIG, bias="adapt", record_every=50)

        def callback(_: int, state: SleepState) -> None:
            states.append(state)
            assert state.weights  # computed now, kept for later
            assert state.biases

        put_to_sleep(network(), config, callback=callback)
        for state in states:
            cut_short, twin = network(), network()
            put_to_sleep(cut_short, replace(config, iterations=state.step))
            load_weights(twin, state.weights, state.biases)
            with torch.no_grad():
                assert torch.equal(twin.eval()(IMAGES.double()), cut_short.eval()(IMAGES.double()))

    def test_an_exception_leaves_them(self) -> None:
        def fail(step: int, _: SleepState) -> None:
            raise RuntimeError(step)

        model = network()
        before = biases_of(model)
        with pytest.raises(RuntimeError):
            put_to_sleep(model, replace(CONFIG, bias="adapt"), callback=fail)
        assert equal(biases_of(model), before)

    def test_a_bias_that_overflows_in_the_very_last_step_is_not_kept(self) -> None:
        """Its weight is 0 and stays; the bias drives the unit, and its spike multiplies it past float32's range."""
        model = nn.Sequential(nn.Linear(1, 1))
        nn.init.zeros_(model[0].weight)
        nn.init.constant_(model[0].bias, 10.0)
        config = SleepConfig(iterations=1, rule="proportional", bias="adapt", inc=1e38, alpha=[1.0], beta=[1.0])
        config = replace(config, max_rate_hz=1e6, stimulus=StimulusConfig(mask="none"))
        with pytest.raises(NonFiniteError, match="layer 0 are not finite at sleep step 1"):
            sleep(model, torch.ones(1, 1), config, generator=torch.Generator())
        assert model[0].bias.item() == 10.0


class TestSurrogates:
    def slept(self, change: Any, **changes: Any) -> list[Tensor]:
        config = replace(CONFIG, change=change, **{"bias": "adapt"} | changes)
        after: list[Tensor] = put_to_sleep(network(), config).biases
        return after

    @pytest.mark.parametrize("change", ["per_unit", "rank_one"])
    def test_a_change_with_one_number_per_unit_is_what_biases_learned(self, change: str) -> None:
        assert equal(self.slept(change), self.slept("learned"))

    def test_a_shuffle_moves_it_to_other_units(self) -> None:
        before, learned, moved = biases_of(network()), self.slept("learned"), self.slept("shuffled")
        assert not equal(learned, moved)
        for old, mine, theirs in zip(before, learned, moved, strict=True):
            torch.testing.assert_close((mine - old).sort().values, (theirs - old).sort().values)

    def test_noise_is_drawn_for_each(self) -> None:
        assert not equal(self.slept("noise"), self.slept("learned"))
        assert equal(self.slept("noise"), self.slept("noise"))

    def test_biases_that_do_not_learn_stay(self) -> None:
        assert equal(self.slept("noise", bias="scaled"), biases_of(network()))


@pytest.mark.parametrize(("alpha", "beta"), [([0.0, 1.0], [1.0, 1.0]), ([1.0, 1.0], [-1.0, 1.0])])
def test_gains_from_which_no_rate_follows_are_refused(alpha: list[float], beta: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"^sleep\.bias=scaled needs positive .* layer 0 .* type sleep\.bias=ignore$") as e:
        unit_rates(SleepConfig(), alpha, beta, IMAGES)
    assert "\n" not in str(e.value)
    require_positive(SleepConfig(), [1.0, -1.0], [1.0, 0.0])  # nothing hears the last layer


def test_a_network_without_biases_has_none_asleep() -> None:
    assert sleeping_biases(find_layers(network(bias=False)), CONFIG) is None
    mixed = nn.Sequential(nn.Linear(25, 9, bias=False), nn.ReLU(), nn.Linear(9, 4))
    biases = sleeping_biases(find_layers(mixed), CONFIG)
    assert biases is not None
    assert [bias is None for bias in biases] == [True, False]
