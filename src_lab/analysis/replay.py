"""A sleep repeated, to look inside: how often every unit fired, and how the first layer's weights came to be."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, sleep
from src_lab.sleep.backend import Backend, Record
from src_lab.sleep.bias import sleeping_biases
from src_lab.sleep.chain import find_layers
from src_lab.sleep.preparation import sleeping_parameters
from src_lab.sleep.simulate import begin
from src_lab.sleep.spatial import is_spatial
from src_lab.sleep.stimulus import spike_blocks


@dataclass(frozen=True)
class Replay:
    """What happened in a sleep of `steps` steps.

    counts        L tensors (n_l,) int64, spikes of each unit
    weights       L tensors (n_l, n_{l-1}), at the end
    frame_steps   steps slept at each frame, ascending: evenly spaced, the first 0, the last `steps`
    mean_frames   (frames, pixels), incoming weights averaged over the units of layer 1
    strongest     the unit of layer 1 whose incoming weights this sleep changed most: highest ||w_after - w_before||,
                  the first among equals
    unit_frames   (frames, pixels), the incoming weights of that unit
    """

    steps: int
    counts: list[Tensor]
    weights: list[Tensor]
    frame_steps: list[int]
    mean_frames: NDArray[np.floating]
    strongest: int
    unit_frames: NDArray[np.floating]


def replay(
    network: nn.Module,
    images: Tensor,
    config: SleepConfig,
    *,
    generator: torch.Generator,
    mean_image: Tensor | None = None,
    frames: int = 41,
) -> Replay:
    """Put a copy of `network` to sleep as `sleep` does, on `config.backend`, and watch.

    Arguments as of `sleep`: with the network of before and a generator of equal state the weights are those of that sleep,
    bit for bit. The sleep always goes to its end: `keep_best` is not heeded. `network` is left as it was. Where a
    surrogate took the place of what was learned (`sleep.change`), what was learned is shown.

    Which unit is the strongest shows only at the end, and all weights of layer 1 at every frame would be too many to keep
    till then. But a layer knows nothing of the later ones: after the sleep, layer 1 alone goes through it once more.

    frames   how many, two at least; fewer where the sleep has fewer steps

    Raises ConfigError as `sleep` does, and for fewer than two frames.
    """
    if frames < 2:
        raise ConfigError(f"frames={frames} is too few: give at least 2, one before and one after the sleep")
    config = replace(config, change="learned")
    layers = find_layers(network)
    if is_spatial(layers):
        raise ConfigError("a sleep of a network with convolutions cannot be replayed unit by unit: see its trace instead")
    before = [layer.weight() for layer in layers]
    again = torch.Generator().set_state(generator.get_state())
    counts = [torch.zeros(len(weight), dtype=torch.int64) for weight in before]

    def count(record: Record) -> None:
        for total, spikes in zip(counts, record.spikes, strict=True):
            total += spikes.sum(dim=0)

    slept = sleep(
        copy.deepcopy(network),
        images,
        config,
        generator=generator,
        backend=config.backend,
        mean_image=mean_image,
        observe=count,
    )
    strongest = int((slept.weights[0] - before[0]).norm(dim=1).argmax())
    at = np.unique(np.linspace(0, slept.steps, frames).round().astype(int)).tolist()
    biases = sleeping_biases(layers, config)
    alone = sleeping_parameters(network, layers, biases, images, config, again, mean_image).first_layer()
    first = begin(before[:1], alone, config.backend, biases and biases[:1])
    weights = _at_steps(first, before[0], at, spike_blocks(images, config, again, mean_image))
    kept = [(weight.mean(dim=0).cpu().numpy(), weight[strongest].cpu().numpy()) for weight in weights]
    mean_frames, unit_frames = (np.stack(part) for part in zip(*kept, strict=True))
    return Replay(slept.steps, counts, slept.weights, at, mean_frames, strongest, unit_frames)


def _at_steps(asleep: Backend, before: Tensor, steps: Sequence[int], stimulus: Iterator[Tensor]) -> Iterator[Tensor]:
    """The weights of a sleeping layer at each of the `steps`, which ascend from 0."""
    block, used, now = torch.empty(0), 0, 0
    for step in steps:
        while now < step:
            if used == len(block):
                block, used = next(stimulus), 0
            stretch = min(len(block) - used, step - now)
            asleep.advance(block[used : used + stretch], Record.empty(stretch, [before]))
            used, now = used + stretch, now + stretch
        yield asleep.weights()[0]
