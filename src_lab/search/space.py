"""What a search tries: settings of a run, each with a distribution.

`conf/search/` names the settings and writes, in Hydra's sweep language, what to try of each (`interval(0.05, 1.0)`,
`tag(log, interval(1, 100))`, `choice(a, b)`). Two forms are ours:

    factor(a, b)   from a to b times the value that the setting has without the search, on a logarithmic scale
    KEY.*          one parameter per layer of weights, KEY.0, KEY.1 .., put together to one list
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from src_lab.config import RunConfig, known_keys
from src_lab.data import load_stream
from src_lab.settings import ConfigError, unknown_key

FACTOR = re.compile(r"factor\(\s*([^,()]+?)\s*,\s*([^,()]+?)\s*\)")
Parse = Callable[[str, str], BaseDistribution | str]
"""What Hydra makes of `key=text`: a distribution, or the text of a fixed value."""


@dataclass(frozen=True)
class Space:
    """Distributions by parameter, and the overrides that a point of the space stands for."""

    distributions: dict[str, BaseDistribution]
    fixed: dict[str, str]
    """Settings for which the space names a single value."""

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The point `params` as overrides, `KEY=VALUE`; the layers of a list as one."""
        settings: dict[str, Any] = dict(self.fixed)
        for name in self.distributions:
            key, _, layer = name.rpartition(".")
            if layer.isdigit():
                settings[key] = [*settings.get(key, []), params[name]]
            else:
                settings[name] = params[name]
        return [f"{key}={_text(value)}" for key, value in settings.items()]

    def corners(self) -> list[dict[str, Any]]:
        """Points that together reach both ends of every interval and every choice."""
        count = max([2, *(len(d.choices) for d in self.distributions.values() if isinstance(d, CategoricalDistribution))])
        return [{key: _end(item, index) for key, item in self.distributions.items()} for index in range(count)]

    def point_of(self, config: RunConfig) -> dict[str, Any] | None:
        """The parameters with which a run is `config`, or None when they lie outside of the space."""
        values = asdict(config)
        point = {}
        for name, distribution in self.distributions.items():
            value = _value_at(values, name)
            try:
                inside = distribution._contains(distribution.to_internal_repr(value))
            except (ValueError, TypeError):
                inside = False
            if not inside:
                return None
            point[name] = value
        return point

    def as_json(self) -> dict[str, str]:
        return {name: distribution_to_json(item) for name, item in self.distributions.items()}


def build_space(texts: Mapping[str, str], base: RunConfig, parse: Parse) -> Space:
    """The space that `texts` (what to try, by key) describe around the settings `base`. Raises ConfigError."""
    distributions: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for name, text in _per_layer(texts, base):
        key = re.sub(r"\.\d+$", "", name)
        value = _value_at(asdict(base), name)
        parsed = parse(key, _expand(key, text, value))
        if isinstance(parsed, BaseDistribution):
            distributions[name] = _whole(parsed) if type(value) is int else parsed
        else:
            fixed[key] = parsed
    if not distributions:
        raise ConfigError(
            "search.space has nothing to search: every setting in it is fixed; e.g. 'sleep.inc=interval(0.001,0.1)'"
        )
    return Space(distributions, fixed)


def require_validation(base: RunConfig, seed: int) -> None:
    """Raise ConfigError where the tasks have no validation images to judge a trial by."""
    if not all(len(task.validation.labels) for task in load_stream(base.dataset, seed).tasks):
        raise ConfigError(
            "a search is judged by validation images, of which there are none: hold some out, "
            "e.g. dataset.validation_per_task=500, and leave some for them, e.g. dataset.samples_per_task=5000"
        )


def _per_layer(texts: Mapping[str, str], base: RunConfig) -> Iterable[tuple[str, str]]:
    for key, text in texts.items():
        if key.endswith(".*"):
            yield from ((f"{key[:-1]}{layer}", text) for layer in range(base.model.layers))
        else:
            yield key, text


def _expand(key: str, text: str, value: object) -> str:
    """`factor(a, b)` as the interval it stands for; any other text as it is."""
    match = FACTOR.fullmatch(text.strip())
    if match is None:
        return text
    if value is None:
        raise ConfigError(unknown_key(key, known_keys(key)))
    try:
        low, high = (float(factor) for factor in match.groups())
    except ValueError:
        low = high = math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(
            f"search.space: {key}={text} needs a number to multiply, not {key}={value}: list choices, {key}=a,b"
        )
    low, high = low * value, high * value
    if not 0 < low < high:
        raise ConfigError(
            f"search.space: {key}={text} is no range above 0 for {key}={value}: give one, e.g. '{key}=interval(1,10)'"
        )
    ends = (max(1, round(low)), round(high)) if isinstance(value, int) else (f"{low:.6g}", f"{high:.6g}")
    return f"tag(log, interval({ends[0]}, {ends[1]}))"


def _whole(distribution: BaseDistribution) -> BaseDistribution:
    """Whole numbers, for a setting that takes no others: Hydra's `interval(1, 9)` means fractions too."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
        return distribution
    return IntDistribution(math.ceil(distribution.low), math.floor(distribution.high), log=distribution.log)


def _value_at(values: object, name: str) -> object:
    """The setting `name` in nested settings; one number stands for every layer. None where there is none."""
    for part in name.split("."):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        elif not (part.isdigit() and isinstance(values, (int, float))):
            return None
    return values


def _end(distribution: BaseDistribution, index: int) -> object:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[index % len(distribution.choices)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return distribution.high if index % 2 else distribution.low


def _text(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
