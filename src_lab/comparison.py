"""Paired comparison: by how much groups of runs differ, seed by seed.

Runs of one seed share initial weights, image order and noise. What a seed does to both groups cancels in the differences
over their common seeds, so these say more about the methods than two separate means do.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
from pandas import DataFrame

from src_lab.aggregate import QUANTITIES, Runs, group_columns, group_names, with_interval
from src_lab.settings import ConfigError

MAX_GROUPS = 8
"""So many groups are all compared with each other; of more, one is to be named that the others are compared with."""
INTERVAL = "paired t 95 %"
NO_INTERVAL = "none"
COLUMNS = [
    "a",
    "b",
    "quantity",
    "n",
    "difference_mean",
    "difference_sd",
    "difference_low",
    "difference_high",
    "interval",
    "excludes_zero",
]
MAX_LISTED = 12
MIXED = -1

Pair = tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """Differences between groups: `table` with a row per pair and quantity (`COLUMNS`), `notes` on what is not in it."""

    table: DataFrame
    notes: list[str]


@dataclass(frozen=True)
class _Groups:
    """The groups of `summarise`, numbered in its order.

    keys      one row per group: its group columns
    names     per group, how a reader calls it
    data      per group, which data set settings its runs had, as a number; MIXED when they differ
    repeated  groups with several runs of one seed
    rows      one row per run: group, seed and the quantities
    """

    keys: DataFrame
    names: list[str]
    data: list[int]
    repeated: set[int]
    rows: DataFrame


def compare(runs: Runs, by: Sequence[str] | None = None, against: str | None = None) -> Comparison:
    """Differences a - b of final accuracy and forgetting between groups of runs, over the seeds that both have.

    n is the number of common seeds with the quantity measured, difference_mean and _sd (ddof 1) are of the differences,
    difference_low and _high Student's interval, mean -+ t(0.975, n-1) sd / sqrt(n), named in `interval`; there is none at
    n = 1. excludes_zero: 0 lies outside it. The intervals are not corrected for the number of comparisons.

    All pairs are compared when there are at most `MAX_GROUPS` groups. With `against`, a group's name or a value in one of
    its columns, b is this group and a every other. Groups with other data set settings are no pair, nor is a group with
    several runs of one seed in one: the notes say so.
    Raises ConfigError for an unknown name in `by`, and for an `against` that is no group, or several with the same data.
    """
    groups = _grouped(runs, by)
    pairs, notes = _pairs(groups, against)
    kept = [pair for pair in pairs if groups.repeated.isdisjoint(pair)]
    if groups.repeated:
        repeated = [groups.names[number] for number in sorted(groups.repeated)]
        notes.append(f"not compared, several runs of one seed: {_listed(repeated)}")
    alike = [(a, b) for a, b in kept if groups.data[a] == groups.data[b] != MIXED]
    if len(alike) < len(kept):
        notes.append(f"{_count(len(kept) - len(alike))} not compared: their data set settings differ")
    table = _differences(groups.rows, alike)
    compared = len(table[["a", "b"]].drop_duplicates())
    if compared < len(alike):
        notes.append(f"{_count(len(alike) - compared)} not compared: no seed in common")
    named = dict(enumerate(groups.names))
    return Comparison(table.assign(a=table["a"].map(named), b=table["b"].map(named)), notes)


def _grouped(runs: Runs, by: Sequence[str] | None) -> _Groups:
    columns = group_columns(runs, by)
    number = columns.groupby(list(columns), dropna=False, sort=False).ngroup()
    keys = columns.loc[~number.duplicated()].reset_index(drop=True)
    rows = runs.table[["seed", *QUANTITIES]].assign(group=number)
    settings = [str(key) for key in runs.config if str(key).startswith("dataset.") and key != "dataset.root"]
    data = runs.config.groupby(settings, dropna=False, sort=False).ngroup().groupby(number)
    return _Groups(
        keys=keys,
        names=group_names(keys),
        data=data.first().where(data.nunique() == 1, MIXED).tolist(),
        repeated=set(rows.loc[rows.duplicated(["group", "seed"]), "group"]),
        rows=rows,
    )


def _pairs(groups: _Groups, against: str | None) -> tuple[list[Pair], list[str]]:
    """Which groups to compare, the second of a pair being what the first is compared with."""
    numbers = range(len(groups.names))
    if against is not None:
        baselines = _baselines(groups, against)
        return [(a, b) for a in numbers if a not in baselines for b in baselines if _same(groups, a, b, baselines)], []
    if len(numbers) > MAX_GROUPS:
        return [], [f"{len(numbers)} groups are too many to compare each with each: choose one with --against GROUP"]
    return list(combinations(numbers, 2)), []


def _same(groups: _Groups, a: int, b: int, baselines: list[int]) -> bool:
    """Of several baselines, which have different data, a group is compared with the one that has its own."""
    return len(baselines) == 1 or groups.data[a] == groups.data[b]


def _baselines(groups: _Groups, against: str) -> list[int]:
    """The groups that `against` means: the one of this name, else those with this value in a column, one for each data."""
    wanted = against.casefold()
    found = [number for number, name in enumerate(groups.names) if name.casefold() == wanted]
    if not found:
        same = groups.keys.astype(str).apply(lambda column: column.str.casefold() == wanted)
        found = same.index[same.any(axis=1)].tolist()
    if not found:
        near = difflib.get_close_matches(against, groups.names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"--against={against} is not a group: {hint}allowed are {_listed(groups.names)}")
    if len({groups.data[number] for number in found}) < len(found):
        raise ConfigError(
            f"--against={against} is {len(found)} groups: name one of them, {_listed([groups.names[g] for g in found])}"
        )
    return found


def _differences(rows: DataFrame, pairs: Sequence[Pair]) -> DataFrame:
    """The comparison table, with numbers for groups."""
    parts = []
    for b in dict.fromkeys(b for _, b in pairs):
        base = rows[rows["group"] == b].set_index("seed")[list(QUANTITIES)]
        own = rows[rows["group"].isin([a for a, other in pairs if other == b])]
        difference = own[list(QUANTITIES)] - base.reindex(own["seed"]).to_numpy()
        grouped = difference.groupby(own["group"])
        for order, quantity in enumerate(QUANTITIES):
            part = with_interval(grouped[quantity].agg(["mean", "std", "count"]), "difference")
            parts.append(part.rename_axis("a").reset_index().assign(b=b, order=order, quantity=quantity))
    if not parts:
        return DataFrame(columns=COLUMNS)
    table = pd.concat(parts).rename(columns={"difference_n": "n"}).query("n > 0").sort_values(["order", "a", "b"])
    measured = table["difference_low"].notna()
    outside = (table["difference_low"] > 0) | (table["difference_high"] < 0)
    table["interval"] = measured.map({True: INTERVAL, False: NO_INTERVAL})
    table["excludes_zero"] = outside.astype("boolean").where(measured)
    return table[COLUMNS].reset_index(drop=True)


def _count(pairs: int) -> str:
    return "1 pair" if pairs == 1 else f"{pairs} pairs"


def _listed(names: Sequence[str]) -> str:
    more = f"; and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return "; ".join(names[:MAX_LISTED]) + more
