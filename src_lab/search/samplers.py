"""Who suggests the next trial: Optuna's samplers by name, each with its settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, RandomSampler, TPESampler

from src_lab.rng import seed_for
from src_lab.settings import POSITIVE, ConfigError, Range, build, setting

Distributions = Mapping[str, BaseDistribution]


@dataclass(frozen=True)
class SamplerConfig:
    """Settings that every sampler has."""

    name: str = setting("random")

    def make(self, distributions: Distributions, seed: int, trial: int) -> BaseSampler:  # noqa: ARG002
        """The sampler for one trial: a fresh one, so that what it suggests depends on the study and not on the process."""
        return RandomSampler(seed=_seed(seed, trial))

    def check(self, distributions: Distributions) -> None:
        """Raise ConfigError for a space that the sampler cannot search."""


@dataclass(frozen=True)
class TpeConfig(SamplerConfig):
    """Tree-structured Parzen estimator. Running trials count as bad ones, so that workers do not try the same."""

    startup_trials: int = setting(10, within=Range(1))
    candidates: int = setting(24, within=Range(1))
    multivariate: bool = setting(True)

    def make(self, distributions: Distributions, seed: int, trial: int) -> BaseSampler:  # noqa: ARG002
        return TPESampler(
            n_startup_trials=self.startup_trials,
            n_ei_candidates=self.candidates,
            multivariate=self.multivariate,
            constant_liar=True,
            seed=_seed(seed, trial),
        )


@dataclass(frozen=True)
class CmaEsConfig(SamplerConfig):
    """Covariance matrix adaptation."""

    startup_trials: int = setting(1, within=Range(1))
    sigma: float | None = setting(None, within=POSITIVE, example="0.2")

    def make(self, distributions: Distributions, seed: int, trial: int) -> BaseSampler:  # noqa: ARG002
        return CmaEsSampler(n_startup_trials=self.startup_trials, sigma0=self.sigma, seed=_seed(seed, trial))

    def check(self, distributions: Distributions) -> None:
        for key, distribution in distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                raise ConfigError(f"search/sampler=cmaes cannot choose among values of {key}: give an interval, or fix it")
        if len(distributions) < 2:
            raise ConfigError("search/sampler=cmaes needs two settings to search: use search/sampler=tpe for one")


@dataclass(frozen=True)
class GridConfig(SamplerConfig):
    """Every combination, in an order that the seed fixes."""

    def make(self, distributions: Distributions, seed: int, trial: int) -> BaseSampler:  # noqa: ARG002
        # One seed for all trials: it shuffles the grid, of which trial N is the Nth entry.
        return GridSampler({key: _values(item) for key, item in distributions.items()}, seed=_seed(seed, 0))

    def check(self, distributions: Distributions) -> None:
        endless = [key for key, item in distributions.items() if not _values(item)]
        if endless:
            raise ConfigError(
                f"search/sampler=grid needs values to try for {', '.join(endless)}: "
                f"list or fix each, e.g. {endless[0]}=1,2,3 {endless[0]}=1"
            )


SAMPLERS: dict[str, type[SamplerConfig]] = {
    "tpe": TpeConfig,
    "cmaes": CmaEsConfig,
    "random": SamplerConfig,
    "grid": GridConfig,
}


def sampler_config(values: object) -> SamplerConfig:
    """The group `search.sampler`, as plain values, checked. Raises ConfigError."""
    name = values.get("name") if isinstance(values, Mapping) else values
    if not isinstance(values, Mapping) or name not in SAMPLERS:
        raise ConfigError(f"search.sampler.name={name} is not a sampler: choose search/sampler={'|'.join(SAMPLERS)}")
    return build(SAMPLERS[str(name)], values, "search.sampler")


def grid_size(distributions: Distributions) -> int:
    """Number of combinations of a space that `GridConfig.check` accepts."""
    return math.prod(len(_values(item)) for item in distributions.values())


def _values(distribution: BaseDistribution) -> list[Any]:
    """What a grid tries of one setting; empty for an interval."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        low, high, step = (Decimal(str(x)) for x in (distribution.low, distribution.high, distribution.step))
        return [float(low + index * step) for index in range(int((high - low) / step) + 1)]
    return []


def _seed(seed: int, trial: int) -> int:
    return seed_for(seed, "search", trial) % 2**32
