"""Thresholds from firing rates, and changes as shares of what the noise makes units receive."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, StimulusConfig, calibration, simulate, sleep
from src_lab.sleep.bias import unit_rates
from src_lab.sleep.calibration import CALIBRATION_STEPS, calibrate
from src_lab.sleep.chain import find_layers
from src_lab.sleep.preparation import dissimilarities, sleeping_parameters

ALWAYS = StimulusConfig(mask="none")


def config(**changes: object) -> SleepConfig:
    base = {"scaling": "target_rate", "rule": "sigmoid", "inc": 0.0, "dec": 0.0, "iterations": CALIBRATION_STEPS}
    return SleepConfig(**(base | changes))  # type: ignore[arg-type]


def network(*sizes: int, seed: int = 0, bias: bool = False, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        modules += [nn.Linear(n_in, n_out, bias=bias), nn.ReLU()]
    made = nn.Sequential(*modules[:-1])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(scale)
    return made.eval()


def noise(inputs: int, steps: int = CALIBRATION_STEPS) -> torch.Tensor:
    return torch.rand(steps, inputs, generator=torch.Generator().manual_seed(1)) < 0.15


def calibrated(model: nn.Module, settings: SleepConfig, inputs: int = 30) -> tuple[list[float], list[float]]:
    """alpha, and the rates at which the layers then spike when they sleep to what they were calibrated with."""
    layers = find_layers(model)
    biases = [layer.bias() for layer in layers]
    biased = biases if biases[0] is not None else None
    images = torch.full((2, inputs), 0.15)
    alpha = calibrate(layers, biased, noise(inputs), images, settings).alpha
    rates = [1.0] * len(layers)
    if biased is not None:
        rates = unit_rates(settings, alpha, [1.0] * len(layers), images)
    asleep = simulate(
        [layer.weight() for layer in layers],
        noise(inputs),
        settings,
        alpha=alpha,
        beta=[1.0] * len(layers),
        record=["spike_counts"],
        biases=biased,
        unit_rates=rates,
    )
    assert asleep.spike_counts is not None
    units = torch.tensor([layer.shape[0] for layer in layers])
    return alpha, (asleep.spike_counts.double().mean(dim=0) / units).tolist()


def test_the_gain_of_one_unit_by_hand() -> None:
    """An input of 0.5 at every step and a rate of 1/4: the threshold 1 may be reached in 4 steps, not in 3."""
    unit = nn.Linear(1, 1, bias=False)
    nn.init.constant_(unit.weight, 0.5)
    found = calibrate(
        find_layers(unit), None, torch.ones(200, 1, dtype=torch.bool), torch.ones(1, 1), config(target_rate=0.25, decay=1.0)
    )
    assert found.alpha[0] == pytest.approx(1 / (3 * 0.5), rel=1e-6)
    assert found.alpha[0] < 1 / (3 * 0.5)
    assert (found.shared[0], found.unshared[0]) == (1.0, 0.0)


@pytest.mark.parametrize("target", [0.01, 0.2])
def test_bisections_side_by_side_find_the_same_gains(monkeypatch: pytest.MonkeyPatch, target: float) -> None:
    one_by_one, _ = calibrated(network(30, 100, 60), config(target_rate=target, dc=0.01))
    monkeypatch.setitem(calibration.AT_ONCE, "cpu", 5)
    assert calibrated(network(30, 100, 60), config(target_rate=target, dc=0.01))[0] == one_by_one


@pytest.mark.parametrize("sizes", [(30, 200), (30, 60, 10), (30, 300, 40, 120, 10)], ids=str)
@pytest.mark.parametrize("target", [0.005, 0.05])
@pytest.mark.parametrize("bias", [False, True])
def test_every_layer_spikes_at_the_rate_asked_for(sizes: tuple[int, ...], target: float, bias: bool) -> None:
    _, rates = calibrated(network(*sizes, bias=bias), config(target_rate=target))
    for rate, units in zip(rates, sizes[1:], strict=True):
        assert rate == pytest.approx(target, rel=0.02, abs=3 / (units * CALIBRATION_STEPS))


@pytest.mark.parametrize("changes", [{"inhibition": 0.7}, {"dc": 0.01}, {"decay": 0.0}, {"threshold": 3.0}], ids=str)
def test_what_else_drives_a_unit_is_counted_in(changes: dict[str, float]) -> None:
    _, rates = calibrated(network(30, 100, 100), config(target_rate=0.02, **changes))
    assert rates == pytest.approx([0.02, 0.02], rel=0.05)


def test_rates_may_differ_from_layer_to_layer() -> None:
    _, rates = calibrated(network(30, 200, 100), config(target_rate=[0.005, 0.04]))
    assert rates == pytest.approx([0.005, 0.04], rel=0.05)


def test_the_size_of_the_weights_does_not_matter() -> None:
    small, large = network(30, 100, 100), network(30, 100, 100, scale=16.0)
    (a, rates_a), (b, rates_b) = (calibrated(each, config()) for each in (small, large))
    assert b == pytest.approx([gain / 16 for gain in a], rel=1e-6)
    assert rates_a == rates_b


def asleep(model: nn.Module, **changes: object) -> nn.Module:
    sleep(
        model,
        torch.full((3, 30), 0.8),
        config(stimulus=ALWAYS, max_rate_hz=100.0, plasticity="relative", target_rate=0.02, **changes),
        generator=torch.Generator().manual_seed(3),
    )
    return model


def mean_input(model: nn.Sequential) -> torch.Tensor:
    """Summed positive mean input of the first layer's units under the noise, whose pixels are alike."""
    return (model[0].weight.detach().sum(dim=1)).clamp(min=0).sum()


