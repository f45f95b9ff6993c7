"""What the analyses of many runs found, pooled over the runs of a group: section "Inside the networks"."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from pandas import DataFrame, Series

from src_lab.aggregate import with_interval
from src_lab.inside.names import FOLDER, analysed
from src_lab.plots.inside_by_group import importance_by_group, lines_by_group
from src_lab.plots.png import as_png
from src_lab.report.files import read_table
from src_lab.report.members import Members
from src_lab.report.page import Data, Figure, Section, Table

MAX_GROUPS = 20
"""Lines that a reader can still tell apart; of more groups, the best are drawn."""
MAX_LISTED = 3
BY_STAGE, BY_SLEEP, BY_TASK = ["phase", "trained_task", "layer"], ["trained_task", "layer"], ["layer", "eval_task"]
TEXT = (
    "Means over the runs of each approach, with Student's 95 % intervals as bands. Where stages follow each other, grey "
    "bands are sleeps."
)


@dataclass(frozen=True, eq=False)
class Finding:
    """One number per run, layer and stage or sleep, and what the page says of it.

    table     the analysis's CSV file
    columns   of it, by the title of their panels; what else a row tells apart (classes, tasks) is averaged first
    keys      what is told apart
    ylabel    what the number is
    """

    name: str
    title: str
    table: str
    columns: Mapping[str, str]
    keys: list[str]
    ylabel: str
    how_to_read: str


FINDINGS = (
    Finding(
        "stable_rank",
        "Stable rank of the weights by approach",
        "weight_ranks",
        {"": "stable_rank"},
        BY_STAGE,
        "Stable rank (dimensions)",
        "The lower the line, the fewer directions a layer's weights act on; a line that falls across a grey band is a sleep "
        "that concentrates them.",
    ),
    Finding(
        "effective_rank",
        "Effective rank of the activations by approach",
        "activation_ranks",
        {"": "effective_rank"},
        BY_STAGE,
        "Effective rank (dimensions)",
        "The height is how many dimensions the images of one task fill in a layer, averaged over the tasks.",
    ),
    Finding(
        "sparseness",
        "Sparseness of the activations by approach",
        "sparseness",
        {"": "treves_rolls"},
        BY_STAGE,
        "Treves-Rolls sparseness",
        "The lower the line, the fewer units of a layer answer to an image (Treves-Rolls), averaged over the classes.",
    ),
    Finding(
        "hidden_difference",
        "Change of the activations by sleep, by approach",
        "hidden_difference",
        {"": "difference"},
        BY_SLEEP,
        "1 - cosine",
        "0 means that a sleep left the direction of a layer's activations as it was, 1 that it turned them at right angles, "
        "averaged over the classes; approaches that never sleep are not here.",
    ),
    Finding(
        "weight_changes",
        "Weights that sleep changed, by approach",
        "weight_changes",
        {"grew": "increased", "shrank": "decreased"},
        BY_SLEEP,
        "Share of the layer's weights (0 to 1)",
        "The height is the share of a layer's weights that one sleep made larger, on the left, or smaller, on the right; "
        "approaches that never sleep are not here.",
    ),
)
Read = Callable[[str], list[tuple[str, DataFrame]]]


def inside(members: Members) -> tuple[Section, ...]:
    """The section, unless no run has an analysis. Raises ConfigError for a table that cannot be used."""
    groups = members.best(MAX_GROUPS)
    runs = members.table[members.table["group"].isin(groups)]
    homes = {run_id: members.homes[run_id] for run_id in runs["run_id"] if run_id in members.homes}
    have = {run_id: home / FOLDER for run_id, home in homes.items() if analysed(home)}
    if not have:
        return ()
    group_of = dict(zip(runs["run_id"], runs["group"], strict=True))
    read = partial(_read, {run_id: (group_of[run_id], folder) for run_id, folder in have.items()})
    pooled = {finding: found for finding in FINDINGS if (found := _pooled(finding, read))}
    parts: list[Table | Figure] = [*_at_the_end(pooled), *(_lines(finding, groups, pooled[finding]) for finding in pooled)]
    parts += _importance(read)
    text = " ".join([TEXT, *members.left_out(MAX_GROUPS), *_without(runs, have)])
    return (Section("Inside the networks", tuple(parts), text),)


def pool(tables: Sequence[tuple[str, DataFrame]], column: str, keys: Sequence[str]) -> DataFrame:
    """Mean, sd and Student's 95 % interval over the runs of a group: columns group, *keys, n, mean, sd, low, high.

    tables   per run, its group and its table; of a run, `column` is first averaged over what `keys` do not tell apart
    """
    means = [
        table.groupby(list(keys), dropna=False, sort=False)[column].mean().reset_index().assign(group=group)
        for group, table in tables
    ]
    grouped = pd.concat(means).groupby(["group", *keys], dropna=False, sort=False)[column]
    pooled = with_interval(grouped.agg(["mean", "std", "count"]), "of")
    pooled = pooled.rename(columns=lambda name: str(name).removeprefix("of_"))[["n", "mean", "sd", "low", "high"]]
    return pooled.reset_index().astype({"n": int})


def shares_at_the_end(importance: DataFrame) -> DataFrame:
    """Columns layer, eval_task, share: of the variance at the last stage, the part of each task, all its components."""
    last = importance[importance["stage"] == importance["stage"].max()]
    shares: DataFrame = last.groupby(BY_TASK)["share"].sum(min_count=1).reset_index()
    return shares


def _read(folders: Mapping[str, tuple[str, Path]], name: str) -> list[tuple[str, DataFrame]]:
    """Group and table `name` of every run that has it."""
    files = [(group, folder / f"{name}.csv") for group, folder in folders.values()]
    return [(group, read_table(path)) for group, path in files if path.is_file()]


def _pooled(finding: Finding, read: Read) -> dict[str, DataFrame]:
    """By title, the means of a finding; none where no run has its table."""
    tables = read(finding.table)
    return {title: pool(tables, column, finding.keys) for title, column in finding.columns.items() if tables}


def _at_the_end(pooled: Mapping[Finding, Mapping[str, DataFrame]]) -> list[Table]:
    """What the networks are like at the last stage, a row per approach and layer."""
    columns = {}
    for finding, tables in pooled.items():
        if finding.keys == BY_STAGE:
            [table] = tables.values()
            last = table.groupby(["group", "layer"], sort=False)[["mean", "sd"]].last()
            columns[finding.ylabel.lower()] = last.apply(_mean_and_sd, axis=1)
    if not columns:
        return []
    frame = DataFrame(columns).rename_axis(["approach", "layer"]).reset_index()
    return [Table("The networks at the end, mean ± sd over runs", frame)]


def _mean_and_sd(row: "Series[float]") -> str:
    """ "12.3 ± 0.45", or the mean alone where there is no sd."""
    mean, sd = (f"{value:.3g}" for value in row)
    return mean if sd == "nan" else f"{mean} ± {sd}"


def _lines(finding: Finding, groups: Sequence[str], pooled: Mapping[str, DataFrame]) -> Figure:
    what = [f"{title}: {_ends(table)}" if title else _ends(table) for title, table in pooled.items()]
    columns = [table.assign(what=finding.columns[title]) for title, table in pooled.items()]
    return Figure(
        finding.title,
        as_png(lines_by_group(pooled, groups, finding.ylabel)),
        f"{finding.ylabel}: a line per approach, a panel per layer. At the end, {'; '.join(what)}.",
        finding.how_to_read,
        Data(f"{finding.name}_by_group.csv", pd.concat(columns).to_csv(index=False)),
    )


def _ends(pooled: DataFrame) -> str:
    """ "SRC layer 1 6.2, layer 2 25; Merge …": the last of each group's means."""
    return "; ".join(
        f"{group} {', '.join(f'layer {layer} {value:.3g}' for layer, value in own.groupby('layer')['mean'].last().items())}"
        for group, own in pooled.groupby("group", sort=False)
    )


