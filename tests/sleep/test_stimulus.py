"""The noise that drives sleep: its statistics, its masks, and that it depends on the generator alone."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, StimulusConfig
from src_lab.sleep.stimulus import BLOCK, kept_share, spike_blocks

EVERY_TIME = SleepConfig(max_rate_hz=1000.0)
"""2 dt max_rate = 2: a pixel of intensity 1/2 or more spikes whenever the mask lets it."""
AS_IT_IS = SleepConfig(max_rate_hz=500.0)
"""2 dt max_rate = 1: a pixel spikes with the probability of its intensity."""


def drawn(images: Tensor, config: SleepConfig, steps: int, seed: int = 0, mean_image: Tensor | None = None) -> Tensor:
    """The first `steps` rows of the stimulus, a multiple of BLOCK."""
    blocks = spike_blocks(images, config, torch.Generator().manual_seed(seed), mean_image)
    return torch.cat(list(islice(blocks, steps // BLOCK)))


def with_stimulus(config: SleepConfig, **changes: object) -> SleepConfig:
    plain = StimulusConfig(samples_per_step=None, mask="none")
    return replace(config, stimulus=replace(plain, **changes))  # type: ignore[arg-type]


def assert_rate(rate: float, expected: float, draws: int) -> None:
    """Within five standard errors, and exactly where nothing is left to chance."""
    assert abs(rate - expected) <= 5 * math.sqrt(expected * (1 - expected) / draws)


@pytest.mark.parametrize("max_rate_hz", [100.0, 239.515363, 2000.0])
def test_a_pixel_spikes_with_twice_dt_times_rate_times_its_intensity(max_rate_hz: float) -> None:
    intensities = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.9, 1.0])
    config = replace(with_stimulus(AS_IT_IS), max_rate_hz=max_rate_hz, dt_s=0.0005)
    spikes = drawn(intensities.repeat(3, 1), config, 20_000)
    assert spikes.dtype == torch.bool
    for rate, x in zip(spikes.double().mean(dim=0).tolist(), intensities.tolist(), strict=True):
        assert_rate(rate, min(1.0, 2 * 0.0005 * max_rate_hz * x), 20_000)


@pytest.mark.parametrize(
    "stimulus", [{}, {"mask": "pixel"}, {"mask": "window", "window": 3}, {"mask": "pixel", "samples_per_step": 2}]
)
def test_a_longer_sleep_starts_with_the_same_spikes_and_another_seed_does_not(stimulus: dict[str, object]) -> None:
    images = torch.rand(5, 64, generator=torch.Generator().manual_seed(1))
    config = with_stimulus(AS_IT_IS, **stimulus)
    long = drawn(images, replace(config, iterations=400), 400)
    assert torch.equal(drawn(images, replace(config, iterations=100), 100), long[:100])
    assert not torch.equal(drawn(images, config, 100, seed=1), long[:100])
    assert not torch.equal(long[:100], long[100:200])


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    images, config = torch.rand(5, 64), with_stimulus(AS_IT_IS, mask="pixel", samples_per_step=3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = drawn(images, config, 100)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(drawn(images, config, 100), first)


@pytest.mark.parametrize("mean_image", [None, torch.full((100,), 0.4)])
@pytest.mark.parametrize(("wanted", "keep"), [(2.0, 0.05), (20.0, 0.5), (40.0, 1.0), (90.0, 1.0)])
def test_a_step_has_the_wanted_number_of_input_spikes_as_far_as_there_are_pixels(
    wanted: float, keep: float, mean_image: Tensor | None
) -> None:
    images = torch.full((3, 100), 0.4 if mean_image is None else 0.9)
    config = with_stimulus(AS_IT_IS, mask="pixel", spikes=wanted, keep=0.123)
    assert kept_share(config, images, mean_image) == pytest.approx(keep)
    rate = drawn(images, config, 5_000, mean_image=mean_image).double().mean().item()
    assert_rate(rate, min(wanted, 40) / 100, 500_000)


def test_pixels_that_spike_at_every_step_count_once() -> None:
    images = torch.cat([torch.ones(2, 50), torch.zeros(2, 50)], dim=1)
    assert kept_share(with_stimulus(EVERY_TIME, mask="pixel", spikes=25.0), images) == pytest.approx(0.5)
    assert kept_share(with_stimulus(EVERY_TIME, mask="pixel", spikes=25.0), torch.zeros(2, 50)) == 1.0


@pytest.mark.parametrize("keep", [0.0, 0.25, 0.8, 1.0])
def test_a_pixel_mask_keeps_its_share_of_the_pixels_anew_at_each_step(keep: float) -> None:
    spikes = drawn(torch.ones(2, 50), with_stimulus(EVERY_TIME, mask="pixel", keep=keep), 4_000).double()
    assert_rate(spikes.mean().item(), keep, 200_000)
    for rate in spikes.mean(dim=0).tolist():
        assert_rate(rate, keep, 4_000)


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (784,)])
def test_a_window_is_11_by_11_lies_in_the_image_and_reaches_every_corner(shape: tuple[int, ...]) -> None:
    masks = drawn(torch.ones(2, *shape), with_stimulus(EVERY_TIME, mask="window"), 1_500).view(-1, 28, 28)
    assert torch.all(masks.sum(dim=(1, 2)) == 121)
    for axis in (2, 1):
        side = masks.any(dim=axis)
        corners = side.int().argmax(dim=1)
        assert torch.all(side.sum(dim=1) == 11)
        counts = torch.bincount(corners, minlength=18)
        assert len(counts) == 18
        for count in counts.tolist():
            assert_rate(count / 1_500, 1 / 18, 1_500)


def test_rows_and_columns_of_a_window_are_drawn_apart() -> None:
    masks = drawn(torch.ones(1, 28, 28), with_stimulus(EVERY_TIME, mask="window"), 1_500).view(-1, 28, 28)
    rows, columns = (masks.any(dim=axis).int().argmax(dim=1).double() for axis in (2, 1))
    assert abs(torch.corrcoef(torch.stack([rows, columns]))[0, 1].item()) < 5 / math.sqrt(1_500)


def test_a_window_on_images_that_are_not_square() -> None:
    masks = drawn(torch.ones(2, 6, 3), with_stimulus(EVERY_TIME, mask="window", window=3), 500).view(-1, 6, 3)
    assert torch.all(masks.sum(dim=(1, 2)) == 9)
    assert set(masks.any(dim=2).int().argmax(dim=1).tolist()) == {0, 1, 2, 3}


def test_a_window_hides_what_is_outside_and_nothing_inside() -> None:
    image = torch.zeros(1, 28, 28)
    image[0, 5, 20] = 1
    spikes = drawn(image, with_stimulus(EVERY_TIME, mask="window"), 1_500).view(-1, 28, 28)
    assert spikes.any(dim=0).nonzero().tolist() == [[5, 20]]
    # Corners 0..5 of 18 cover row 5; corners 10..17 cover column 20.
    assert_rate(spikes[:, 5, 20].double().mean().item(), 6 / 18 * 8 / 18, 1_500)


@pytest.mark.parametrize(
    ("samples_per_step", "levels"),
    [(1, {0.0: 1 / 2, 1.0: 1 / 2}), (2, {0.0: 1 / 4, 0.5: 1 / 2, 1.0: 1 / 4}), (None, {0.5: 1.0})],
)
def test_images_are_averaged_as_many_per_step_drawn_with_replacement(
    samples_per_step: int | None, levels: dict[float, float]
) -> None:
    """One black and one white image: the share of a step's pixels that spike tells which were drawn."""
    images = torch.stack([torch.zeros(4_000), torch.ones(4_000)])
    spikes = drawn(images, with_stimulus(AS_IT_IS, samples_per_step=samples_per_step), 1_000)
    met = [round(2 * rate) / 2 for rate in spikes.double().mean(dim=1).tolist()]
    for rate, level in zip(spikes.double().mean(dim=1).tolist(), met, strict=True):
        assert_rate(rate, level, 4_000)
    assert set(met) == set(levels)
    for level, share in levels.items():
        assert_rate(met.count(level) / 1_000, share, 1_000)


