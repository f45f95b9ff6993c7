"""Accuracy on every task by group of runs: through the stages, in the end, and as matrices.

stages   `src_lab.stages.stage_table` with one column `group` for its group columns: group, stage, trained_task, eval_task
         (`ALL`: all tasks together), n, mean, sd, low, high, accuracies from 0 to 1
"""

from collections.abc import Mapping

import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.figure import Figure
from pandas import DataFrame

from src_lab.plots.groups import Places, mean_with_band, narrow_page, wrapped
from src_lab.plots.panels import heat_map, legend_below, task_name, task_style
from src_lab.plots.run_report import WIDTH_IN, accuracy_matrix_of
from src_lab.stages import ALL

ACROSS = 2
"""Matrices beside each other."""
MAX_WRITTEN = 6
"""Columns of a matrix up to which there is room for numbers in its cells."""
CELL_IN = 0.26
TITLE_CHARACTERS = 50
SCALE = (0, 100, "Greens")
"""Of percents, as in `src_lab.plots.accuracy_table`."""
ALL_TASKS = {"color": "black", "marker": "", "label": "all tasks"}


def task_curves(stages: DataFrame) -> Figure:
    """Mean accuracy on each task, and on all, from stage to stage, with 95 % intervals as bands, a panel per group.

    The final stage repeats the last one and is left out; some group must have been measured after a training.
    """
    measured = before_the_end(stages)
    groups = list(measured["group"].unique())
    places = Places.of(measured)
    figure, grid = narrow_page(len(groups), 1, 1.5)
    panels = list(grid[:, 0])
    for axes, group in zip(panels, groups, strict=True):
        own = measured[measured["group"] == group]
        for task, rows in own.groupby("eval_task"):
            style = ALL_TASKS if task == ALL else task_style(int(str(task)))
            percents = rows.assign(**{name: 100 * rows[name] for name in ("mean", "low", "high")})
            mean_with_band(axes, places(rows), percents, style)
        places.mark(axes, own)
        axes.set_title(wrapped(group, TITLE_CHARACTERS), fontsize=10)
        axes.set_ylim(-4, 104)
        axes.tick_params(labelbottom=True)  # panels may be many, and a phone shows few at a time
    panels[-1].set_xlabel("Task learned", fontsize=10)
    figure.supylabel("Test accuracy (%)", fontsize=10)
    most = max(range(len(groups)), key=lambda number: len(panels[number].get_lines()))
    legend_below(figure, panels[most], columns=3)
    sns.despine(figure)
    return figure


def before_the_end(stages: DataFrame) -> DataFrame:
    """The rows that `task_curves` draws, those of groups that were measured after a training, with `phase` for stage."""
    known = stages[stages["stage"].isin(["initial", "train", "sleep"]) & stages["mean"].notna()]
    trained = known.loc[known["stage"] == "train", "group"]
    return known[known["group"].isin(trained)].rename(columns={"stage": "phase"})


def final_by_task(stages: DataFrame) -> Figure:
    """Heat map of the final accuracy in percent, a row per group and a column per task and for all; mean and sd written."""
    final = at_the_end(stages)
    means, sds = (100 * final[name].unstack("eval_task", sort=False) for name in ("mean", "sd"))
    texts = means.round(1).astype(str).where(means.notna(), "")
    texts += ("\n± " + sds.round(1).astype(str)).where(sds.notna(), "")
    figure, grid = narrow_page(1, 1, 0.45 * len(means))
    axes = grid[0, 0]
    means.index = [wrapped(name) for name in means.index]
    means.columns = ["all" if task == ALL else f"{task}" for task in means]
    heat_map(axes, means, SCALE, texts)
    axes.axvline(means.shape[1] - 1.5, color="white", linewidth=4)
    axes.set_xlabel("Tested on task", fontsize=10)
    return figure


def at_the_end(stages: DataFrame) -> DataFrame:
    """mean and sd of the final stage by (group, eval_task), groups in their order, `ALL` last."""
    final = stages[stages["stage"] == "final"]
    tasks = sorted(final["eval_task"].unique(), key=lambda task: (task == ALL, task))
    order = [(group, task) for group in final["group"].unique() for task in tasks]
    indexed: DataFrame = final.set_index(["group", "eval_task"])[["mean", "sd"]].reindex(order)
    return indexed


def accuracy_matrices(runs: Mapping[str, DataFrame]) -> Figure:
    """R[k, j] of one run per group, rows by task learned, columns by task tested, a panel per run.

    runs   by the panel's title, rows of `accuracy.csv`
    """
    matrices = {name: accuracy_matrix_of(accuracy) for name, accuracy in runs.items()}
    rows, columns = (max(matrix.shape[side] for matrix in matrices.values()) for side in (0, 1))
    across = min(ACROSS, len(matrices))
    figure, grid = narrow_page(-(-len(matrices) // across), across, 0.5 + CELL_IN * rows, sharex=False, sharey=False)
    panels = list(grid.ravel())
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=False):
        texts = matrix.map(lambda each: f"{each:.0f}" if each == each else "") if columns <= MAX_WRITTEN else None
        matrix.index = [task_name(task) for task in matrix.index]
        heat_map(axes, matrix, SCALE, texts)
        axes.set_aspect(across * CELL_IN * columns / (WIDTH_IN - across * 0.45), anchor="N")
        axes.set_title(wrapped(name), fontsize=10)
    for axes in panels[len(matrices) :]:
        axes.remove()
    figure.supxlabel("Tested on task", fontsize=10)
    figure.supylabel("After learning task", fontsize=10)
    return figure
