"""Every number of a sleep, from its settings, the network and the images: gains, thresholds, steps, drive of biases."""

from collections.abc import Callable, Sequence
from itertools import islice
from math import ceil

import torch
from torch import Tensor, nn

from src_lab.evaluation import evaluating
from src_lab.sleep.backend import Biases, Parameters
from src_lab.sleep.bias import unit_rates
from src_lab.sleep.calibration import CALIBRATION_STEPS, calibrate
from src_lab.sleep.config import SleepConfig
from src_lab.sleep.layers import SleepingLayer
from src_lab.sleep.scaling import gains, normalization_factors, thresholds
from src_lab.sleep.stimulus import BLOCK, spike_blocks

BATCH = 1000
"""Images per forward pass when activations are measured."""


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
        found = calibrate(layers, biases, noise, images, config)
        factors = found.alpha
        if config.plasticity == "relative":
            steps = found.steps(config, gains(config, factors), beta)
    alpha = gains(config, factors)
    rates = unit_rates(config, alpha, beta, images) if biases is not None else ()
    return Parameters.of(config, alpha, beta, rates, steps)


def first_steps(
    steps: int, images: Tensor, config: SleepConfig, generator: torch.Generator, mean_image: Tensor | None
) -> Tensor:
    """The first input spikes (steps, n_0) of a sleep whose noise `generator` draws."""
    blocks = spike_blocks(images, config, generator, mean_image)
    return torch.cat(list(islice(blocks, ceil(steps / BLOCK))))[:steps]


def copied_generator(generator: torch.Generator) -> torch.Generator:
    return torch.Generator(generator.device).set_state(generator.get_state())


def _activation_maxima(model: nn.Module, layers: Sequence[SleepingLayer], images: Tensor) -> list[float]:
    """Highest activation of each layer on `images`, in evaluation mode: what the next layer of weights receives."""
    maxima = [float("-inf")] * len(layers)

    def watch(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            maxima[index] = max(maxima[index], inputs[0].max().item())

        return note

    hooks = [layer.module.register_forward_pre_hook(watch(index)) for index, layer in enumerate(layers[1:])]
    first = layers[0].weight()
    try:
        with evaluating(model), torch.inference_mode():
            for batch in torch.split(images, BATCH):
                outputs = model(batch.to(first.device, first.dtype))
                maxima[-1] = max(maxima[-1], outputs.max().item())
    finally:
        for hook in hooks:
            hook.remove()
    return maxima
