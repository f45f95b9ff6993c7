"""Published results against ours: what to run, the runs themselves, and the page that sets both side by side."""

import csv
import fnmatch
import logging
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from pandas import DataFrame
from tqdm import tqdm

from src_lab.config import RunConfig, explain, parse
from src_lab.experiment import ensure
from src_lab.results import finished
from src_lab.settings import ConfigError
from src_lab.tables import to_markdown

CONF = Path(__file__).parents[1] / "conf"
COLUMNS = ("name", "section", "overrides", "metric", "published", "spread", "n", "source", "tolerance", "seeds", "needs")

ALIKE = ("threads=1", "evaluate=final")
"""Sums of PyTorch depend on the number of threads: with one, runs side by side give the same numbers as alone. The published
figures are final accuracies, so nothing else is measured."""

Mark = Literal["agrees", "differs", "no figure", "incomplete", "not run"]


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


@dataclass(frozen=True)
class Ours:
    """What our finished runs of a target gave, in percent, and why the others are not there."""

    values: tuple[float, ...]
    problem: str = ""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def sd(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")


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


def configured(overrides: str, seed: int) -> RunConfig:
    """The run of one seed. Raises ConfigError."""
    with initialize_config_dir(str(CONF)):
        return parse(compose("config", overrides=[*overrides.split(), f"seed={seed}", *ALIKE]))


def run_all(targets: Sequence[Target], folder: Path, processes: int) -> list[str]:
    """Run every seed of every target that needs nothing that is not here; returns a line for each run that failed."""
    runs = dict.fromkeys((one.overrides, seed) for one in targets if not one.needs for seed in range(one.seeds))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        started = [pool.submit(run, overrides, seed, folder) for overrides, seed in runs]
        return [line for each in tqdm(started, "runs", disable=None) if (line := each.result())]


def run(overrides: str, seed: int, folder: Path) -> str:
    """Run one seed unless it has run; returns what went wrong, or nothing."""
    logging.basicConfig(level=logging.WARNING)
    try:
        config = configured(overrides, seed)
        ensure(config, folder / config.run_id)
    except Exception as error:  # one failed run must not stop the others
        return f"{overrides} seed={seed}: {explain(error) or repr(error)}"
    return ""


def found(target: Target, folder: Path) -> Ours:
    """What the finished runs of `target` below `folder` gave."""
    values = []
    try:
        for seed in range(target.seeds):
            run = folder / configured(target.overrides, seed).run_id
            if finished(run) is not None:
                values.append(_measured(run, target.metric))
    except ConfigError as error:
        return Ours((), str(error))
    return Ours(tuple(values))


def _measured(run: Path, metric: str) -> float:
    table = pd.read_csv(run / "results.csv")
    column = "Task All" if metric == "final" else metric.replace("task_", "Task ")
    return float(table[column].iloc[-1])


def mark(target: Target, ours: Ours) -> Mark:
    """How our runs of a target stand to its published figure."""
    if not ours.values:
        return "not run"
    if len(ours.values) < target.seeds:
        return "incomplete"
    if target.published is None:
        return "no figure"
    return "agrees" if abs(ours.mean - target.published) <= target.tolerance else "differs"


def table(results: Sequence[tuple[Target, Ours]]) -> DataFrame:
    """Columns of the page, a row per target."""
    rows = [
        {
            "experiment": target.name,
            "published": _shown(target.published, target.spread, target.n),
            "source": target.source,
            "ours": _shown(ours.mean, ours.sd, len(ours.values)) if ours.values else "-",
            "tolerance": "-" if target.published is None else f"{target.tolerance:g}",
            "mark": _explained(target, ours),
            "command": f"`{target.command}`",
        }
        for target, ours in results
    ]
    return DataFrame(rows)


def page(results: Sequence[tuple[Target, Ours]], notes: str) -> str:
    """REPRODUCTION.md: a table per section, and `notes` on what differs from the sources."""
    marks = [mark(*result) for result in results]
    counts = ", ".join(f"{marks.count(each)} {each}" for each in dict.fromkeys(marks))
    sections = dict.fromkeys(target.section for target, _ in results)
    parts = [
        "# Published results and ours",
        "Made by `python scripts/reproduce.py` from the runs it made; not to be edited by hand. Test accuracy in percent, "
        "mean ± sd over seeds (n). *agrees*: the means differ by no more than the tolerance, in points, of "
        f"`tests/targets.csv`. Of {len(results)} figures: {counts}.",
    ]
    for section in sections:
        own = table([(target, ours) for target, ours in results if target.section == section])
        parts += [f"## {section}", to_markdown(own).strip()]
    return "\n\n".join([*parts, notes.strip()]) + "\n"


def _shown(mean: float | None, sd: float | None, n: int | None) -> str:
    if mean is None:
        return "picture only"
    spread = "" if sd is None or sd != sd else f" ± {sd:.2f}"
    return f"{mean:.2f}{spread}" + (f" ({n})" if n else "")


def _explained(target: Target, ours: Ours) -> str:
    """The mark, and why there is nothing better."""
    what = mark(target, ours)
    if what == "incomplete":
        return f"incomplete: {len(ours.values)} of {target.seeds} seeds"
    if what == "not run":
        return f"not run: {'needs ' + target.needs if target.needs else ours.problem or 'not yet'}"
    return f"**{what}**" if what == "differs" else what
