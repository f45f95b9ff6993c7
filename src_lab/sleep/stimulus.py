"""The noise that drives sleep: input spikes drawn from a masked mean image.

    P(spike of pixel j at step t) = min(1, 2 dt max_rate x_j(t)),   x(t) = mean image (t) * mask (t)

(Tadros et al. 2022, Methods.) As controls, the mean image may be shuffled or evened out (`sleep.stimulus.shape`). All
draws come from one CPU generator in blocks of a fixed number of steps, so the spikes depend on neither backend, device, nor
on how far a sleep goes: the first 500 steps of a longer one are the same.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep.config import Shape, SleepConfig, StimulusConfig

BLOCK = 100
"""Steps drawn at once: enough to spread the cost of a draw, little enough to keep memory at a few hundred kilobytes."""


def spike_blocks(
    images: Tensor, config: SleepConfig, generator: torch.Generator, mean_image: Tensor | None = None
) -> Iterator[Tensor]:
    """Endless blocks (BLOCK, n_0) bool of input spikes shaped like `images` (n, ...) with values in [0, 1].

    mean_image  (n_0,) replaces the mean of the images where one was carried along instead of the data
    generator   a CPU generator; every block draws the same number of values from it, a shuffle some more before the first

    Raises ConfigError when the mask does not fit the images or the generator is not on the CPU.
    """
    if generator.device.type != "cpu":
        raise ConfigError(
            f"generator is on {generator.device}: give torch.Generator() on the CPU, as its draws must not "
            "depend on the device"
        )
    sides = image_sides(images, config.stimulus)
    flat = images.detach().flatten(1).to("cpu", torch.float32)
    mean = flat.mean(dim=0) if mean_image is None else mean_image.detach().flatten().to("cpu", torch.float32)
    if mean.shape != flat.shape[1:]:
        raise ConfigError(f"mean_image has {len(mean)} values but the images have {flat.shape[1]}: give one value per pixel")
    keep = _keep(config, mean)
    per_step = None if mean_image is not None else config.stimulus.samples_per_step
    shape = _shaping(config.stimulus.shape, flat.shape[1], generator)
    while True:
        x = shape(mean if per_step is None else _drawn_means(flat, per_step, generator))
        mask = _masks(config.stimulus, keep, flat.shape[1], sides, generator)
        uniform = torch.rand(BLOCK, flat.shape[1], generator=generator)
        yield spikes_from_uniform(uniform, x * mask, config)


def spikes_from_uniform(uniform: Tensor, x: Tensor, config: SleepConfig) -> Tensor:
    """Spikes of the intensities `x` in [0, 1], given uniform draws of the same shape.

    uniform / (dt max_rate) / 2 <= x, written as both published programs round it.
    """
    return uniform * (1 / (config.dt_s * config.max_rate_hz)) / 2 <= x


def window_masks(rows: Tensor, columns: Tensor, window: int, sides: tuple[int, int]) -> Tensor:
    """Masks (T, height * width) bool keeping a `window` x `window` square with its upper corner at (rows, columns)."""
    height, width = sides
    inside_rows = _inside(rows, window, height)
    inside_columns = _inside(columns, window, width)
    return (inside_rows[:, :, None] & inside_columns[:, None, :]).flatten(1)


def image_sides(images: Tensor, config: StimulusConfig) -> tuple[int, int]:
    """Height and width of the images, square where they come flat. Only a window mask needs them.

    Raises ConfigError when the images are not images or smaller than the window.
    """
    if images.ndim < 2 or not len(images):
        raise ConfigError(
            f"images have shape {tuple(images.shape)}: give at least one image, (n, pixels) or (n, height, width)"
        )
    if config.mask != "window":
        return (0, 0)
    side = math.isqrt(images[0].numel())
    height, width = (int(images.shape[-2]), int(images.shape[-1])) if images.ndim > 2 else (side, side)
    if height * width != images[0].numel():
        raise ConfigError(
            f"sleep.stimulus.mask=window needs images of one channel, not {images[0].numel()} values: "
            "use sleep.stimulus.mask=pixel or sleep.stimulus.mask=none"
        )
    if config.window > min(height, width):
        raise ConfigError(
            f"sleep.stimulus.window={config.window} is larger than the {height} x {width} images: "
            f"allowed are 1 to {min(height, width)}, e.g. sleep.stimulus.window={max(1, min(height, width) * 11 // 28)}"
        )
    return height, width


def kept_share(config: SleepConfig, images: Tensor, mean_image: Tensor | None = None) -> float:
    """Share of a pixel that the mask keeps, on average over steps and pixels, for images as `spike_blocks` takes them."""
    stimulus = config.stimulus
    if stimulus.mask == "pixel":
        return _keep(config, images.flatten(1).mean(dim=0) if mean_image is None else mean_image)
    if stimulus.mask == "window":
        height, width = image_sides(images, stimulus)
        return stimulus.window**2 / (height * width)
    return 1.0


def _keep(config: SleepConfig, mean: Tensor) -> float:
    """The share of pixels that a pixel mask keeps of the mean image: `keep`, or what brings `spikes` spikes a step."""
    stimulus = config.stimulus
    if stimulus.spikes is None:
        return stimulus.keep
    whole = float(_probability(mean.double(), config).sum())
    return min(1.0, stimulus.spikes / whole) if whole else 1.0


def _probability(x: Tensor, config: SleepConfig) -> Tensor:
    """min(1, 2 dt max_rate x), of pixels of intensity `x`."""
    return (2 * config.dt_s * config.max_rate_hz * x).clamp(max=1)


def _drawn_means(flat: Tensor, count: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(len(flat), (BLOCK, count), generator=generator)
    return flat[drawn].mean(dim=1)


def _shaping(shape: Shape, pixels: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """What turns mean images (.., pixels) into those of `shape`: one function for a whole sleep."""
    if shape == "shuffled":
        order = torch.randperm(pixels, generator=generator)
        return lambda x: x[..., order]
    if shape == "uniform":
        return lambda x: x.mean(dim=-1, keepdim=True).expand_as(x)
    return lambda x: x


def _masks(
    config: StimulusConfig, keep: float, pixels: int, sides: tuple[int, int], generator: torch.Generator
) -> Tensor | int:
    if config.mask == "pixel":
        return torch.rand(BLOCK, pixels, generator=generator) < keep
    if config.mask == "window":
        rows = torch.randint(sides[0] - config.window + 1, (BLOCK,), generator=generator)
        columns = torch.randint(sides[1] - config.window + 1, (BLOCK,), generator=generator)
        return window_masks(rows, columns, config.window, sides)
    return 1


def _inside(corners: Tensor, window: int, side: int) -> Tensor:
    offsets = torch.arange(side) - corners[:, None]
    return (offsets >= 0) & (offsets < window)
