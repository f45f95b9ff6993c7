"""The command that runs the same again, found by composing the configuration of this checkout and typing out the rest."""

import functools
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src_lab.config import register_resolvers
from src_lab.run_folder import flatten

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("method", "model", "dataset", "train", "sleep")
"""In this order, since a method may choose the model."""
NOT_REPEATED = ("force",)
BETWEEN_OVERRIDES = re.compile(r"\s+(?=[+~]*[\w./@-]+=)")
PLAIN_WORD = re.compile(r"[A-Za-z_./~][\w./:~-]*")
NOT_WORDS = ("null", "true", "false", "nan", "inf")
RANGE_FROM = 3
"""Seeds in a row that are written as a range."""


def run_command(config: Mapping[str, Any]) -> str | None:
    """`python run.py …` for the settings of a `config.yaml`, in as few overrides as it takes.

    None where there is none: without the folder `conf`, or for settings that this version does not have.
    """
    if not CONF.is_dir():
        return None
    wanted = {key: value for key, value in config.items() if key not in NOT_REPEATED}
    experiments = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    register_resolvers()
    try:
        with initialize_config_dir(str(CONF)):
            found = [_overrides(wanted, start) for start in ([], *([f"experiment={name}"] for name in experiments))]
            shortest = min(found, key=lambda overrides: (len(overrides), len(shlex.join(overrides))))
            repeats = _covers(_composed(tuple(shortest)), wanted)
    except (HydraException, OmegaConfBaseException):
        return None
    return shlex.join(["python", "run.py", *shortest]) if repeats else None


def sweep_command(jobs: Sequence[str]) -> str:
    """`python run.py -m …` for the overrides of every job; where they are no product of choices, a command each."""
    rows = [dict(part.split("=", 1) for part in BETWEEN_OVERRIDES.split(job) if "=" in part) for job in jobs]
    choices = {key: list(dict.fromkeys(row[key] for row in rows if key in row)) for key in rows[0]} if rows else {}
    is_product = (
        all(row.keys() == choices.keys() for row in rows)
        and math.prod(map(len, choices.values())) == len(rows)
        and set(product(*choices.values())) == {tuple(row[key] for key in choices) for row in rows}
    )
    if not is_product:
        return "\n".join(_line(["python", "run.py"], row.items()) for row in rows)
    return _line(["python", "run.py", "-m"], ((key, _choice(values)) for key, values in choices.items()))


def _line(program: Sequence[str], settings: Iterable[tuple[str, str]]) -> str:
    return shlex.join([*program, *(f"{key}={value}" for key, value in settings)])


def _choice(values: Sequence[str]) -> str:
    """`values` as choices of a sweep, whole numbers in a row as a range."""
    if len(values) >= RANGE_FROM and all(value.isdecimal() for value in values):
        first = int(values[0])
        if [int(value) for value in values] == list(range(first, first + len(values))):
            return f"range({first},{first + len(values)})"
    return ",".join(values)


def _overrides(wanted: Mapping[str, Any], start: Sequence[str]) -> list[str]:
    """Overrides that make `wanted` after those of `start`: choices of groups first, then single settings."""
    overrides, settings = list(start), _composed(tuple(start))
    for group in GROUPS:
        name = _nearest(group, wanted.get(group, {}))
        if settings[group]["name"] != name:
            overrides.append(f"{group}={name}")
            settings = _composed(tuple(overrides))
    base, goal = _leaves(settings), _leaves(wanted)
    changed = [key for key, value in goal.items() if key not in base or base[key] != value]
    return [*overrides, *(f"{'' if key in base else '+'}{key}={_text(goal[key])}" for key in changed)]


def _nearest(group: str, wanted: Mapping[str, Any]) -> str:
    """The choice of a group by name, or where no file has it (the preset of a search), with the fewest other values.

    Choices are compared without an experiment: its few changes to a group are not worth composing every pair of the two.
    """
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    if wanted.get("name") in names:
        return str(wanted["name"])

    def differences(name: str) -> int:
        base = _leaves(_composed((f"{group}={name}",))[group])
        return sum(base.get(key) != value for key, value in _leaves(wanted).items())

    return min(names, key=differences)


def _covers(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether every setting in `wanted` is the same in `settings`, which may have more."""
    have = _leaves(settings)
    return all(key in have and have[key] == value for key, value in _leaves(wanted).items())


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    settings: Any = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    return dict(settings)


def _leaves(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, their values as they are."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{path}{name}"
        found |= _leaves(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return found


def _text(value: object) -> str:
    """A value in Hydra's override language."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if not isinstance(value, str):
        return str(flatten({"": value})[""])
    if PLAIN_WORD.fullmatch(value) and value.lower() not in NOT_WORDS:
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
