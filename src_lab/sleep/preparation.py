"""Every number of a sleep, from its settings, the network and the images: gains, thresholds, steps, drive of biases."""

from collections.abc import Sequence
from itertools import islice
from math import ceil

import torch
from torch import Tensor, nn

from src_lab.sleep.backend import Biases, Parameters
from src_lab.sleep.bias import unit_rates
from src_lab.sleep.calibration import CALIBRATION_STEPS, calibrate
from src_lab.sleep.config import SleepConfig
from src_lab.sleep.feeds import feeds_of
from src_lab.sleep.layers import SleepingLayer
from src_lab.sleep.scaling import gains, normalization_factors, thresholds
from src_lab.sleep.stimulus import BLOCK, spike_blocks

SAMPLE = 1000
"""Images from which similarities are measured: spread over all of them, which may come sorted by class."""


def sleeping_parameters(
    model: nn.Module,
    layers: Sequence[SleepingLayer],
    biases: Biases | None,
    images: Tensor,
    config: SleepConfig,
    generator: torch.Generator,
    mean_image: Tensor | None = None,
) -> Parameters:
    """Every number of a sleep: gains and thresholds as `config.scaling` has them, and what follows from these.

    biases  those that take part (`sleeping_biases`)

    Draws nothing from `generator`: a calibration sees the steps that the sleep will see, from a copy of it.
    """
    factors, steps = [1.0] * len(layers), None
    if config.scaling == "data":
        maxima = _activation_maxima(model, layers, images)
        factors = normalization_factors([layer.weight().max().item() for layer in layers], maxima)
    beta = thresholds(config, len(layers))
    if config.scaling == "target_rate":
        noise = first_steps(CALIBRATION_STEPS, images, config, copied_generator(generator), mean_image)
        found = calibrate(layers, biases, noise, images, config, mean_image)
        factors = found.alpha
        if config.plasticity == "relative":
            shares = [1.0] * len(layers)
            if config.dissimilarity or config.similarity or config.least_dissimilarity:
                shares = _shares(config, dissimilarities(model, layers, images))
            steps = found.steps(config, gains(config, factors), beta, shares)
    alpha = gains(config, factors)
    rates = unit_rates(config, alpha, beta, images, mean_image) if biases is not None else ()
    return Parameters.of(config, alpha, beta, rates, steps)


def _shares(config: SleepConfig, apart: Sequence[float]) -> list[float]:
    """The part of `inc` and `dec` that each layer has, from what its images have not in common; all of it at most."""
    unit = apart[0] if config.dissimilarity_unit == "input" else 1.0
    least = config.least_dissimilarity
    spared = min(1.0, apart[-1] / least) ** 0.5 if least else 1.0
    common = max(0.0, 1 - apart[0]) ** config.similarity
    return [common * spared * min(1.0, each / unit) ** config.dissimilarity if unit else 0.0 for each in apart]


def first_steps(
    steps: int, images: Tensor, config: SleepConfig, generator: torch.Generator, mean_image: Tensor | None
) -> Tensor:
    """The first input spikes (steps, n_0) of a sleep whose noise `generator` draws."""
    blocks = spike_blocks(images, config, generator, mean_image)
    return torch.cat(list(islice(blocks, ceil(steps / BLOCK))))[:steps]


def copied_generator(generator: torch.Generator) -> torch.Generator:
    return torch.Generator(generator.device).set_state(generator.get_state())


def dissimilarities(model: nn.Module, layers: Sequence[SleepingLayer], images: Tensor) -> list[float]:
    """1 - c of each layer: c is the mean cosine between what two of at most SAMPLE images (n, ...) feed it; 1 below two."""
    chosen = images[:: max(1, len(images) // SAMPLE)][:SAMPLE]
    directions: list[list[Tensor]] = [[] for _ in layers]
    for feeds in feeds_of(model, layers, chosen):
        for found, feed in zip(directions, feeds, strict=True):
            active = feed.flatten(1).double()
            found.append(active[active.any(dim=1)])
    return [max(0.0, 1 - _mean_cosine(torch.cat(found))) for found in directions]


def _mean_cosine(activities: Tensor) -> float:
    """Of all pairs of different rows (n, units), none of which is 0."""
    n = len(activities)
    if n < 2:
        return 0.0
    units = torch.nn.functional.normalize(activities, dim=1)
    return (float(units.sum(dim=0).square().sum()) - n) / (n * (n - 1))


def _activation_maxima(model: nn.Module, layers: Sequence[SleepingLayer], images: Tensor) -> list[float]:
    """Highest activation of each layer on `images`, in evaluation mode: what the next layer of weights receives."""
    maxima = [float("-inf")] * len(layers)
    for _, *activities in feeds_of(model, layers, images, with_outputs=True):
        maxima = [max(maximum, activity.max().item()) for maximum, activity in zip(maxima, activities, strict=True)]
    return maxima
