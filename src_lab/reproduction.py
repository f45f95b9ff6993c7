"""Published results against ours: the runs, their ledger, and the page that sets both side by side.

The page is made from the ledger alone (docs/results/reproduction/runs.csv), which is committed; the folders of runs are not.
"""

import functools
import logging
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pandas import DataFrame
from tqdm import tqdm

from src_lab.config import composed, explain
from src_lab.cost import missing_line
from src_lab.experiment import ensure
from src_lab.ledger import Ledger, Row, day_of, number
from src_lab.results import finished, read_results
from src_lab.settings import ConfigError
from src_lab.tables import to_markdown
from src_lab.targets import ALIKE, Target

SECONDS = ("train_cpu_seconds", "sleep_cpu_seconds", "total_cpu_seconds")

Mark = Literal["agrees", "differs", "no figure", "incomplete", "not run"]


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


def ledger_at(path: Path) -> Ledger:
    """The ledger of runs: what a target asks of them, percent in the end over all tasks and on each, and CPU seconds."""
    columns = ("run_id", "overrides", "seed", "final", *SECONDS, "commit", "torch", "date")
    return Ledger(path, "run_id", columns, ("run_id", "overrides", "seed", "final"), ("seed", "final", *SECONDS), "task_")


@functools.cache
def run_ids(overrides: str, seeds: int) -> tuple[str, ...]:
    """What the runs of a target are called, seed by seed. Raises ConfigError."""
    first = composed([*overrides.split(), "seed=0", *ALIKE])
    return tuple(replace(first, seed=seed).run_id for seed in range(seeds))


def planned(targets: Iterable[Target]) -> dict[str, tuple[str, int]]:
    """The runs of the targets: what they are called, overrides and seed. Those that cannot be configured are left out."""
    plan: dict[str, tuple[str, int]] = {}
    for overrides, seeds in dict.fromkeys((one.overrides, one.seeds) for one in targets):
        try:
            ids = run_ids(overrides, seeds)
        except ConfigError:  # `found` says why
            continue
        plan |= {run_id: (overrides, seed) for seed, run_id in enumerate(ids)}
    return plan


def pick_up(targets: Iterable[Target], folder: Path, ledger: Ledger) -> None:
    """Add to the ledger what has finished below `folder` and is not in it."""
    known = ledger.rows()
    rows = (_row(folder / name, *run) for name, run in planned(targets).items() if name not in known)
    ledger.add([row for row in rows if row])


def run_all(targets: Sequence[Target], folder: Path, processes: int, ledger: Ledger) -> list[str]:
    """Run what is not in the ledger of every target that needs nothing that is not here, and add each run as it finishes.

    Returns a line for each run that failed, and for each target that cannot be configured.
    """
    runnable = [one for one in targets if not one.needs]
    known = ledger.rows()
    problems = {one.overrides: found(one, known).problem for one in runnable}
    failed = [f"{overrides}: {problem}" for overrides, problem in problems.items() if problem]
    missing = {run: name for name, run in planned(runnable).items() if name not in known}
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        started = {pool.submit(run, *each, folder): each for each in missing}
        for done in tqdm(as_completed(started), "runs", len(started), disable=None):
            if problem := done.result():
                failed.append(problem)
            elif row := _row(folder / missing[started[done]], *started[done]):
                ledger.add([row])
    return failed


def run(overrides: str, seed: int, folder: Path) -> str:
    """Run one seed unless it has run; returns what went wrong, or nothing."""
    logging.basicConfig(level=logging.WARNING)
    try:
        config = composed([*overrides.split(), f"seed={seed}", *ALIKE])
        ensure(config, folder / config.run_id)
    except Exception as error:  # one failed run must not stop the others
        return f"{overrides} seed={seed}: {explain(error) or repr(error)}"
    return ""


def found(target: Target, rows: Mapping[str, Row]) -> Ours:
    """What the runs of `target` among the rows of the ledger gave."""
    try:
        own = [rows[name] for name in run_ids(target.overrides, target.seeds) if name in rows]
    except ConfigError as error:
        return Ours((), str(error))
    values = [number(row, target.metric) for row in own]
    if any(value != value for value in values):
        return Ours((), f"the ledger's runs have no {target.metric}")
    return Ours(tuple(values))


def _row(folder: Path, overrides: str, seed: int) -> dict[str, object] | None:
    """The finished run in `folder` as a row of the ledger, or None."""
    metrics = finished(folder)
    if metrics is None:
        return None
    last = read_results(folder).iloc[-1]
    tasks = {str(name).replace("Task ", "task_"): value for name, value in last.items() if str(name).startswith("Task ")}
    cpu = {name: round(metrics["cpu_seconds"][name.partition("_")[0]], 2) for name in SECONDS}
    about = {
        "commit": metrics.get("git_commit"),
        "torch": metrics["versions"]["torch"],
        "date": day_of(folder / "metrics.json"),
    }
    named = {"run_id": metrics["run_id"], "overrides": overrides, "seed": seed, "final": tasks.pop("task_All")}
    return named | cpu | about | tasks


def missing(targets: Iterable[Target], ledger: Ledger) -> list[str]:
    """Per section, how many runs are missing that need nothing that is not here, and what they will take."""
    rows, sections = ledger.rows(), {one.overrides: one.section for one in targets}
    done = [
        ((row["overrides"], sections.get(row["overrides"], "")), number(row, "total_cpu_seconds")) for row in rows.values()
    ]
    plan = planned(one for one in targets if not one.needs)
    wanted = [(run[0], sections[run[0]]) for name, run in plan.items() if name not in rows]
    return [
        missing_line(each, [one for one in wanted if one[1] == each], done) for each in dict.fromkeys(s for _, s in wanted)
    ]


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


def page(results: Sequence[tuple[Target, Ours]], notes: str, uncounted: int = 0) -> str:
    """REPRODUCTION.md: a table per section, and `notes` on what differs from the sources.

    `uncounted` runs of the ledger belong to no target.
    """
    marks = [mark(*result) for result in results]
    counts = ", ".join(f"{marks.count(each)} {each}" for each in dict.fromkeys(marks))
    sections = dict.fromkeys(target.section for target, _ in results)
    parts = [
        "# Published results and ours",
        "Made by `python scripts/reproduce.py` from the runs it made (docs/results/reproduction/runs.csv); not to be "
        "edited by hand. Test accuracy in percent, "
        "mean ± sd over seeds (n). *agrees*: the means differ by no more than the tolerance, in points, of "
        f"`tests/targets.csv`. Of {len(results)} figures: {counts}."
        + (f" Runs in the ledger whose settings have changed since do not count: {uncounted}." if uncounted else ""),
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
