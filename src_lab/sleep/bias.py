"""What a bias is to a sleeping network: the weight of an input that is always 1.

Awake a layer computes a_l = relu(W_l a_{l-1} + b_l). Asleep the units of layer l-1 spike kappa_{l-1} times per step and
unit of activation, so that the mean weighted drive of layer l is alpha_l kappa_{l-1} W_l a_{l-1}, and the bias keeps its
share of it when it adds, at every step,

    alpha_l kappa_{l-1} b_l

This is the rule of the conversion of trained to spiking networks (Rueckauer et al. 2017, doi 10.3389/fnins.2017.00682,
b / lambda) with c_{l-1} / lambda_{l-1} = kappa_{l-1}, the spikes per step that one unit of activation stands for:

    kappa_0 = 2 dt max_rate m                        m the mean share of a pixel that the stimulus' mask keeps
    kappa_l = kappa_{l-1} alpha_l / (threshold beta_l)

the second because a unit that adds up its input until it reaches its threshold, and starts anew from 0, spikes as often
as the threshold goes into the input. Left out are the leak (`decay`), what a spike overshoots its threshold by, and
inhibition, all of which make units spike less, and that no unit spikes more than once a step.

How `sleep.bias` takes it:

    scaled  that drive; biases do not change
    adapt   the same, and the bias learns as the weight from a presynaptic unit of activation 1 would, which spikes with
            probability p = min(1, kappa_{l-1}): at every spike of its unit, by the mean of the two cases of the rule,
            b_i += (inc p - dec (1 - p)) f(b_i), f as in `src_lab.sleep.rules`
    ignore  no drive and no change, as if there were no biases: the network asleep is another one than awake
"""

import logging
from collections.abc import Sequence

from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep.config import SleepConfig
from src_lab.sleep.layers import SleepingLayer
from src_lab.sleep.stimulus import kept_share

log = logging.getLogger(__name__)


def sleeping_biases(layers: Sequence[SleepingLayer], config: SleepConfig) -> list[Tensor | None] | None:
    """Copies of the biases that take part in a sleep; None where no layer has any or `sleep.bias=ignore`, which is said."""
    biases = [layer.bias() for layer in layers]
    named = [layer.name for layer, bias in zip(layers, biases, strict=True) if bias is not None]
    if named and config.bias == "ignore":
        log.warning("sleep.bias=ignore: the biases of layers %s are left out asleep, and stay as they are", ", ".join(named))
    return biases if named and config.bias != "ignore" else None


def unit_rates(
    config: SleepConfig, alpha: Sequence[float], beta: Sequence[float], images: Tensor, mean_image: Tensor | None = None
) -> list[float]:
    """kappa_0 .. kappa_{L-1}: spikes per step and unit of activation of what feeds each of the L layers.

    images, mean_image  what shapes the noise, as in `sleep`

    Raises ConfigError as `require_positive` does.
    """
    require_positive(config, alpha, beta)
    rates = [2 * config.dt_s * config.max_rate_hz * kept_share(config, images, mean_image)]
    for gain, multiplier in zip(alpha[:-1], beta[:-1], strict=True):
        rates.append(rates[-1] * gain / (config.threshold * multiplier))
    return rates


def require_positive(config: SleepConfig, alpha: Sequence[float], beta: Sequence[float]) -> None:
    """Raise ConfigError when a layer before the last has a gain or threshold from which no rate of spikes follows."""
    for layer, (gain, multiplier) in enumerate(zip(alpha[:-1], beta[:-1], strict=True)):
        threshold = config.threshold * multiplier
        if not (gain > 0 and threshold > 0):
            raise ConfigError(
                f"sleep.bias={config.bias} needs positive gains and thresholds before the last layer, but layer {layer} has "
                f"alpha={gain:g} and threshold {threshold:g}: make both positive, or type sleep.bias=ignore"
            )
