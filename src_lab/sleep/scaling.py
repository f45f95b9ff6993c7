"""Input gains alpha and threshold multipliers beta of a network about to sleep."""

from collections.abc import Sequence

from src_lab.settings import ConfigError
from src_lab.sleep.config import SleepConfig


def normalization_factors(weight_maxima: Sequence[float], activation_maxima: Sequence[float]) -> list[float]:
    """Factor of each layer by the published data normalisation (MATLAB program, after Diehl et al. 2015).

    With prev = 1, for each layer l:  scale = max(max W_l, max a_l, 0),  applied = scale / prev,
    factor_l = 1 / applied,  prev = applied (not scale).

    Raises ConfigError for a layer whose scale is 0, for which the formula has no factor.
    """
    factors: list[float] = []
    previous = 1.0
    for layer, maxima in enumerate(zip(weight_maxima, activation_maxima, strict=True)):
        applied = max(*maxima, 0.0) / previous
        if not applied:
            raise ConfigError(
                f"sleep.scaling=data cannot be used: layer {layer} has no positive weight or activation on the images; "
                "set sleep.scaling=fixed and sleep.alpha"
            )
        factors.append(1 / applied)
        previous = applied
    return factors


def gains(config: SleepConfig, factors: Sequence[float]) -> list[float]:
    """alpha of each layer: `alpha_scale` times the fixed `alpha` or, with any other `scaling`, times the layer's factor."""
    layers = len(factors)
    base = config.per_layer("alpha", layers) if config.scaling == "fixed" else factors
    return [scale * value for scale, value in zip(config.per_layer("alpha_scale", layers), base, strict=True)]


def thresholds(config: SleepConfig, layers: int) -> list[float]:
    """beta of each layer times `beta_scale`; 1 in place of beta with `scaling=target_rate`, whose gains have it in them.

    Without bias, dc and inhibition only beta / alpha matters.
    """
    scales = config.per_layer("beta_scale", layers)
    if config.scaling == "target_rate":
        return scales
    return [scale * value for scale, value in zip(scales, config.per_layer("beta", layers), strict=True)]
