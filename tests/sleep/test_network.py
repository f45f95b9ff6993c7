"""`sleep` on real modules: what it changes, what it leaves alone, when it ends, what its callback sees."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src_lab.models import LowRankLinear, ModelConfig, build_model
from src_lab.settings import ConfigError
from src_lab.sleep import NonFiniteError, SleepConfig, SleepState, StimulusConfig, load_weights, simulate, sleep
from src_lab.sleep.chain import find_layers
from src_lab.sleep.scaling import normalization_factors
from src_lab.sleep.stimulus import spike_blocks
from tests.sleep.golden_vectors import CPU_BACKENDS
from tests.sleep.small_network import CONFIG, IMAGES, network, weights_of


def put_to_sleep(model: nn.Module, config: SleepConfig = CONFIG, images: Tensor = IMAGES, **options: Any) -> Any:
    return sleep(model, images, config, generator=torch.Generator().manual_seed(3), **options)


def stimulus(config: SleepConfig = CONFIG, images: Tensor = IMAGES, seed: int = 3) -> Tensor:
    """The input spikes that `put_to_sleep` draws."""
    blocks = spike_blocks(images, config, torch.Generator().manual_seed(seed))
    return torch.cat(list(islice(blocks, 5)))[: config.iterations]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


class TestWhatChanges:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_the_weights_as_simulate_changes_them_under_the_same_spikes(self, backend: str, dtype: torch.dtype) -> None:
        model = network(dtype)
        before, parameters = weights_of(model), list(model.parameters())
        expected = simulate(
            before, stimulus(), CONFIG, alpha=CONFIG.alpha, beta=CONFIG.beta, backend=backend, record=("spike_counts",)
        )
        result = put_to_sleep(model, backend=backend)
        assert equal(weights_of(model), expected.weights)
        assert equal(result.weights, expected.weights)
        assert torch.equal(result.spike_counts, expected.spike_counts)
        assert result.steps == 250
        assert not any(torch.equal(*pair) for pair in zip(before, expected.weights, strict=True))
        assert all(old is new for old, new in zip(parameters, model.parameters(), strict=True))
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert all(parameter.requires_grad for parameter in model.parameters())

    def test_every_backend_gives_the_same_sleep(self) -> None:
        slept = {backend: network(torch.float64) for backend in (*CPU_BACKENDS, "auto")}
        results = {backend: put_to_sleep(model, backend=backend) for backend, model in slept.items()}
        for backend, model in slept.items():
            assert torch.equal(results[backend].spike_counts, results["reference"].spike_counts)
            torch.testing.assert_close(weights_of(model), weights_of(slept["reference"]), rtol=0, atol=1e-12)

    def test_a_longer_sleep_starts_the_same(self) -> None:
        short, long = (put_to_sleep(network(), replace(CONFIG, iterations=n)) for n in (130, 250))
        assert torch.equal(short.spike_counts, long.spike_counts[:130])

    def test_the_generators_state_decides(self) -> None:
        generator = torch.Generator().manual_seed(3)
        models = [network() for _ in range(2)]
        for model in models:
            sleep(model, IMAGES, CONFIG, generator=generator)
        again = network()
        put_to_sleep(again)
        assert equal(weights_of(models[0]), weights_of(again))
        assert not equal(weights_of(models[1]), weights_of(again))

    def test_weights_that_are_not_contiguous(self) -> None:
        plain, strided = network(), network()
        for layer in find_layers(strided):
            layer.module.weight = nn.Parameter(layer.weight().T.contiguous().T)
        assert not strided[1].weight.is_contiguous()
        put_to_sleep(plain)
        put_to_sleep(strided)
        assert equal(weights_of(plain), weights_of(strided))
        assert not strided[1].weight.is_contiguous()

    @pytest.mark.parametrize("shape", [(20, 784), (20, 28, 28), (20, 1, 28, 28)])
    def test_images_of_any_shape(self, shape: tuple[int, ...]) -> None:
        images = torch.rand(20, 784, generator=torch.Generator().manual_seed(5))
        config = replace(
            CONFIG,
            iterations=60,
            scaling="data",
            beta=[0.5, 0.4],
            stimulus=StimulusConfig(mask="window", samples_per_step=None),
        )
        flat, shaped = (build_model_for(784) for _ in range(2))
        put_to_sleep(flat, config, images)
        result = put_to_sleep(shaped, config, images.view(shape))
        assert result.spike_counts.any()
        assert equal(weights_of(flat), weights_of(shaped))

    def test_no_steps_change_nothing(self) -> None:
        model = network()
        before = weights_of(model)
        calls: list[int] = []
        config = replace(CONFIG, iterations=0)
        result = put_to_sleep(model, config, callback=lambda step, _: calls.append(step))
        assert (result.steps, result.spike_counts.shape, calls) == (0, (0, 3), [])
        assert equal(weights_of(model), before)

    def test_a_carried_mean_image_replaces_the_images(self) -> None:
        carried, shown = network(), network()
        mean = IMAGES.mean(dim=0)
        everything = replace(CONFIG, stimulus=StimulusConfig(samples_per_step=None))
        put_to_sleep(carried, CONFIG, torch.zeros_like(IMAGES), mean_image=mean)
        put_to_sleep(shown, everything)
        assert equal(weights_of(carried), weights_of(shown))


def build_model_for(inputs: int) -> nn.Sequential:
    config = ModelConfig("test", [9], False, 0.0, "train", "linear", 0.1, None)
    return build_model(config, inputs, 4, seed=1)


class TestLowRank:
    def test_the_network_computes_with_the_slept_product(self) -> None:
        """As a dense network with the products A B as weights, slept under the same spikes, does."""
        model, dense = network(rank=3), network(dropout=0.0)
        factors = [parameter.detach().clone() for parameter in model.parameters()]
        load_weights(dense, weights_of(model))
        put_to_sleep(model)
        put_to_sleep(dense)
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(IMAGES), dense(IMAGES), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(weights_of(model), weights_of(dense), rtol=0, atol=1e-6)
        assert equal([parameter.detach() for parameter in model.parameters()], factors)

    def test_a_second_sleep_goes_on_from_the_first(self) -> None:
        model, dense = network(torch.float64, rank=3), network(torch.float64)
        load_weights(dense, weights_of(model))
        for _ in range(2):
            put_to_sleep(model)
            put_to_sleep(dense)
        torch.testing.assert_close(weights_of(model), weights_of(dense), rtol=0, atol=1e-12)

    def test_an_exception_leaves_factors_and_offset(self) -> None:
        model = network(rank=3)
        with pytest.raises(KeyboardInterrupt):
            put_to_sleep(model, callback=interrupt(KeyboardInterrupt()))
        assert all(layer.offset is None for layer in model if isinstance(layer, LowRankLinear))


def interrupt(error: BaseException) -> Callable[[int, SleepState], None]:
    def callback(step: int, state: SleepState) -> None:
        if step >= 200:
            assert state.spike_counts.all()  # there was something to lose
            raise error

    return callback


class TestWhatStays:
    @pytest.mark.parametrize("scaling", ["fixed", "data"])
    def test_training_flags_of_every_module(self, scaling: Any) -> None:
        model = network()
        for index, module in enumerate(model):
            module.training = index % 2 == 0
        flags = [module.training for module in model.modules()]
        put_to_sleep(model, replace(CONFIG, scaling=scaling))
        assert [module.training for module in model.modules()] == flags
        assert len(set(flags)) == 2

    @pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_the_weights_when_a_callback_fails(self, backend: str, error: BaseException) -> None:
        model = network()
        before = weights_of(model)
        with pytest.raises(type(error)):
            put_to_sleep(model, backend=backend, callback=interrupt(error))
        assert equal(weights_of(model), before)

    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_the_weights_when_they_diverge(self, backend: str) -> None:
        model = network()
        before = weights_of(model)
        with pytest.raises(NonFiniteError) as caught:
            put_to_sleep(model, replace(CONFIG, rule="proportional", inc=1e6), backend=backend)
        assert equal(weights_of(model), before)
        assert 0 < caught.value.step < 250
        assert str(caught.value).startswith(f"weights of layer {caught.value.layer} are not finite at sleep step")

    def test_weights_that_overflow_in_the_very_last_step_are_not_kept(self) -> None:
        """The one step multiplies the weight past float32's range, and no later step would read it."""
        model = nn.Sequential(nn.Linear(1, 1, bias=False))
        nn.init.constant_(model[0].weight, 10.0)
        config = SleepConfig(iterations=1, rule="proportional", inc=1e38, alpha=[1.0], beta=[1.0], max_rate_hz=1e6)
        config = replace(config, stimulus=StimulusConfig(mask="none"))
        with pytest.raises(NonFiniteError, match="weights of layer 0 are not finite at sleep step 1"):
            put_to_sleep(model, config, torch.ones(1, 1))
        assert model[0].weight.item() == 10.0

    def test_flags_and_hooks_when_the_forward_fails(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(25, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
        model[2].register_forward_pre_hook(interrupted_forward)
        model.train()
        with pytest.raises(RuntimeError, match="in the forward"):
            put_to_sleep(model, SleepConfig(iterations=5, scaling="data", beta=[1.0, 1.0]))
        assert all(module.training for module in model.modules())
        assert [len(module._forward_pre_hooks) for module in model] == [0, 0, 1, 0]


def interrupted_forward(*_: object) -> None:
    raise RuntimeError("in the forward")


class TestCallback:
    @pytest.mark.parametrize(
        ("record_every", "steps"), [(60, [60, 120, 180, 240]), (125, [125, 250]), (None, [100, 200]), (251, [])]
    )
    def test_comes_at_exact_multiples(self, record_every: int | None, steps: list[int]) -> None:
        called: list[int] = []
        states: list[int] = []

        def callback(step: int, state: SleepState) -> None:
            called.append(step)
            states.append(state.step)

        put_to_sleep(network(), replace(CONFIG, record_every=record_every), callback=callback)
        assert called == states == steps

    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_changes_nothing_by_being_there(self, backend: str) -> None:
        watched, alone = network(), network()
        config = replace(CONFIG, record_every=7)
        seen = put_to_sleep(watched, config, backend=backend, callback=lambda _, state: state.change_norms())
        unseen = put_to_sleep(alone, config, backend=backend)
        assert equal(weights_of(watched), weights_of(alone))
        assert torch.equal(seen.spike_counts, unseen.spike_counts)

    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_sees_the_weights_and_spikes_of_its_moment(self, backend: str) -> None:
        states: list[SleepState] = []

        def callback(_: int, state: SleepState) -> None:
            states.append(state)
            assert len(state.weights) == 3  # computed now, kept for later

        result = put_to_sleep(network(), replace(CONFIG, record_every=70), backend=backend, callback=callback)
        assert len(states) == 3
        for state in states:
            cut_short = network()
            put_to_sleep(cut_short, replace(CONFIG, iterations=state.step), backend=backend)
            assert equal(state.weights, weights_of(cut_short))
            assert torch.equal(state.spike_counts, result.spike_counts[: state.step].sum(dim=0))

    def test_change_norms_by_hand(self) -> None:
        """One step in which one unit of two spikes: f(w) = w, so its weight 4 grows by 3 and its -2 shrinks by 1.5."""
        model = nn.Sequential(nn.Linear(2, 2, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[4.0, -2.0], [-1.0, -1.0]]))
        config = SleepConfig(iterations=1, rule="proportional", inc=0.75, alpha=[1.0], beta=[1.0], record_every=1)
        config = replace(config, max_rate_hz=1e6, stimulus=StimulusConfig(mask="none"))
        norms: list[list[tuple[float, float]]] = []
        put_to_sleep(model, config, torch.ones(1, 2), callback=lambda _, state: norms.append(state.change_norms()))
        assert model[0].weight.tolist() == [[7.0, -3.5], [-1.0, -1.0]]
        assert norms == [[(3.0, 1.5)]]


class TestEndWhenSilent:
    FADING = replace(CONFIG, inc=0.0, dec=0.3, decay=0.5, iterations=450)
    """Every spike weakens the weights, until no unit spikes any more."""

    @pytest.mark.parametrize("silence", [1, 3, 40, 130])
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    @pytest.mark.parametrize("with_callback", [False, True])
    def test_ends_after_exactly_so_many_silent_steps(self, silence: int, backend: str, with_callback: bool) -> None:
        full = put_to_sleep(network(), self.FADING, backend=backend)
        quiet = (~full.spike_counts.any(dim=1)).tolist()
        end = next(t for t in range(silence, 451) if all(quiet[t - silence : t]))
        stopped = network()
        config = replace(self.FADING, stop_when_silent=silence, record_every=33)
        callback = (lambda *_: None) if with_callback else None
        result = put_to_sleep(stopped, config, backend=backend, callback=callback)
        assert result.steps == end < 450
        assert torch.equal(result.spike_counts, full.spike_counts[:end])
        cut_short = network()
        put_to_sleep(cut_short, replace(self.FADING, iterations=end), backend=backend)
        assert equal(weights_of(stopped), weights_of(cut_short))

    def test_a_silence_that_lasts_costs_nothing(self) -> None:
        stopped, full = network(), network()
        result = put_to_sleep(stopped, replace(self.FADING, stop_when_silent=130))
        whole = put_to_sleep(full, self.FADING)
        assert not whole.spike_counts[result.steps :].any()
        assert whole.spike_counts[: result.steps - 130].any()
        assert equal(weights_of(stopped), weights_of(full))

    def test_does_not_end_a_busy_sleep(self) -> None:
        assert put_to_sleep(network(), replace(CONFIG, stop_when_silent=50)).steps == 250


class TestSilenceIsReported:
    def test_by_a_warning_with_alpha_beta_and_the_highest_potentials(self, caplog: pytest.LogCaptureFixture) -> None:
        config = replace(CONFIG, beta=[1234.5, 0.4, 0.3], alpha_scale=2.0, beta_scale=2.0)
        model = network()
        alpha, beta = [2.0, 4.0, 4.0], [2469.0, 0.8, 0.6]
        recorded = simulate(
            weights_of(model), stimulus(), config, alpha=alpha, beta=beta, backend="reference", record=("potentials",)
        )
        put_to_sleep(model, config)
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert warning.startswith("no hidden unit spiked in 250 sleep steps")
        assert "alpha=[2, 4, 4]" in warning
        assert "beta=[2469, 0.8, 0.6]" in warning
        assert recorded.potentials is not None
        assert f"[{', '.join(f'{trace.max().item():.4g}' for trace in recorded.potentials)}]" in warning
        assert "\n" not in warning

    def test_but_not_when_a_hidden_unit_spiked(self, caplog: pytest.LogCaptureFixture) -> None:
        put_to_sleep(network(), replace(CONFIG, beta=[0.5, 1e6, 1e6]))
        assert [record for record in caplog.records if record.levelname == "WARNING"] == []

    def test_also_when_only_the_output_layer_spiked(self, caplog: pytest.LogCaptureFixture) -> None:
        result = put_to_sleep(network(), replace(CONFIG, beta=[1e6, 1e6, 0.3], dc=0.2))
        assert result.spike_counts[:, 2].any()
        assert "no hidden unit spiked" in caplog.text


class TestScalingFromData:
    @pytest.mark.parametrize("output", ["linear", "relu"])
    @pytest.mark.parametrize("dropout_scaling", ["train", "test"])
    def test_gains_are_the_factors_of_the_testing_activations(self, dropout_scaling: Any, output: Any) -> None:
        """By hand: hidden activations times 0.75 only where dropout scales when testing; more images than one batch."""
        images = torch.rand(1_001, 25, generator=torch.Generator().manual_seed(2))
        images[:1_000] *= 0.1
        model = network(torch.float64, dropout_scaling=dropout_scaling, output=output)
        weights = weights_of(model)
        x, maxima = images.double(), []
        for index, weight in enumerate(weights):
            x = x @ weight.T
            if index < 2 or output == "relu":
                x = x.relu()
            if index < 2 and dropout_scaling == "test":
                x = 0.75 * x
            maxima.append(x.max().item())
        factors = normalization_factors([weight.max().item() for weight in weights], maxima)
        config = replace(CONFIG, scaling="data", alpha_scale=[1.0, 2.0, 3.0], beta=[0.2, 0.2, 0.2])
        alpha = [scale * factor for scale, factor in zip([1.0, 2.0, 3.0], factors, strict=True)]
        inputs = stimulus(config, images)
        expected = simulate(weights, inputs, config, alpha=alpha, beta=config.beta, record=("spike_counts",))
        assert expected.spike_counts is not None
        assert expected.spike_counts.any(dim=0).all()
        result = put_to_sleep(model.train(), config, images)
        assert torch.equal(result.spike_counts, expected.spike_counts)
        torch.testing.assert_close(weights_of(model), expected.weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        (torch.rand(4, 24), {}, "images of shape (4, 24) do not fit layer 1: give (n, ...) with 25 values each"),
        (torch.rand(0, 25), {}, "images of shape (0, 25) do not fit layer 1"),
        (torch.rand(25), {}, "images of shape (25,) do not fit layer 1"),
        (IMAGES, {"alpha": [1.0, 1.0]}, "sleep.alpha=[1.0,1.0] has 2 values but the network has 3 layers of weights"),
        (IMAGES, {"beta": [1.0]}, "sleep.beta=[1.0] has 1 values but the network has 3 layers of weights"),
        (IMAGES, {"stimulus": StimulusConfig(mask="window")}, "sleep.stimulus.window=11 is larger than the 5 x 5 images"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(images: Tensor, changes: dict[str, Any], message: str) -> None:
    model = network()
    before = weights_of(model)
    with pytest.raises(ConfigError) as caught:
        put_to_sleep(model, replace(CONFIG, **changes), images)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert equal(weights_of(model), before)


def test_load_weights_brings_a_result_into_another_model() -> None:
    model, twin = network(), network(rank=3)
    result = put_to_sleep(model)
    load_weights(twin, result.weights)
    with torch.no_grad():
        torch.testing.assert_close(twin.eval()(IMAGES), model.eval()(IMAGES), rtol=1e-5, atol=1e-5)
