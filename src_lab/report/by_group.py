"""Pictures of the results of many runs, by group, each with its words and the table behind it."""

from pathlib import Path

import pandas as pd
from pandas import DataFrame

from src_lab.plots import stages_by_group as plots
from src_lab.plots.png import as_png
from src_lab.plots.run_report import accuracy_matrix_of
from src_lab.plots.runs_by_group import runs_by_group
from src_lab.report.files import read_data, read_table
from src_lab.report.members import Members, named
from src_lab.report.page import Data, Figure
from src_lab.stages import ALL

MAX_ROWS, MAX_PANELS = 30, 24
"""Groups that a reader can still take in, as rows and as panels of a picture; of more, the best are drawn."""
POINTS = {
    "final_accuracy": (
        "Final accuracy by approach",
        "Final accuracy",
        "Each small point is one run, the large one the mean of its group with its 95 % confidence interval "
        "(Student's t); groups whose intervals are far apart differ by more than their seeds do.",
    ),
    "forgetting": (
        "Forgetting by approach",
        "Forgetting",
        "How much accuracy the tasks lost from their best to the end, on average: further left is less forgotten; each "
        "small point is one run, the large one the mean of its group with its 95 % confidence interval (Student's t).",
    ),
    "final_accuracy_task_aware": (
        "Final accuracy within the task, by approach",
        "Task-aware accuracy",
        "Here each image is only to be told from the other classes of its own task: what is much higher than among all "
        "classes is still known, and mistaken for other tasks.",
    ),
}


def points(folder: Path, members: Members) -> list[Figure]:
    """Final accuracy, forgetting and task-aware accuracy of every run, where they were measured."""
    shown = members.table[members.table["group"].isin(members.best(MAX_ROWS))]
    figures = []
    for column, (title, quantity, how_to_read) in POINTS.items():
        runs = DataFrame({"group": shown["group"], "value": 100 * shown[column].astype(float)}).dropna(ignore_index=True)
        if runs.empty:
            continue
        means = runs.groupby("group", sort=False)["value"].mean()
        alt = f"Points for the {quantity.lower()} of each run, by approach, with mean and 95 % interval. Means: "
        alt += ", ".join(f"{name} {mean:.1f} %" for name, mean in means.items()) + "."
        figures.append(
            Figure(title, as_png(runs_by_group(runs, quantity)), alt, how_to_read, read_data(folder / "runs.csv"))
        )
    return figures


def tasks(folder: Path, members: Members) -> list[Figure]:
    """Accuracy by task: through the stages, in the end, and the matrix of one run per group."""
    figures: list[Figure] = []
    path = folder / "stages.csv"
    if path.exists():
        table, data = read_table(path), read_data(path)
        stages = table.assign(group=named(table, [key for key in members.keys if key in table]))
        figures += _curves(stages[stages["group"].isin(members.best(MAX_PANELS))], data)
        figures += _final(stages[stages["group"].isin(members.best(MAX_ROWS))], data)
    return figures + _matrices(members)


def _curves(stages: DataFrame, data: Data) -> list[Figure]:
    drawn = plots.before_the_end(stages)
    if drawn.empty:
        return []
    highest = drawn[drawn["eval_task"] == ALL].groupby("group", sort=False)["mean"].max()
    texts = ", ".join(f"{group} {100 * mean:.1f} %" for group, mean in highest.items())
    return [
        Figure(
            "Accuracy of every task through the stages",
            as_png(plots.task_curves(stages)),
            "A panel per approach with a line per task, means over runs with 95 % intervals. All tasks together, at the "
            f"stage where it is highest: {texts}.",
            "Follow one colour from left to right: it rises when its task is learned and falls when later ones are, grey "
            "bands are sleeps, in which it may come back; the black line is all tasks together.",
            data,
        )
    ]


def _final(stages: DataFrame, data: Data) -> list[Figure]:
    means = plots.at_the_end(stages)["mean"].unstack("eval_task", sort=False)
    if means.isna().all(axis=None):
        return []
    return [
        Figure(
            "Final accuracy by task",
            as_png(plots.final_by_task(stages)),
            f"Heat map of mean and sd over runs by approach and task. Task by task, then all: {_listed(100 * means)}.",
            "Read along a row to see which tasks an approach keeps: where only the last tasks are dark, the earlier "
            "ones are forgotten.",
            data,
        )
    ]


def _matrices(members: Members) -> list[Figure]:
    """The matrix of each group's run of median final accuracy."""
    tables = [read_table(home / "accuracy.csv").assign(title=title) for title, home in members.typical(MAX_PANELS).items()]
    shown = {str(table["title"].iloc[0]): table for table in tables if len(accuracy_matrix_of(table))}
    if not shown:
        return []
    ends = DataFrame({title: accuracy_matrix_of(table).iloc[-1] for title, table in shown.items()}).T
    together = pd.concat(shown.values()).drop(columns="title")
    return [
        Figure(
            "Accuracy matrix of one run per approach",
            as_png(plots.accuracy_matrices(shown)),
            f"Heat maps by task learned and task tested. In the end, task by task: {_listed(ends)}.",
            "Of each approach the run of median final accuracy: row k is its network after learning task k and its sleep, "
            "column j the task it is tested on; a column that fades downwards is a task being forgotten.",
            Data("accuracy_of_median_runs.csv", together.to_csv(index=False)),
        )
    ]


def _listed(percents: DataFrame) -> str:
    """ "SRC 92.0, 62.5; Merge 43.2, -": the rows of a table with what was not measured."""
    rows = (", ".join("-" if value != value else f"{value:.1f}" for value in row) for row in percents.to_numpy())
    return "; ".join(f"{name} {row}" for name, row in zip(percents.index, rows, strict=True))
