"""Any number of runs into tables: one row per run, one row per group of runs, one row per group and stage.

Accuracies, forgetting and BWT are shares (0-1) in the frames and CSV files and percent in what is made for reading;
NaN means not measured.
"""

import difflib
import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame, Series
from scipy import stats  # type: ignore[import-untyped]  # ships no stubs

from src_lab.run_folder import BrokenRun, FinishedRun, read
from src_lab.settings import ConfigError
from src_lab.walk import walk

log = logging.getLogger(__name__)

NAMES = ["method", "model", "dataset", "train", "sleep"]
GROUPING = ["approach", *NAMES, "settings"]
"""Columns whose values tell groups of runs apart unless the user names others."""
WITHOUT_EFFECT = frozenset(
    {"name", "seed", "device", "threads", "force", "analysis", "cache", "cache_gb", "dataset.root"}
    | {f"{group}.name" for group in NAMES}
)
"""Settings that never split a group: what a run is called, where it was computed, what watched it."""
QUANTITIES = ("final_accuracy", "forgetting")
STORED = ("stored_floats", "stored_images")
"""What a method carries from task to task beside its network, see `src_lab.methods.Stored`."""
CONFIDENCE = 0.95
NO_SLEEP = "-"
UNSET = "default"


@dataclass(frozen=True)
class Runs:
    """All runs found.

    table     one row per finished run, indexed 0.. : what runs.csv holds
    config    every flattened setting of these runs, by the same index
    stages    one row per run and stage: run (the index), position, Stage, Task 0 .., Task All in percent
    problems  folder, why: what was found and not counted
    """

    table: DataFrame
    config: DataFrame
    stages: DataFrame
    problems: DataFrame

    def column(self, name: str) -> "Series[Any]":
        """A column of `table`, or a setting. Raises ConfigError for a name that is neither."""
        if name in self.table:
            return self.table[name]
        if name in self.config:
            return self.config[name]
        known = [*self.table, *(key for key in self.config if key not in self.table)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"--by={name} is not a column: {hint}allowed are {', '.join(known)}")


def find_runs(folders: Iterable[str | Path]) -> Runs:
    """Every run at or below `folders`: the finished ones read, the others listed as problems.

    A run reached twice counts once; a copy (another folder with the same run_id) is a problem.
    Raises ConfigError for an argument that is not a folder.
    """
    finished: dict[str, FinishedRun] = {}
    problems: list[tuple[str, str]] = []
    for folder, unreadable in walk([Path(folder) for folder in folders]):
        try:
            if unreadable:
                raise BrokenRun(unreadable)
            run = read(folder)
            if run.run_id in finished:
                raise BrokenRun(f"copy of {finished[run.run_id].folder.as_posix()} (same run_id), not counted again")
            finished[run.run_id] = run
        except BrokenRun as error:
            problems.append((folder.as_posix(), str(error)))
    return _tabulate(list(finished.values()), DataFrame(problems, columns=["folder", "why"]))


def _tabulate(runs: Sequence[FinishedRun], problems: DataFrame) -> Runs:
    config = DataFrame([run.config for run in runs], dtype=object)
    named = DataFrame(
        {"run_id": run.run_id, "folder": run.folder.as_posix(), "approach": run.approach}
        | {group: run.config.get(f"{group}.name") for group in NAMES if group != "sleep"}
        | {"sleep": run.config.get("sleep.name") if _sleeps(run) else NO_SLEEP, "seed": run.config["seed"]}
        for run in runs
    )
    stages = DataFrame(
        {"run": index, "position": position} | row
        for index, run in enumerate(runs)
        for position, row in enumerate(run.stages)
    )
    if named.empty:
        return Runs(named, config, stages, problems)
    named["settings"] = differing_settings(named, config)
    varying = [key for key in _varying(config) if key not in {"seed", *(f"{group}.name" for group in NAMES)}]
    numbers = DataFrame([run.numbers for run in runs])
    return Runs(pd.concat([named, numbers, config[varying]], axis=1), config, stages, problems)


def _sleeps(run: FinishedRun) -> bool:
    return bool(run.config.get("method.sleep_after", "never") != "never")


def _varying(config: DataFrame) -> list[str]:
    return [str(key) for key in config if config[key].nunique(dropna=False) > 1]


def differing_settings(named: DataFrame, config: DataFrame) -> "Series[str]":
    """Per run, "key=value ..." of the settings that differ among the runs with the same names.

    Runs that differ in these are never averaged unasked. How to sleep is no setting of a run that never sleeps, unless its
    method looks at the stimulus all the same (`method=rescale method.over=stimulus`).
    """
    candidates = config[[key for key in _varying(config) if key not in WITHOUT_EFFECT]]
    text = Series("", index=named.index)
    for names, members in named.groupby(NAMES, dropna=False, sort=False):
        own = candidates.loc[members.index]
        awake = names[-1] == NO_SLEEP and "stimulus" not in config.get("method.over", text)[members.index].tolist()
        keys = [key for key in _varying(own) if not (awake and key.startswith("sleep."))]
        for key in keys:
            text[own.index] += f" {key}=" + own[key].map(_shown)
    return text.str.strip()


