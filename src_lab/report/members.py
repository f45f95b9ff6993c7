"""The runs that a report of many is about: their group, and where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pandas import DataFrame, Series

from src_lab.aggregate import GROUPING, group_names
from src_lab.report.files import read_table


@dataclass(frozen=True)
class Members:
    """The finished runs of a report.

    table   rows of `runs.csv`, with `group`, the name that a reader knows the run's group by
    keys    the columns that tell groups apart
    homes   by run_id, the folders of runs that can be found
    """

    table: DataFrame
    keys: list[str]
    homes: Mapping[str, Path]

    def best(self, most: int) -> list[str]:
        """The groups of the highest mean final accuracy, at most so many, in the order of the table."""
        means = self.table.groupby("group", sort=False)["final_accuracy"].mean().fillna(-1)
        kept = set(means.nlargest(most).index)
        return [name for name in means.index if name in kept]

    def left_out(self, most: int) -> list[str]:
        """A sentence, if there are more groups than that."""
        groups = self.table["group"].nunique()
        return [f"Of {groups} approaches the {most} of highest final accuracy are drawn."] if groups > most else []

    def typical(self, most: int) -> dict[str, Path]:
        """By group and seed, the folder of the run of median final accuracy of each of the `best` groups, if found.

        Of an even number of runs it is the lower of the two in the middle.
        """
        found = {}
        for group in self.best(most):
            own = self.table[(self.table["group"] == group) & self.table["final_accuracy"].notna()]
            if own.empty:
                continue
            run = own.sort_values("final_accuracy", kind="stable").iloc[(len(own) - 1) // 2]
            if run["run_id"] in self.homes:
                found[f"{group}, seed {run['seed']}"] = self.homes[run["run_id"]]
        return found

    def pages(self) -> dict[str, Path]:
        """By run_id, the reports that runs have of their own."""
        pages = {run_id: home / "report.html" for run_id, home in self.homes.items()}
        return {run_id: page for run_id, page in pages.items() if page.is_file()}


def read_members(folder: Path, homes: Mapping[str, Path] | None = None) -> Members | None:
    """The runs in `folder`/runs.csv, grouped as summary.csv is; None without these files.

    homes   where the runs are, if known; else they are looked for where runs.csv says they were found
    """
    if not ((folder / "runs.csv").exists() and (folder / "summary.csv").exists()):
        return None
    runs, summary = read_table(folder / "runs.csv"), read_table(folder / "summary.csv")
    groups = summary.columns[: summary.columns.get_loc("n")]
    keys = [name for name in groups if name in runs] or GROUPING
    if homes is None:
        homes = {run_id: Path(home) for run_id, home in zip(runs["run_id"], runs["folder"], strict=True)}
    found = {run_id: home for run_id, home in homes.items() if home.is_dir()}
    return Members(runs.assign(group=named(runs, keys)), keys, found)


def named(table: DataFrame, keys: Sequence[str]) -> "Series[str]":
    """Per row, the name of the group that its `keys` say, as `src_lab.aggregate.group_names` gives it."""
    groups = table[list(keys)].astype(object).fillna("")
    number = groups.groupby(list(keys), sort=False).ngroup()
    names = group_names(groups[~number.duplicated()].reset_index(drop=True))
    return Series([names[each] for each in number], index=table.index, dtype=object)
