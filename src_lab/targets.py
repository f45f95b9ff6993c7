"""Published figures, and how to run what they are about: the lines of `tests/targets.csv`."""

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from src_lab.settings import ConfigError

COLUMNS = ("name", "section", "overrides", "metric", "published", "spread", "n", "source", "tolerance", "seeds", "needs")

ALIKE = ("threads=1", "evaluate=final")
"""Sums of PyTorch depend on the number of threads: with one, runs side by side give the same numbers as alone. The published
figures are final accuracies, so nothing else is measured."""


@dataclass(frozen=True)
class Target:
    """A line of `tests/targets.csv`.

    name        what `scripts/reproduce.py NAME` calls it
    overrides   what follows `python run.py`, without a seed
    metric      `final`: test accuracy over all tasks in the end; `task_K`: on task K
    published   percent, or None where the source shows a picture only; `spread` its standard deviation, `n` its runs
    tolerance   points between the two means that still count as agreement
    seeds       ours, from 0
    needs       what is needed to run it and is not in the package, as shown to who lacks it; empty for nothing
    """

    name: str
    section: str
    overrides: str
    metric: str
    published: float | None
    spread: float | None
    n: int | None
    source: str
    tolerance: float
    seeds: int
    needs: str

    @property
    def command(self) -> str:
        """Runs every seed."""
        return f"python run.py -m {self.overrides} seed='range(0,{self.seeds})' {' '.join(ALIKE)}"


def read_targets(path: Path) -> list[Target]:
    """Every target of the file. Raises ConfigError, naming the line, for one that cannot be used."""
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ConfigError(f"{path}: the columns are {reader.fieldnames}: they must be {','.join(COLUMNS)}")
        targets = [_target(row, f"{path}:{reader.line_num}") for row in reader]
    twice = sorted({one.name for one in targets if sum(other.name == one.name for other in targets) > 1})
    if twice:
        raise ConfigError(f"{path}: the name {twice[0]} stands twice: give every line its own")
    return targets


def _target(row: Mapping[str, str], where: str) -> Target:
    try:
        return Target(
            **{key: row[key] for key in ("name", "section", "overrides", "metric", "source", "needs")},
            published=float(row["published"]) if row["published"] else None,
            spread=float(row["spread"]) if row["spread"] else None,
            n=int(row["n"]) if row["n"] else None,
            tolerance=float(row["tolerance"] or 0),
            seeds=int(row["seeds"]),
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}: published, spread and tolerance are numbers, n and seeds whole ones") from None


def select(targets: Sequence[Target], names: Sequence[str]) -> list[Target]:
    """The targets that `names` (shell patterns) name, all without names. Raises ConfigError for a name without target."""
    for name in names:
        if not any(fnmatch.fnmatch(target.name, name) for target in targets):
            known = ", ".join(target.name for target in targets)
            raise ConfigError(f"{name} is no target: allowed are patterns like mnist-* of {known}")
    return [one for one in targets if not names or any(fnmatch.fnmatch(one.name, name) for name in names)]