def _shown(value: object) -> str:
    return UNSET if isinstance(value, float) and value != value else str(value)


def summarise(runs: Runs, by: Sequence[str] | None = None) -> DataFrame:
    """Mean, sd (ddof 1), n and 95 % confidence interval of final accuracy and forgetting, and mean seconds, per group.

    Columns: those of `by` (default `GROUPING`), n (runs), then `final_accuracy_mean`, `_sd`, `_n` (measured),
    `_low`, `_high`, the same of `forgetting`, the means of `STORED`, and of `train_seconds` .. `cpu_seconds`. The interval
    is Student's, mean -+ t(0.975, n-1) sd / sqrt(n); sd and interval are NaN at n = 1.
    Raises ConfigError for an unknown name in `by`.
    """
    groups = group_columns(runs, by)
    _warn_of_repeated_seeds(runs, groups)
    grouped = runs.table.groupby([groups[name] for name in groups], dropna=False, sort=False)
    seconds = [name for name in runs.table.columns if name.endswith("_seconds") and name not in groups]
    parts = [
        grouped.size().to_frame("n"),
        *(with_interval(grouped[name].agg(["mean", "std", "count"]), name) for name in QUANTITIES),
        grouped[[*(name for name in STORED if name not in groups), *seconds]].mean(),
    ]
    return pd.concat(parts, axis=1).reset_index()


def group_columns(runs: Runs, by: Sequence[str] | None = None) -> DataFrame:
    """The columns that tell groups apart, one row per run. Raises ConfigError for an unknown name or none."""
    names = list(dict.fromkeys(GROUPING if by is None else by))
    if runs.table.empty:
        raise ConfigError("no finished run in these folders: give folders of finished runs, or make one with python run.py")
    if not names:
        raise ConfigError("--by is empty: give columns to group by, e.g. --by method,sleep.inc")
    return DataFrame({name: runs.column(name) for name in names})


def group_names(groups: DataFrame) -> list[str]:
    """A name for the group in each row of group columns: the approach, with what tells it from others of that approach.

    Groups made without an approach are named by all their columns.
    """
    names: dict[Hashable, str] = dict.fromkeys(groups.index, "")
    by_approach = "approach" in groups
    for approach, alike in groups.groupby("approach", dropna=False, sort=False) if by_approach else [("", groups)]:
        telling = [name for name in alike if alike[name].nunique(dropna=False) > 1 or not by_approach]
        for row, values in alike[telling].iterrows():
            parts = [str(approach), *(_part(name, value) for name, value in values.items())]
            names[row] = ", ".join(part for part in parts if part)
    return list(names.values())


def _part(name: Hashable, value: object) -> str:
    return str(value) if name == "settings" else f"{name} {value}"


def with_interval(moments: DataFrame, name: str) -> DataFrame:
    """Mean, std and count with Student's interval: columns `name`_mean, _sd, _n, _low and _high."""
    frame = moments.rename(columns={"std": "sd", "count": "n"})
    half = stats.t.ppf((1 + CONFIDENCE) / 2, frame["n"] - 1) * frame["sd"] / frame["n"] ** 0.5
    return frame.assign(low=frame["mean"] - half, high=frame["mean"] + half).add_prefix(f"{name}_")


def _warn_of_repeated_seeds(runs: Runs, groups: DataFrame) -> None:
    """Runs of one seed in one group differ in what the grouping leaves out, and are not independent."""
    repeated = groups.assign(seed=runs.table["seed"]).duplicated(keep=False)
    if repeated.any():
        log.warning(
            "%d runs are in one group with another run of their seed that differs elsewhere: n counts runs, not seeds; "
            "name more columns in --by to tell them apart",
            repeated.sum(),
        )


def stage_accuracies(runs: Runs, by: Sequence[str] | None = None) -> DataFrame:
    """Accuracy in percent by group, stage and task: index (group columns, Stage), columns (task, mean | std | count).

    Groups come in the order of `summarise`, stages in the order of the runs, the final one last.
    """
    groups = group_columns(runs, by)
    order = groups.groupby(list(groups), dropna=False, sort=False).ngroup()
    tasks = [name for name in runs.stages.columns if name.startswith("Task ")]
    tasks.sort(key=lambda name: (name == "Task All", len(name), name))
    rows = runs.stages.join(groups.assign(group=order), on="run")
    grouped = rows.groupby([*groups, "Stage"], dropna=False, sort=False)
    place = grouped.agg(group=("group", "first"), position=("position", "max"))
    table = grouped[tasks].agg(["mean", "std", "count"])
    return table.iloc[place.reset_index(drop=True).sort_values(["group", "position"], kind="stable").index]
