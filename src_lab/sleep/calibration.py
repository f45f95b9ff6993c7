"""Thresholds from the network itself (`sleep.scaling=target_rate`), and changes of weights as shares of its activity.

Without leak a unit that adds up the input I(t) and starts anew from 0 when it reaches its threshold spikes mean(I) g / theta
times a step: only the ratio of gain g = alpha to threshold theta matters, and every layer has one ratio at which its units
spike, on average, `target_rate` times a step. It is found layer by layer, from the first, by bisection over g: the layer,
with its leak, inhibition, biases and all, is fed CALIBRATION_STEPS steps of the very stimulus that it will sleep to, weights
held, and its spikes feed the next. No labels, no old data, nothing that the sleep itself does not see.

`sleep.plasticity=relative` measures `inc` and `dec` in what the noise makes of them. With p_j the share of steps at which
presynaptic unit j spikes in the calibration, one spike of a unit changes the mean input that the same noise causes later by

    + inc_l f sum_j p_j^2   - dec_l f sum_j p_j (1 - p_j)

and in a sleep of T steps a unit of mean input I spikes T I g / theta times. So that the sleep takes away the share `dec` of
I, and adds the share `inc`, to first order, whatever the width, the weights' size, the rate and the length of the sleep:

    inc_l = inc theta / (g T f(0) sum_j p_j^2)        dec_l = dec theta / (g T f(0) sum_j p_j (1 - p_j))

`sleep.dissimilarity` multiplies both by that power of 1 - c_l, where c_l is the mean cosine between what two images bring
about in the activity that feeds layer l, awake: the more all images have in common there, as in higher layers, the less can
be taken from all of them without taking what tells them apart. `sleep.similarity` multiplies the shares of all layers by
that power of c of the images themselves: what they have in common is what a sleep takes away. `sleep.least_dissimilarity`
= e multiplies those of all layers by sqrt((1 - c_L) / e) where 1 - c_L, that of what feeds the outputs, is less than e: a
network in which images hardly differ by the time they reach the outputs, as deep ones that were trained briefly, can spare
less anywhere. That these help was found by trial (docs/best_sleep.md).

Source: ours; thresholds from firing rates are an old idea of network conversion (Diehl et al. 2015), the shares are new.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src_lab.sleep.backend import Biases
from src_lab.sleep.bias import unit_rates
from src_lab.sleep.config import SleepConfig
from src_lab.sleep.layers import SleepingLayer
from src_lab.sleep.rules import RULES

CALIBRATION_STEPS = 200
BISECTIONS = 30
AT_ONCE = {"cpu": 1, "cuda": 5}
"""By device: bisections for which all gains that they may come to are tried side by side. On a GPU only latency costs."""
WIDEST = 1e9
"""Between a gain at which no unit ever spikes and WIDEST times it, the bisection looks."""
LARGEST = 1e12
"""Gain, per unit of threshold, of a layer that nothing excites."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """What a calibration found, per layer.

    alpha    input gain, for a threshold multiplier of 1
    shared   sum_j p_j^2 over the inputs of a unit, the mean over positions in a convolution
    unshared sum_j p_j (1 - p_j)
    """

    alpha: list[float]
    shared: list[float]
    unshared: list[float]

    def steps(
        self, config: SleepConfig, alpha: Sequence[float], beta: Sequence[float], factors: Sequence[float]
    ) -> list[tuple[float, float]]:
        """inc_l and dec_l of each layer for a sleep of `config.iterations` steps with these gains and thresholds.

        factors  of the shares, one per layer
        """
        neutral = float(RULES[config.rule](torch.zeros(1, dtype=torch.float64)))
        inc, dec = config.per_layer("inc", len(alpha)), config.per_layer("dec", len(alpha))
        found = []
        for layer, (gain, multiplier) in enumerate(zip(alpha, beta, strict=True)):
            unit = factors[layer] * config.threshold * multiplier / (gain * max(1, config.iterations) * neutral)
            inputs = ((inc[layer], self.shared[layer]), (dec[layer], self.unshared[layer]))
            plus, minus = (share * unit / active if active else 0.0 for share, active in inputs)
            found.append((plus, minus))
        return found


def calibrate(
    layers: Sequence[SleepingLayer],
    biases: Biases | None,
    stimulus: Tensor,
    images: Tensor,
    config: SleepConfig,
    mean_image: Tensor | None = None,
) -> Calibration:
    """Gains at which each layer spikes `config.target_rate` times per unit and step on `stimulus` (T, n_0).

    images      (n, ...), for the shape that a convolution needs and, with biases, the share of pixels that the mask keeps
    mean_image  as in `sleep`
    """
    targets = config.per_layer("target_rate", len(layers))
    found = Calibration([], [], [])
    spikes = stimulus.view(len(stimulus), *images.shape[1:])
    for index, layer in enumerate(layers):
        weight = layer.weight()
        states = layer.fed(spikes.to(weight))
        shared, unshared = _overlaps(layer, states)
        drive = layer.sums(states)
        if config.inhibition:
            drive -= config.inhibition * drive.flatten(1).mean(dim=1).view(-1, *[1] * (drive.ndim - 1))
        bias = None if biases is None else biases[index]
        if bias is not None:
            kappa = unit_rates(config, [*found.alpha, 1.0], [1.0] * (index + 1), images, mean_image)[-1]
            drive += kappa * bias.view(-1, *[1] * (drive.ndim - 2))
        dc = config.dc if index == len(layers) - 1 else 0.0
        gain = _gain(drive, targets[index], dc, config, layer.name)
        found.alpha.append(gain)
        found.shared.append(shared)
        found.unshared.append(unshared)
        spikes = torch.cat(list(_stepwise(drive, [gain], dc, config)))
    return found


def _overlaps(layer: SleepingLayer, states: Tensor) -> tuple[float, float]:
    """sum_j p_j^2 and sum_j p_j (1 - p_j)."""
    inputs, _ = layer.columns(states.double().mean(dim=0, keepdim=True))
    shared = float(inputs.square().sum(dim=0).mean())
    return shared, float(inputs.sum(dim=0).mean()) - shared


def _gain(drive: Tensor, target: float, dc: float, config: SleepConfig, name: str) -> float:
    """The largest gain, to 10 digits, at which no more than `target` of the units spike per step.

    Where no gain brings the layer to it, as most of its units are inhibited, half of what can be reached is taken, and said:
    a sleep in which one layer is quieter than asked for is still a sleep.
    """
    low = config.threshold / max(float(drive.clamp(min=0).sum(dim=0).max()), config.threshold / LARGEST) / 2
    high = low * WIDEST
    [reachable] = _rates(drive, [high], dc, config)
    if reachable < target:
        log.warning(
            "sleep.target_rate=%g cannot be reached in layer %s, whose units spike at most %.3g times a step on this "
            "stimulus: taking half of that",
            target,
            name,
            reachable,
        )
        target = reachable / 2
    depth = AT_ONCE.get(drive.device.type, 1)
    for _ in range(BISECTIONS // depth):
        gains = _middles(low, high, depth)
        rates = _rates(drive, gains, dc, config)
        first, last = 0, len(gains)  # of the gains that lie between low and high
        for _ in range(depth):
            middle = (first + last) // 2
            if rates[middle] > target:
                last, high = middle, gains[middle]
            else:
                first, low = middle + 1, gains[middle]
    return low


def _middles(low: float, high: float, depth: int) -> list[float]:
    """Every gain that `depth` bisections between these two may come to, ascending."""
    if not depth:
        return []
    middle = math.sqrt(low * high)
    return [*_middles(low, middle, depth - 1), middle, *_middles(middle, high, depth - 1)]


def _rates(drive: Tensor, gains: Sequence[float], dc: float, config: SleepConfig) -> list[float]:
    """Spikes per unit and step of the layer with each of these gains."""
    counts = torch.zeros(len(gains), *drive.shape[1:], dtype=torch.int32, device=drive.device)
    for spikes in _stepwise(drive, gains, dc, config):
        counts += spikes
    return (counts.flatten(1).sum(dim=1).double() / drive.numel()).tolist()


def _stepwise(drive: Tensor, gains: Sequence[float], dc: float, config: SleepConfig) -> Iterator[Tensor]:
    """Spikes (gains, units ...), step by step, of a layer that is driven by `drive` (T, units ...) and learns nothing."""
    several = drive.new_tensor(gains).view(-1, *[1] * (drive.ndim - 1))
    v = drive.new_zeros(len(gains), *drive.shape[1:])
    for impulse in drive:
        v.mul_(config.decay).addcmul_(several, impulse).add_(dc)
        spikes = v >= config.threshold
        v.masked_fill_(spikes, 0)  # not v[spikes] = 0, which makes the host wait for a GPU
        yield spikes
