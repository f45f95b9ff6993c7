"""The controls of sleep: fewer plastic layers, other stimuli, surrogates of the change."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src_lab.analysis import replay
from src_lab.models import ModelConfig, build_model
from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, SleepResult, StimulusConfig, simulate, simulate_batch, sleep
from src_lab.sleep.chain import find_layers
from src_lab.sleep.rules import RULES
from src_lab.sleep.simulate import RECORDABLE
from src_lab.sleep.stimulus import BLOCK, spike_blocks
from src_lab.sleep.surrogate import surrogates
from tests.sleep.golden_vectors import CPU_BACKENDS

GAINS: dict[str, Any] = {"alpha": [2.0, 1.5, 1.0], "beta": [1.0, 1.2, 0.9]}
BUSY = SleepConfig(inc=0.02, dec=0.005, decay=0.9)
PLASTIC = {"all": {0, 1, 2}, "hidden": {0, 1}, "output": {2}}


def weights(seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = [(10, 9), (8, 10), (4, 8)]
    return [torch.randn(shape, generator=draw, dtype=torch.float64) / shape[1] ** 0.5 + 0.15 for shape in shapes]


def spikes() -> Tensor:
    return torch.rand(16, 9, generator=torch.Generator().manual_seed(1)) < 0.3


def slept(backend: str = "reference", config: SleepConfig = BUSY, **changes: Any) -> SleepResult:
    return simulate(weights(), spikes(), replace(config, **changes), backend=backend, record=RECORDABLE, **GAINS)


def same(first: list[Tensor] | None, second: list[Tensor] | None) -> bool:
    assert first
    assert second
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


class TestPlasticLayers:
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_sleep_of_the_hidden_layers_is_the_whole_sleep_with_the_old_output_weights(self, backend: str) -> None:
        """Nothing hears the last layer: what the others do does not depend on it."""
        whole, hidden = slept(backend), slept(backend, plastic="hidden")
        assert same(hidden.weights, [*whole.weights[:2], weights()[2]])
        assert not torch.equal(whole.weights[2], weights()[2])
        assert same(hidden.spikes[:2] if hidden.spikes else None, whole.spikes[:2] if whole.spikes else None)
        assert hidden.spike_counts is not None
        assert hidden.spike_counts[:, 2].any(), "the output layer spikes all the same"

    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_sleep_of_the_output_layer_is_the_rule_by_hand(self, backend: str) -> None:
        """The hidden layers are spiking filters with weights that stand still; the rule acts on the last matrix alone."""
        first, second, last = weights()
        v1, v2, v3 = (torch.zeros(len(w), dtype=torch.float64) for w in (first, second, last))
        factor = RULES[BUSY.rule]
        for step in spikes().double():
            v1 = BUSY.decay * v1 + 2.0 * first @ step
            s1 = (v1 >= 1.0).double()
            v2 = BUSY.decay * v2 + 1.5 * second @ s1
            s2 = (v2 >= 1.2).double()
            v3 = BUSY.decay * v3 + last @ s2
            s3 = (v3 >= 0.9).double()
            v1, v2, v3 = v1 * (1 - s1), v2 * (1 - s2), v3 * (1 - s3)
            last = last + (BUSY.inc * torch.outer(s3, s2) - BUSY.dec * torch.outer(s3, 1 - s2)) * factor(last)
        found = slept(backend, plastic="output").weights
        assert same(found[:2], weights()[:2])
        torch.testing.assert_close(found[2], last, rtol=0, atol=1e-12)
        assert (last - weights()[2]).abs().max() > 0.01

    @pytest.mark.parametrize("plastic", PLASTIC)
    @pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name != "reference"])
    def test_backends_agree(self, backend: str, plastic: str) -> None:
        fast, slow = slept(backend, plastic=plastic), slept("reference", plastic=plastic)
        assert same(fast.spikes, slow.spikes)
        torch.testing.assert_close(fast.weights, slow.weights, rtol=0, atol=1e-12)
        changed = {i for i, (new, old) in enumerate(zip(fast.weights, weights(), strict=True)) if not torch.equal(new, old)}
        assert changed == PLASTIC[plastic]

    @pytest.mark.parametrize("backend", ["numba", "triton"])
    def test_networks_of_a_batch_may_differ_in_it(self, backend: str) -> None:
        configs = [replace(BUSY, plastic=plastic) for plastic in ("all", "hidden", "output")]
        together = simulate_batch([weights()] * 3, spikes(), configs, backend=backend, record=RECORDABLE, **GAINS)
        for result, config in zip(together, configs, strict=True):
            alone = slept("reference", config)
            assert same(result.spikes, alone.spikes)
            torch.testing.assert_close(result.weights, alone.weights, rtol=0, atol=1e-12)
            fixed = set(range(3)) - PLASTIC[config.plastic]
            assert all(torch.equal(result.weights[layer], weights()[layer]) for layer in fixed)

    def test_hidden_layers_where_there_are_none_are_refused(self) -> None:
        with pytest.raises(
            ConfigError, match=r"^sleep\.plastic=hidden leaves nothing to change .* e\.g\. model\.widths=\[100\]$"
        ):
            simulate(weights()[:1], spikes(), replace(BUSY, plastic="hidden"), alpha=[1.0], beta=[1.0])

    @pytest.mark.parametrize("plastic", PLASTIC)
    def test_a_replay_shows_the_first_layer_as_it_slept(self, plastic: str) -> None:
        """It puts layer 1 to sleep alone, and must not take it for the output layer."""
        config = replace(ASLEEP, plastic=plastic)
        found = replay(network(), IMAGES, config, generator=noise(), frames=4)
        result = sleep(network(), IMAGES, config, generator=noise())
        assert same(found.weights, result.weights)
        assert found.mean_frames[-1].tolist() == result.weights[0].mean(dim=0).tolist()
        assert (found.mean_frames[-1].tolist() == found.mean_frames[0].tolist()) == (plastic == "output")


SIDE = 8
IMAGES = torch.rand(20, SIDE, SIDE, generator=torch.Generator().manual_seed(7))
ALWAYS = StimulusConfig(samples_per_step=None, mask="none")
ASLEEP = replace(BUSY, iterations=150, alpha=[1.0, 2.0, 2.0], beta=[0.5, 0.4, 0.3], max_rate_hz=400.0)


def noise(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Sequential:
    model = ModelConfig("test", [9, 7], False, 0.25, "train", "linear", 0.5, None)
    return build_model(model, SIDE * SIDE, 4, seed=1)


def rates(stimulus: StimulusConfig, seed: int = 3, mean_image: Tensor | None = None) -> Tensor:
    """How often each pixel spikes: at 500 Hz and 1 ms steps with the probability of its intensity."""
    config = replace(ASLEEP, max_rate_hz=500.0, stimulus=stimulus)
    return torch.cat(list(islice(spike_blocks(IMAGES, config, noise(seed), mean_image), 400))).double().mean(dim=0)


class TestStimulus:
    def test_a_shuffle_keeps_the_intensities_and_moves_them(self) -> None:
        mean = IMAGES.mean(dim=0).flatten().double()
        found = rates(replace(ALWAYS, shape="shuffled"))
        torch.testing.assert_close(found.sort().values, mean.sort().values, rtol=0, atol=0.015)
        assert (found - mean).abs().max() > 0.1
        order = torch.randperm(SIDE * SIDE, generator=noise())
        torch.testing.assert_close(found, mean[order], rtol=0, atol=0.015)

    def test_another_sleep_is_another_shuffle(self) -> None:
        first, second = (rates(replace(ALWAYS, shape="shuffled"), seed) for seed in (3, 4))
        assert (first - second).abs().max() > 0.1

    @pytest.mark.parametrize("stimulus", [ALWAYS, replace(ALWAYS, samples_per_step=3), replace(ALWAYS, mask="pixel")])
    def test_uniform_noise_is_as_bright_and_the_same_everywhere(self, stimulus: StimulusConfig) -> None:
        plain, found = rates(stimulus), rates(replace(stimulus, shape="uniform"))
        assert found.mean().item() == pytest.approx(plain.mean().item(), abs=0.003)
        assert found.max() - found.min() < 0.02
        assert plain.max() - plain.min() > 0.04

    def test_a_carried_mean_image_is_shaped_too(self) -> None:
        carried = torch.linspace(0, 1, SIDE * SIDE)
        for shape, expected in (("shuffled", carried), ("uniform", carried.mean().expand(SIDE * SIDE))):
            found = rates(replace(ALWAYS, shape=shape), mean_image=carried)  # type: ignore[arg-type]
            torch.testing.assert_close(found.sort().values, expected.double(), rtol=0, atol=0.015)

    def test_only_a_shuffle_draws_more_than_before(self) -> None:
        """The mean image draws nothing of its own, so that sleeps of before this setting are the same to the bit."""
        config = replace(ASLEEP, stimulus=StimulusConfig())
        draw = noise()
        drawn = torch.randint(len(IMAGES), (BLOCK, 10), generator=draw)
        mask = torch.rand(BLOCK, SIDE * SIDE, generator=draw) < 0.25
        uniform = torch.rand(BLOCK, SIDE * SIDE, generator=draw)
        x = IMAGES.flatten(1)[drawn].mean(dim=1) * mask
        assert torch.equal(next(spike_blocks(IMAGES, config, noise())), uniform * (1 / 0.4) / 2 <= x)


def change(config: SleepConfig) -> list[Tensor]:
    """D of each layer after a sleep."""
    model = network()
    before = [layer.weight() for layer in find_layers(model)]
    result = sleep(model, IMAGES, config, generator=noise())
    assert same(result.weights, [layer.weight() for layer in find_layers(model)])
    return [new - old for new, old in zip(result.weights, before, strict=True)]


class TestSurrogates:
    def test_a_shuffled_change_has_the_same_entries_elsewhere(self) -> None:
        learned, shuffled = change(ASLEEP), change(replace(ASLEEP, change="shuffled"))
        for ours, theirs in zip(shuffled, learned, strict=True):
            assert not torch.equal(ours, theirs)
            torch.testing.assert_close(ours.flatten().sort().values, theirs.flatten().sort().values, rtol=0, atol=1e-6)

    def test_noise_has_the_mean_and_sd_of_the_change(self) -> None:
        before = [torch.randn(300, 200, dtype=torch.float64, generator=noise(0)), torch.zeros(20, 300, dtype=torch.float64)]
        after = [before[0] - 0.5 * torch.rand(300, 200, generator=noise(1)).double(), before[1] + 0.25]
        (first, second) = (new - old for new, old in zip(surrogates(before, after, "noise", noise(2)), before, strict=True))
        assert first.mean().item() == pytest.approx(-0.25, abs=5 * 0.144 / 245)
        assert first.std().item() == pytest.approx(0.5 / 12**0.5, rel=0.01)
        assert torch.corrcoef(torch.stack([first.flatten(), (after[0] - before[0]).flatten()]))[0, 1].abs() < 0.02
        assert first.min() < -0.5, "normal, not bounded as the change was"
        torch.testing.assert_close(second, torch.full_like(second, 0.25))

    def test_a_change_per_unit_is_the_mean_of_each_row(self) -> None:
        learned, alike = change(ASLEEP), change(replace(ASLEEP, change="per_unit"))
        for ours, theirs in zip(alike, learned, strict=True):
            expected = theirs.mean(dim=1, keepdim=True).expand_as(theirs)
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)

    def test_a_change_of_rank_one_is_the_nearest_there_is(self) -> None:
        learned, nearest = change(ASLEEP), change(replace(ASLEEP, change="rank_one"))
        for ours, theirs in zip(nearest, learned, strict=True):
            left, sizes, right = torch.linalg.svd(theirs.double(), full_matrices=False)
            expected = sizes[0] * torch.outer(left[:, 0], right[0])
            assert sizes[1] > 0.01 * sizes[0], "or there would be nothing to leave out"
            torch.testing.assert_close(ours.double(), expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))

    @pytest.mark.parametrize("kind", ["shuffled", "noise", "per_unit", "rank_one"])
    def test_it_is_of_its_seed_and_leaves_layers_that_learned_nothing(self, kind: str) -> None:
        config = replace(ASLEEP, change=kind, plastic="hidden")
        first, second = change(config), change(config)
        assert same(first, second)
        assert not first[2].any()
        assert first[0].any()

    def test_a_replay_shows_what_was_learned(self) -> None:
        found = replay(network(), IMAGES, replace(ASLEEP, change="noise"), generator=noise(), frames=4)
        learned = sleep(network(), IMAGES, ASLEEP, generator=noise())
        assert same(found.weights, learned.weights)
        assert found.mean_frames[-1].tolist() == learned.weights[0].mean(dim=0).tolist()