@pytest.mark.parametrize("width", [50, 400])
@pytest.mark.parametrize("steps", [500, 2000])
@pytest.mark.parametrize(("key", "sign"), [("inc", 1), ("dec", -1)])
def test_a_relative_change_is_the_share_of_the_input_that_it_says(width: int, steps: int, key: str, sign: int) -> None:
    model = network(30, width, 10)
    before = mean_input(model)
    asleep(model, iterations=steps, **{key: 0.2})
    assert sign * (mean_input(model) / before - 1) == pytest.approx(0.2, abs=0.06)


def test_dissimilarity_is_what_pairs_of_images_do_not_have_in_common_where_they_feed_a_layer() -> None:
    model, images = network(30, 20, 10), torch.rand(7, 30, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        feeds = [images, model[:2](images)]
    expected = []
    for feed in feeds:
        cosines = [torch.cosine_similarity(feed[i], feed[j], dim=0).item() for i in range(7) for j in range(7) if i != j]
        expected.append(1 - sum(cosines) / len(cosines))
    assert dissimilarities(model, find_layers(model), images) == pytest.approx(expected, rel=1e-5)
    dark = torch.cat([images, torch.zeros(3, 30)])
    assert dissimilarities(model, find_layers(model), dark) == pytest.approx(expected, rel=1e-5), "no direction, no cosine"
    assert dissimilarities(model, find_layers(model), images[:1]) == [1.0, 1.0]


def test_many_images_are_sampled_from_one_end_to_the_other() -> None:
    """Sorted by class, as they may come: a thousand of each of two kinds that have nothing in common."""
    model = network(2, 5)
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(1000, dim=0)
    assert dissimilarities(model, find_layers(model), images) == pytest.approx([0.5], abs=0.001)


def test_changes_shrink_with_what_images_have_in_common() -> None:
    model = network(30, 50, 10)
    layers, draw = find_layers(model), torch.Generator().manual_seed(3)

    def steps(power: float, images: torch.Tensor) -> list[tuple[float, float]]:
        settings = config(plasticity="relative", dissimilarity=power, inc=0.2, dec=0.5)
        return list(sleeping_parameters(model, layers, None, images, settings, draw).steps)

    mixed, alike = torch.rand(9, 30, generator=torch.Generator().manual_seed(4)), torch.full((9, 30), 0.5)
    shares = dissimilarities(model, layers, mixed)
    for power in (1.0, 2.0):
        for share, whole, part in zip(shares, steps(0.0, mixed), steps(power, mixed), strict=True):
            assert part == pytest.approx([share**power * each for each in whole])
    assert [abs(each) < 1e-6 for pair in steps(1.0, alike) for each in pair] == [True] * 4


def test_beside_what_images_have_in_common_the_first_layer_has_all_and_none_more() -> None:
    model = network(30, 50, 10)
    layers, draw = find_layers(model), torch.Generator().manual_seed(3)

    def steps(images: torch.Tensor, **changes: Any) -> list[tuple[float, float]]:
        settings = config(plasticity="relative", inc=0.2, dec=0.5, dissimilarity_unit="input", **changes)
        return list(sleeping_parameters(model, layers, None, images, settings, draw).steps)

    mixed = torch.rand(9, 30, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        model[0].weight.abs_()
    images, hidden = dissimilarities(model, layers, mixed)
    assert hidden < images
    whole, part = steps(mixed), steps(mixed, dissimilarity=2.0)
    assert part[0] == pytest.approx(whole[0])
    assert part[1] == pytest.approx([(hidden / images) ** 2 * each for each in whole[1]])
    with torch.no_grad():  # units that know nothing of what images have in common
        model[0].weight -= model[0].weight.mean(dim=1, keepdim=True)
    images, hidden = dissimilarities(model, layers, mixed)
    assert hidden > images
    assert steps(mixed, dissimilarity=2.0) == steps(mixed)


def test_shares_follow_what_images_have_in_common() -> None:
    model = network(30, 50, 10)
    layers, draw = find_layers(model), torch.Generator().manual_seed(3)
    mixed = 0.5 + 0.5 * torch.rand(9, 30, generator=torch.Generator().manual_seed(4))
    common = 1 - dissimilarities(model, layers, mixed)[0]

    def steps(**changes: Any) -> list[tuple[float, float]]:
        settings = config(plasticity="relative", inc=0.2, dec=0.5, **changes)
        return list(sleeping_parameters(model, layers, None, mixed, settings, draw).steps)

    for other in ({}, {"dissimilarity": 2.0}):
        for whole, part in zip(steps(**other), steps(**other, similarity=3.0), strict=True):
            assert part == pytest.approx([common**3 * each for each in whole])


def test_where_images_hardly_differ_before_the_outputs_all_layers_change_less() -> None:
    model = network(30, 50, 10)
    layers, draw = find_layers(model), torch.Generator().manual_seed(3)
    mixed = 0.5 + 0.5 * torch.rand(9, 30, generator=torch.Generator().manual_seed(4))
    top = dissimilarities(model, layers, mixed)[-1]

    def steps(**changes: Any) -> list[tuple[float, float]]:
        settings = config(plasticity="relative", inc=0.2, dec=0.5, **changes)
        return list(sleeping_parameters(model, layers, None, mixed, settings, draw).steps)

    for power in (0.0, 2.0):
        whole = steps(dissimilarity=power)
        for whole_layer, spared in zip(whole, steps(dissimilarity=power, least_dissimilarity=4 * top), strict=True):
            assert spared == pytest.approx([0.5 * each for each in whole_layer])
        assert steps(dissimilarity=power, least_dissimilarity=0.9 * top) == whole


def test_the_first_layer_alone_can_be_made_plastic() -> None:
    model = network(30, 50, 10)
    last = model[2].weight.detach().clone()
    asleep(model, dec=[0.5, 0.0])
    assert torch.equal(model[2].weight, last)


def test_a_calibration_draws_nothing_from_the_sleeps_own_generator() -> None:
    model, generator = network(30, 50, 10), torch.Generator().manual_seed(5)
    state = generator.get_state()
    sleeping_parameters(model, find_layers(model), None, torch.full((3, 30), 0.8), config(stimulus=ALWAYS), generator)
    assert torch.equal(generator.get_state(), state)


def test_units_of_a_convolution_are_calibrated_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 4 * 4, 10)
    ).eval()
    result = sleep(
        model,
        torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        config(stimulus=StimulusConfig(), target_rate=0.02),
        generator=torch.Generator().manual_seed(3),
    )
    assert result.spike_counts is not None
    rates = result.spike_counts.double().mean(dim=0) / torch.tensor([4 * 64, 10])
    assert rates.tolist() == pytest.approx([0.02, 0.02], rel=0.1)


