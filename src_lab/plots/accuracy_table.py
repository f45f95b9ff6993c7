"""The coloured accuracy table: every approach and stage by task, greens by value."""

import itertools
import textwrap
from collections.abc import Sequence

import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory
from pandas import DataFrame, Series, isna

from src_lab.aggregate import group_names
from src_lab.run_folder import FINAL_STAGE

NOT_MEASURED = "-"
MAX_ROWS = 120
"""Rows that a reader can still take in; beyond, only final rows are drawn, and the best of those."""
ROW_IN, CELL_IN, CHARACTER_IN, EDGE_IN, HEAD_IN = 0.3, 1.05, 0.085, 0.1, 0.65
"""Height of a row, widths of a cell, a bold character of 9 points and the border, height of the head, in inches."""
LABEL_CHARACTERS = (32, 100)
"""A group's name is wrapped to this width at least and at most, and cut where its rows have no room for more lines."""


def accuracy_table(stages: DataFrame) -> Figure:
    """Picture of accuracies by group, stage and task, as `src_lab.aggregate.stage_accuracies` gives them.

    stages   index (group columns .., Stage), columns (task, mean | std | count), in percent

    A cell shows mean ± sd, or one run's value alone; what was not measured is blank on grey; the rows of the final
    stage are bold. Of more than `MAX_ROWS` rows only the final ones are drawn, and of too many of those the best.
    """
    shown, note = _fitting(stages)
    means = DataFrame(shown.xs("mean", axis=1, level=1))
    labels = group_labels(shown)
    names = list(shown.index.get_level_values("Stage"))
    groups = _wrapped([(label, len(list(rows))) for label, rows in itertools.groupby(labels)])
    characters = max(map(len, names)) + 2 + max(len(line) for lines, _ in groups for line in lines)
    figure, axes = _page(characters * CHARACTER_IN + 2 * EDGE_IN, CELL_IN * means.shape[1], ROW_IN * len(means))
    _draw_cells(axes, shown, means)
    _draw_stages(axes, names)
    _draw_groups(figure, axes, groups)
    axes.set_title(f"Accuracy (%){note}", fontsize=11, fontweight="bold")
    return figure


def mean_and_sd(mean: float, sd: float) -> str:
    """ "72.6 ± 2.9", or the mean alone where there is no sd."""
    if isna(mean):
        return NOT_MEASURED
    return f"{mean:.1f}" if isna(sd) else f"{mean:.1f} ± {sd:.1f}"


def group_labels(stages: DataFrame) -> list[str]:
    """Per row, a name of its group and n, the number of runs where there are several."""
    keys = stages.index.to_frame(index=False).drop(columns="Stage")
    group = keys.groupby(list(keys), dropna=False, sort=False).ngroup()
    runs = Series(stages.xs("count", axis=1, level=1).to_numpy().max(axis=1)).groupby(group).transform("max")
    return [f"{name} (n={n})" if n > 1 else name for name, n in zip(group_names(keys), runs, strict=True)]


def _fitting(stages: DataFrame) -> tuple[DataFrame, str]:
    """At most `MAX_ROWS` rows, and what the title says of those left out."""
    if len(stages) <= MAX_ROWS:
        return stages, ""
    final = stages[stages.index.get_level_values("Stage") == FINAL_STAGE]
    if len(final) <= MAX_ROWS:
        return final, ", final stage only"
    best = final.sort_values(("Task All", "mean"), ascending=False, kind="stable").head(MAX_ROWS)
    return best, f", final stage, best {MAX_ROWS} of {len(final)}"


def _draw_cells(axes: Axes, shown: DataFrame, means: DataFrame) -> None:
    texts = DataFrame({task: list(map(mean_and_sd, shown[task]["mean"], shown[task]["std"])) for task in means})
    sns.heatmap(
        means.reset_index(drop=True),
        ax=axes,
        vmin=0,
        vmax=100,
        cmap="Greens",
        cbar=False,
        annot=texts.to_numpy(),
        fmt="",
        annot_kws={"fontsize": 9},
        linewidths=0.5,
        linecolor="white",
        xticklabels=list(means),
        yticklabels=False,
    )
    axes.set_facecolor("0.9")
    axes.tick_params(axis="x", top=False, bottom=False, labeltop=True, labelbottom=False, labelsize=9)
    axes.set(xlabel="", ylabel="")


def _draw_stages(axes: Axes, names: Sequence[str]) -> None:
    """Stage names beside the rows, the final rows bold."""
    axes.set_yticks([row + 0.5 for row in range(len(names))], names, fontsize=9, rotation=0)
    axes.tick_params(axis="y", length=0)
    cells = {row: [text for text in axes.texts if int(text.get_position()[1]) == row] for row in range(len(names))}
    for row, tick in enumerate(axes.get_yticklabels()):
        for text in (tick, *cells[row]):
            text.set_fontweight("bold" if names[row] == FINAL_STAGE else "normal")


def _draw_groups(figure: Figure, axes: Axes, groups: Sequence[tuple[list[str], int]]) -> None:
    """The name of each group from its first row down, at the left edge, and a line before the next group."""
    across = blended_transform_factory(figure.transFigure, axes.transData)
    left = EDGE_IN / figure.get_figwidth()
    start = 0
    for lines, rows in groups:
        axes.text(left, start + 0.28, "\n".join(lines), transform=across, va="top", fontsize=9, fontweight="bold")
        if start:
            axes.add_line(Line2D([left, 1 - left], [start] * 2, transform=across, color="black", lw=1, clip_on=False))
        start += rows


def _wrapped(groups: Sequence[tuple[str, int]]) -> list[tuple[list[str], int]]:
    """Names in lines, as narrow as the rows of each group allow: two lines fit into a row, bar the first."""
    least, most = LABEL_CHARACTERS
    width = max(min(most, len(label) * 5 // (4 * (2 * rows - 1)) + 1) for label, rows in groups)
    return [
        (
            textwrap.wrap(label, max(least, width), max_lines=2 * rows - 1, placeholder=" …", break_on_hyphens=False),
            rows,
        )
        for label, rows in groups
    ]


def _page(left_in: float, width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """A figure with room for names at the left of the cells and for a title above them."""
    size = left_in + width_in + EDGE_IN, HEAD_IN + height_in + EDGE_IN
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)  # seaborn draws to measure; without a canvas that can, it falls back on pyplot
    axes = figure.add_axes((left_in / size[0], EDGE_IN / size[1], width_in / size[0], height_in / size[1]))
    return figure, axes
