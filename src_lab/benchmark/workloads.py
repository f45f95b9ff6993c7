"""What sleeps in a benchmark: a run's own network and stimulus, or random networks of any width."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src_lab.config import RunConfig
from src_lab.data import Stream, load_stream
from src_lab.files import replacing
from src_lab.methods import METHODS, Context
from src_lab.rng import generator
from src_lab.sleep import SleepConfig, SleepResult, simulate_batch
from src_lab.sleep.bias import sleeping_biases
from src_lab.sleep.chain import find_layers
from src_lab.sleep.preparation import sleeping_parameters
from src_lab.sleep.stimulus import BLOCK, spike_blocks

INPUTS, OUTPUTS = 784, 10
INPUT_RATE = 0.05
"""Share of the inputs of a synthetic workload that spike in a step."""
CALIBRATION_STEPS = 50


@dataclass(frozen=True)
class Workload:
    """What sleeps: networks of equal sizes, and for all of them the input spikes (T, n_0), settings, alpha and beta."""

    networks: list[list[Tensor]]
    input_spikes: Tensor
    config: SleepConfig
    alpha: list[float]
    beta: list[float]

    @property
    def weight_bytes(self) -> int:
        """Bytes of one network's weights."""
        return sum(w.numel() * w.element_size() for w in self.networks[0])

    def run(self, backend: str, steps: int, record: Sequence[str] = ()) -> list[SleepResult]:
        """Sleep through the first `steps` input spikes."""
        inputs = self.input_spikes[:steps]
        return simulate_batch(
            self.networks, inputs, self.config, alpha=self.alpha, beta=self.beta, backend=backend, record=record
        )

    def to(self, device: str) -> "Workload":
        return replace(self, networks=[[w.to(device) for w in network] for network in self.networks])


Recipe = Callable[[], Workload]
"""Makes a workload where it is measured, so that nothing large passes between processes."""


def trained_network(config: RunConfig, cache: Path) -> tuple[nn.Module, Stream]:
    """The network of `config` after learning its first task, from `cache` if it has been trained before."""
    stream = load_stream(config.dataset, config.seed)
    context = Context(config.model, config.train, stream, config.seed, torch.device("cpu"))
    method = METHODS[config.method.name](context, config.method)
    file = cache / f"{config.run_id}-task0.safetensors"
    if file.exists():
        method.network.load_state_dict({name: w.clone() for name, w in load_file(file).items()})
    else:
        method.learn(stream.tasks[0])
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial_file:
            save_file(method.network.state_dict(), partial_file)
    return method.network, stream


def trained_workload(config: RunConfig, cache: Path, steps: int) -> Workload:
    """The first sleep of the run `config`, as its network and its stimulus come to it."""
    network, stream = trained_network(config, cache)
    images = stream.tasks[0].train.images.view(-1, *stream.image_shape)
    layers = find_layers(network)
    weights = [layer.weight() for layer in layers]
    draw = generator(config.seed, "sleep", 0)
    parameters = sleeping_parameters(network, layers, sleeping_biases(layers, config.sleep), images, config.sleep, draw)
    blocks = spike_blocks(images, config.sleep, draw)
    inputs = torch.cat(list(islice(blocks, math.ceil(steps / BLOCK))))[:steps]
    return Workload(
        [[w.detach().clone() for w in weights]], inputs, config.sleep, list(parameters.alpha), list(parameters.beta)
    )


def synthetic_workload(width: int, networks: int, spikes: int, steps: int) -> Workload:
    """Random networks 784-width-width-10 in whose hidden layers about `spikes` units spike per step, whatever the width.

    Potentials are memoryless (decay 0), so that thresholds can be read off them; changes of weight are so small that the
    activity stays.
    """
    sizes = [INPUTS, width, width, OUTPUTS]
    draw = generator(0, "benchmark", width)
    inputs = torch.rand(steps, INPUTS, generator=draw) < INPUT_RATE
    stacks = [
        [torch.empty(n_out, n_in).uniform_(-0.05, 0.05, generator=draw) for n_in, n_out in pairwise(sizes)]
        for _ in range(networks)
    ]
    config = SleepConfig(decay=0.0, inc=1e-5, dec=1e-6)
    beta = _thresholds(stacks[0], inputs[:CALIBRATION_STEPS], [spikes, spikes, 1])
    return Workload(stacks, inputs, config, [1.0] * len(beta), beta)


def _thresholds(weights: Sequence[Tensor], inputs: Tensor, spikes_per_step: Sequence[int]) -> list[float]:
    """Thresholds at which so many units of each layer spike per step on average, without memory and without learning."""
    thresholds, presynaptic = [], inputs.float()
    for w, spikes in zip(weights, spikes_per_step, strict=True):
        potentials = presynaptic @ w.T
        highest = potentials.flatten().topk(spikes * len(inputs) + 1).values
        thresholds.append(highest[-2:].mean().item())
        presynaptic = (potentials >= thresholds[-1]).float()
    return thresholds