@pytest.mark.parametrize(("weight", "reached"), [(-1.0, 0.0), (0.0, 0.0), (1.0, 0.125)])
def test_a_layer_that_cannot_reach_its_rate_gets_half_of_what_it_can_and_it_is_said(
    weight: float, reached: float, caplog: pytest.LogCaptureFixture
) -> None:
    unit = nn.Linear(1, 3, bias=False)
    nn.init.constant_(unit.weight, weight)
    spikes = torch.zeros(200, 1, dtype=torch.bool)
    spikes[::4] = True
    settings = config(target_rate=0.45, decay=1.0, plasticity="relative", dec=0.5)
    found = calibrate(find_layers(unit), None, spikes, torch.ones(1, 1), settings)
    asleep = simulate(
        [unit.weight.detach()], spikes, config(decay=1.0), alpha=found.alpha, beta=[1.0], record=["spike_counts"]
    )
    assert asleep.spike_counts is not None
    assert asleep.spike_counts.sum() / 600 == pytest.approx(reached)
    assert "sleep.target_rate=0.45 cannot be reached in layer" in caplog.text
    assert all(math.isfinite(step) for steps in found.steps(settings, found.alpha, [1.0], [1.0]) for step in steps)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"scaling": "fixed"}, "sleep.scaling=target_rate"), ({"rule": "proportional"}, "sleep.rule=sigmoid")],
)
def test_relative_changes_need_known_rates_and_a_rule_that_changes_every_weight(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=r"sleep\.plasticity=relative") as caught:
        config(plasticity="relative", **changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
