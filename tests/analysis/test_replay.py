"""A replay is the original sleep, bit for bit, and what it reports is what happened in it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src_lab.analysis import Replay, replay
from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, SleepState, simulate, sleep
from src_lab.sleep.stimulus import BLOCK, spike_blocks
from tests.sleep import small_network
from tests.sleep.golden_vectors import CPU_BACKENDS
from tests.sleep.small_network import IMAGES, network, weights_of

CONFIG = replace(small_network.CONFIG, inhibition=0.2, dc=0.05)


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def replayed(model: nn.Module, config: SleepConfig = CONFIG, **options: Any) -> Replay:
    return replay(model, IMAGES, config, generator=noise(), **options)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": "tadros", "inhibition": 0.0},
        {"scaling": "data"},
        {"stop_when_silent": 8, "max_rate_hz": 150.0, "dc": 0.0},
        {"bias": "adapt"},
        {"bias": "ignore"},
    ],
    ids=["sigmoid", "tadros", "scaled", "silent", "adapting-biases", "ignored-biases"],
)
def test_is_the_original_sleep_bit_for_bit(backend: str, changes: dict[str, Any]) -> None:
    config = replace(CONFIG, backend=backend, **changes)
    model = network(bias="bias" in changes)
    found = replayed(model, config, frames=6)
    before = weights_of(model)
    frames: dict[int, Tensor] = {0: before[0]}

    def keep(step: int, state: SleepState) -> None:
        frames[step] = state.weights[0]

    slept = sleep(model, IMAGES, replace(config, record_every=1), generator=noise(), backend=backend, callback=keep)
    assert found.steps == slept.steps
    assert all(torch.equal(*pair) for pair in zip(found.weights, slept.weights, strict=True))
    assert [int(count.sum()) for count in found.counts] == slept.spike_counts.sum(dim=0).tolist()
    change = (slept.weights[0] - before[0]).norm(dim=1)
    assert change[found.strongest] == change.max() > 0
    for step, mean, unit in zip(found.frame_steps, found.mean_frames, found.unit_frames, strict=True):
        np.testing.assert_array_equal(mean, frames[step].mean(dim=0).numpy())
        np.testing.assert_array_equal(unit, frames[step][found.strongest].numpy())
    assert found.frame_steps[0] == 0
    assert found.frame_steps[-1] == slept.steps


def test_counts_the_spikes_of_every_unit() -> None:
    model = network()
    stimulus = torch.cat([block for block, _ in zip(spike_blocks(IMAGES, CONFIG, noise()), range(3), strict=False)])[:250]
    traced = simulate(weights_of(model), stimulus, CONFIG, alpha=CONFIG.alpha, beta=CONFIG.beta, record=("spikes",))
    assert traced.spikes is not None
    counts = replayed(model).counts
    assert [count.tolist() for count in counts] == [spikes.sum(dim=0).tolist() for spikes in traced.spikes]
    assert all(count.unique().numel() > 1 for count in counts)


@pytest.mark.parametrize(
    ("iterations", "frames", "steps"),
    [
        (250, 6, [0, 50, 100, 150, 200, 250]),
        (10, 4, [0, 3, 7, 10]),
        (3, 41, [0, 1, 2, 3]),
        (0, 41, [0]),
        (7, 2, [0, 7]),
    ],
)
def test_frames_are_evenly_spaced_with_both_ends(iterations: int, frames: int, steps: list[int]) -> None:
    model = network()
    found = replayed(model, replace(CONFIG, iterations=iterations), frames=frames)
    assert found.frame_steps == steps
    assert found.mean_frames.shape == found.unit_frames.shape == (len(steps), 25)
    np.testing.assert_array_equal(found.unit_frames[0], weights_of(model)[0][found.strongest].numpy())


def test_41_frames_unless_told() -> None:
    assert len(replayed(network()).frame_steps) == 41


@pytest.mark.parametrize("options", [{"rank": 3}, {"widths": [], "dropout": 0.0}], ids=["low-rank", "one layer"])
def test_other_networks(options: dict[str, Any]) -> None:
    config = CONFIG if "rank" in options else replace(CONFIG, alpha=[1.0], beta=[0.5])
    model = network(**options)
    found = replayed(model, config)
    slept = sleep(model, IMAGES, config, generator=noise())
    assert torch.equal(found.weights[0], slept.weights[0])
    np.testing.assert_array_equal(found.mean_frames[-1], slept.weights[0].mean(dim=0).numpy())


def test_a_carried_mean_image_drives_the_frames_too() -> None:
    mean = IMAGES.mean(dim=0).flatten()
    found = replay(network(), torch.zeros_like(IMAGES), CONFIG, generator=noise(), mean_image=mean)
    np.testing.assert_array_equal(found.mean_frames[-1], found.weights[0].mean(dim=0).numpy())
    assert found.counts[0].any()


def test_leaves_the_network_as_it_was_and_draws_what_the_sleep_drew() -> None:
    model, generator, other = network().train(), noise(), noise()
    before = weights_of(model)
    random = torch.get_rng_state()
    replay(model, IMAGES, CONFIG, generator=generator)
    assert all(torch.equal(*pair) for pair in zip(before, weights_of(model), strict=True))
    assert model.training
    sleep(model, IMAGES, CONFIG, generator=other)
    assert torch.equal(generator.get_state(), other.get_state())
    assert torch.equal(torch.get_rng_state(), random)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="frames=1 is too few"):
        replayed(network(), frames=1)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_sleep_shows_an_observer_every_step_once(backend: str) -> None:
    """The hook that replay builds on, also beside a callback and a silence that cut the stretches."""
    config = replace(CONFIG, record_every=7, stop_when_silent=30)
    model, plain = network(), network()
    shown: list[Tensor] = []
    spikes: list[Tensor] = []

    def observe(record: Any) -> None:
        shown.append(record.spike_counts.clone())
        spikes.append(torch.stack([layer.sum(dim=1) for layer in record.spikes], dim=1))

    result = sleep(model, IMAGES, config, generator=noise(), backend=backend, callback=lambda *_: None, observe=observe)
    sleep(plain, IMAGES, config, generator=noise(), backend=backend)
    assert max(map(len, shown)) <= BLOCK
    assert torch.equal(torch.cat(shown), result.spike_counts)
    assert torch.equal(torch.cat(spikes), result.spike_counts)
    assert all(torch.equal(*pair) for pair in zip(weights_of(model), weights_of(plain), strict=True))
