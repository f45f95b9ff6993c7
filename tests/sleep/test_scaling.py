"""Input gains and thresholds from settings, and the published data normalisation. Its recorded factors: test_golden."""

import pytest

from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig
from src_lab.sleep.scaling import gains, normalization_factors, thresholds


@pytest.mark.parametrize(
    ("weight_maxima", "activation_maxima", "factors"),
    [
        ([2.0], [1.0], [0.5]),
        ([1.0], [2.0], [0.5]),
        ([4.0, 2.0], [1.0, 1.0], [0.25, 2.0]),
        # applied = 2, then 8 / 2 = 4, then 8 / 4 = 2: divided by what was applied before, not by the scale before
        ([1.0, 1.0, 1.0], [2.0, 8.0, 8.0], [0.5, 0.25, 0.5]),
        ([-1.0, 3.0], [0.5, 1.0], [2.0, 1 / 6]),
    ],
)
def test_normalisation_by_hand(weight_maxima: list[float], activation_maxima: list[float], factors: list[float]) -> None:
    assert normalization_factors(weight_maxima, activation_maxima) == pytest.approx(factors, rel=1e-15)


@pytest.mark.parametrize(
    ("weight_maxima", "activation_maxima", "layer"),
    [([-1.0, 2.0], [0.0, 0.0], 0), ([1.0, -0.5], [1.0, -2.0], 1), ([1.0, 0.0, 1.0], [1.0, 0.0, 0.0], 1)],
)
def test_a_layer_without_anything_positive_cannot_be_normalised(
    weight_maxima: list[float], activation_maxima: list[float], layer: int
) -> None:
    with pytest.raises(ConfigError) as caught:
        normalization_factors(weight_maxima, activation_maxima)
    message = str(caught.value)
    assert f"layer {layer} has no positive weight or activation" in message
    assert "sleep.scaling=data" in message
    assert "sleep.scaling=fixed" in message
    assert "\n" not in message


def test_fixed_gains_are_alpha_times_its_scale() -> None:
    config = SleepConfig(alpha=[2.0, 3.0], alpha_scale=10.0)
    assert gains(config, [7.0, 7.0]) == [20.0, 30.0]
    assert gains(SleepConfig(alpha=[2.0, 3.0], alpha_scale=[10.0, 0.5]), [7.0, 7.0]) == [20.0, 1.5]


def test_gains_from_data_are_the_factors_times_the_scale_whatever_alpha_is() -> None:
    config = SleepConfig(alpha=[1.0], scaling="data", alpha_scale=10.0)
    assert gains(config, [0.5, 4.0]) == [5.0, 40.0]
    assert gains(SleepConfig(scaling="data", alpha_scale=[1.0, 2.0]), [0.5, 4.0]) == [0.5, 8.0]


def test_thresholds_are_beta_times_its_scale() -> None:
    assert thresholds(SleepConfig(beta=[2.0, 3.0], beta_scale=2.0), 2) == [4.0, 6.0]
    assert thresholds(SleepConfig(beta=[2.0, 3.0], beta_scale=[1.0, 3.0]), 2) == [2.0, 9.0]


@pytest.mark.parametrize("key", ["alpha", "beta", "alpha_scale", "beta_scale"])
def test_a_list_of_another_length_is_refused_in_one_line(key: str) -> None:
    config = SleepConfig(**{"alpha": [1.0, 1.0], "beta": [1.0, 1.0], key: [1.0, 2.0, 3.0]})  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        (gains(config, [1.0, 1.0]), thresholds(config, 2))
    message = str(caught.value)
    assert message.startswith(f"sleep.{key}=[1.0,2.0,3.0] has 3 values but the network has 2 layers of weights")
    assert f"e.g. sleep.{key}=[1.0,1.0]" in message
    assert "\n" not in message
