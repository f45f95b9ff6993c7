"""Settings of a search: the schema behind `conf/search/`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from src_lab.config import RunConfig
from src_lab.search.samplers import SamplerConfig, sampler_config
from src_lab.settings import UNIT_INTERVAL, ConfigError, Range, build, setting

COUNT = Range(1)
SEED = Range(0, 2**31 - 1)
NOT_IDENTITY = ("n_trials", "workers", "storage", "space", "trial", "floors")
"""Keys that may change between two starts of one search, or that its distributions say better (the space)."""


@dataclass(frozen=True)
class SearchConfig:
    """One search: what is tried, how often, and how it is judged.

    The objective is the mean validation accuracy of the same `seeds` for every trial; test accuracy is never looked at.
    """

    name: str = setting(example="src")
    n_trials: int = setting(within=COUNT, example="100")
    """In total, whatever their outcome: the same command again continues to this number."""
    seeds: list[int] = setting(within=SEED, example="[0,1,2]")
    workers: int = setting(within=Range(1, 1024), example="2")
    """Processes that take one trial after another."""
    seed: int = setting(within=SEED, example="0")
    """Of the sampler."""
    storage: str | None = setting(example="postgresql://USER@HOST/DATABASE")
    """URL of the study's database; null: SQLite in the search's folder."""
    include_preset: bool = setting(example="true")
    """Whether the first trial has the settings as they are."""
    prune_after: int | None = setting(within=COUNT, unit="tasks", example="2")
    """Tasks after which a trial stops that is below the quantile `prune_below` of earlier ones; null: never."""
    prune_below: float = setting(within=UNIT_INTERVAL, example="0.25")
    startup_trials: int = setting(within=COUNT, example="10")
    """Trials measured before any is stopped."""
    space: dict[str, str] = field(default_factory=dict)
    """Hydra sweep text by key; see `src_lab.search.space`."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    trial: int | None = setting(None, within=Range(0))
    """Number of the trial; set by the search itself."""
    floors: list[float] = setting([])
    """Entry i: the mean of its first i + 1 early accuracies below which a trial stops; set by the search itself."""


def search_config(raw: object) -> SearchConfig:
    """The group `search`, as plain values, checked. Raises ConfigError."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"search={raw} is not a search: choose one, e.g. search=src")
    plain = dict(raw)
    space, sampler = plain.pop("space", None), plain.pop("sampler", None)
    if not isinstance(space, Mapping):
        shown = "null" if space is None else space
        raise ConfigError(f"search.space={shown} is not a space: give keys and what to try, as conf/search/src.yaml does")
    config = replace(
        build(SearchConfig, plain, "search"),
        space={str(key): str(text) for key, text in space.items()},
        sampler=sampler_config(sampler),
    )
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ConfigError(f"search.seeds={config.seeds} must be different seeds, at least one; e.g. search.seeds=[0,1,2]")
    return config


def identity(search: SearchConfig, base: RunConfig, distributions: Mapping[str, str]) -> str:
    """Eight hexadecimal digits of everything that decides what the trials are; `distributions` are written as JSON."""
    what = {key: value for key, value in asdict(search).items() if key not in NOT_IDENTITY}
    facts = {
        "search": what,
        "base": replace(base, threads=None).hash,
        "space": list(distributions.items()),
    }  # their order decides who is drawn first
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