@pytest.mark.parametrize("mask", ["none", "pixel", "window"])
def test_a_carried_mean_image_replaces_the_images(mask: str) -> None:
    images = torch.rand(7, 6, 6, generator=torch.Generator().manual_seed(3))
    everything = with_stimulus(AS_IT_IS, mask=mask, window=3)
    some = with_stimulus(AS_IT_IS, mask=mask, window=3, samples_per_step=2)
    mean = images.mean(dim=0)
    expected = drawn(images, everything, 200)
    for carried in (mean, mean.flatten(), mean.double()):
        assert torch.equal(drawn(torch.zeros(1, 6, 6), some, 200, mean_image=carried), expected)


def test_neither_dtype_nor_layout_of_the_images_matters() -> None:
    images = torch.rand(7, 6, 6, generator=torch.Generator().manual_seed(3))
    expected = drawn(images, AS_IT_IS, 200)
    strided = images.transpose(1, 2).contiguous().transpose(1, 2)
    for same in (images.double(), images.unsqueeze(1), images.flatten(1), strided):
        assert torch.equal(drawn(same, AS_IT_IS, 200), expected)


@pytest.mark.parametrize(
    ("shape", "stimulus", "message"),
    [
        ((3, 8, 8), {"mask": "window"}, "sleep.stimulus.window=11 is larger than the 8 x 8 images: allowed are 1 to 8"),
        ((3, 20, 10), {"mask": "window"}, "sleep.stimulus.window=11 is larger than the 20 x 10 images"),
        ((3, 64), {"mask": "window"}, "sleep.stimulus.window=11 is larger than the 8 x 8 images"),
        ((3, 3, 32, 32), {"mask": "window"}, "needs images of one channel, not 3072 values"),
        ((3, 65), {"mask": "window"}, "needs images of one channel, not 65 values"),
        ((0, 64), {}, "images have shape (0, 64): give at least one image"),
        ((64,), {}, "images have shape (64,): give at least one image"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(
    shape: tuple[int, ...], stimulus: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        drawn(torch.ones(shape), with_stimulus(EVERY_TIME, **stimulus), 100)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mean_image_of_another_size_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        drawn(torch.ones(3, 64), EVERY_TIME, 100, mean_image=torch.ones(63))
    assert str(caught.value) == "mean_image has 63 values but the images have 64: give one value per pixel"