def _importance(read: Read) -> list[Figure]:
    tables = [(group, shares_at_the_end(table)) for group, table in read("pca_importance")]
    if not tables:
        return []
    pooled = pool(tables, "share", BY_TASK)
    spread = pooled.groupby(["group", "layer"], sort=False)["mean"].agg(["min", "max"])
    texts = [
        f"{group} layer {layer} {100 * low:.0f} to {100 * high:.0f} %" for (group, layer), low, high in spread.itertuples()
    ]
    return [
        Figure(
            "Share of each layer's variance by task, in the end",
            as_png(importance_by_group(pooled)),
            f"Stacked bars of each task's share, by approach and layer. Smallest and largest share: {'; '.join(texts)}.",
            "A colour is the part of a layer's variance that one task's images have when the run ends; bars of equal parts "
            "are layers that all tasks use alike.",
            Data("task_importance_by_group.csv", pooled.to_csv(index=False)),
        )
    ]


def _without(runs: DataFrame, have: Mapping[str, Path]) -> list[str]:
    """Which runs have no analysis, in one sentence, if any."""
    names = [str(run_id) for run_id in runs["run_id"] if run_id not in have]
    if not names:
        return []
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return [f"Without an analysis, and not in these pictures: {', '.join(names[:MAX_LISTED])}{more}."]
