"""What analyses found inside the networks, by group of runs: means over seeds with 95 % intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.figure import Figure
from pandas import DataFrame, concat

from src_lab.plots.groups import Places, group_styles, legend_of_groups, mean_with_band, narrow_page, wrapped
from src_lab.plots.panels import layer_name, layers_of, legend_below, task_style

FEW = 8
"""Lines up to which a low panel is enough."""


def lines_by_group(tables: Mapping[str, DataFrame], groups: Sequence[str], ylabel: str) -> Figure:
    """A line per group with its interval as a band, a row of panels per layer and a column per table.

    tables   by the title of their column: group, phase (initial, train, sleep; no column where a row is a sleep),
             trained_task, layer, mean, low, high; nothing is below 0
    groups   all groups of the page, which gives each its style
    """
    together = concat(tables.values())
    layers, places = layers_of(together), Places.of(together)
    styles = {name: style for name, style in group_styles(groups).items() if name in set(together["group"])}
    figure, grid = narrow_page(len(layers), len(tables), 1.5 if len(styles) <= FEW else 2.4, sharey="row")
    for column, (title, table) in enumerate(tables.items()):
        for axes, layer in zip(grid[:, column], layers, strict=True):
            own = table[table["layer"] == layer]
            for name, style in styles.items():
                rows = own[own["group"] == name]
                mean_with_band(axes, places(rows), rows, style)
            places.mark(axes, own)
            axes.set_title(f"{layer_name(layer)}{f', {title}' if title else ''}", fontsize=10)
        grid[-1, column].set_xlabel("Task learned", fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylim(0, None)  # only now: it fixes the upper end of the whole row too
    figure.supylabel(ylabel, fontsize=10)
    legend_of_groups(figure, styles)
    sns.despine(figure)
    return figure


def importance_by_group(table: DataFrame) -> Figure:
    """Share of each layer's variance by task, as stacked bars, a panel per layer and a bar per group.

    table   group, layer, eval_task, mean (0-1)
    """
    layers, groups = layers_of(table), list(table["group"].unique())
    figure, grid = narrow_page(len(layers), 1, 0.4 + 0.3 * len(groups))
    for axes, layer in zip(grid[:, 0], layers, strict=True):
        own = table[table["layer"] == layer]
        shares = 100 * own.pivot(index="group", columns="eval_task", values="mean").reindex(groups)
        left = np.zeros(len(groups))
        for task, column in shares.items():
            style = task_style(int(str(task)))
            widths = column.fillna(0).to_numpy()
            axes.barh(range(len(groups)), widths, 0.8, left, color=style["color"], label=style["label"], edgecolor="white")
            left = left + widths
        axes.set_yticks(range(len(groups)), [wrapped(name) for name in groups], fontsize=9)
        axes.set(xlim=(0, 100), ylim=(len(groups) - 0.5, -0.5))
        axes.set_title(layer_name(layer), fontsize=10)
    grid[-1, 0].set_xlabel("Share of the layer's variance (%)", fontsize=10)
    legend_below(figure, grid[0, 0], columns=3)
    sns.despine(figure)
    return figure
