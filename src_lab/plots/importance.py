"""How much of a layer each task uses, and whether tasks share it."""

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame

from src_lab.analysis.pca import REST
from src_lab.plots.panels import (
    SEQUENTIAL,
    heading_of,
    heat_map,
    label_stages,
    layer_name,
    layers_of,
    legend_below,
    page,
    stages_of,
    task_style,
)

LEAST_WRITTEN = 0.005
"""Shares below this are left blank: they would read 0 %."""


def task_importance(table: DataFrame, *, of: str = "") -> Figure:
    """Share of every layer's variance that each task has, as stacked bars from stage to stage, a panel per layer.

    table   `src_lab.analysis.pca_importance` of every stage: stage, stage_name, phase, trained_task, layer, eval_task,
            component, share
    """
    layers, stages = layers_of(table), stages_of(table)
    figure, grid = page(len(layers), 1, 1.5, heading_of("Share of each layer's variance by task", of))
    for axes, layer in zip(grid[:, 0], layers, strict=True):
        own = table[table["layer"] == layer].groupby(["stage", "eval_task"])["share"].sum(min_count=1)
        shares = 100 * own.unstack("eval_task")
        bottom = np.zeros(len(shares))
        for task, column in shares.items():
            style = task_style(int(str(task)))
            heights = column.to_numpy()
            axes.bar(range(len(shares)), heights, 0.8, bottom, color=style["color"], label=style["label"], edgecolor="white")
            bottom = bottom + heights
        axes.set(ylim=(0, 100), xlim=(-0.6, len(stages) - 0.4))
        axes.set_title(layer_name(layer), fontsize=11)
        axes.set_xticks([])
    label_stages(grid[-1, 0], stages)
    figure.supylabel("Share of the layer's variance (%)", fontsize=10)
    legend_below(figure, grid[0, 0])
    return figure


def component_importance(before: DataFrame, after: DataFrame, *, components: int = 10, of: str = "") -> Figure:
    """Share of every layer's variance by task and leading component, before and after a sleep, a row per layer.

    before, after   `src_lab.analysis.pca_importance` of two stages: layer, eval_task, component, share
    components      leading ones to show, as many as there are
    """
    layers = layers_of(before)
    figure, grid = page(len(layers), 2, 1.9, heading_of("Principal components by task", of), sharey=True)
    for row, layer in enumerate(layers):
        pair = [_by_component(stage, layer, components) for stage in (before, after)]
        largest = float(np.nanmax([np.nanmax(np.append(shares, 0.0)) for shares in pair]))
        for axes, shares, when in zip(grid[row], pair, ("before sleep", "after sleep"), strict=True):
            text = shares.map(lambda share: f"{share:.0f}" if share >= 100 * LEAST_WRITTEN else "")
            heat_map(axes, shares, (0, largest or 1.0, SEQUENTIAL), text)
            axes.set_title(f"{layer_name(layer)}, {when}", fontsize=10)
    figure.supxlabel("Component; cells: share of the layer's variance (%)", fontsize=10)
    figure.supylabel("Task", fontsize=10)
    return figure


def _by_component(table: DataFrame, layer: int, components: int) -> DataFrame:
    """Percent, a row per task and a column per leading component."""
    listed = table[(table["layer"] == layer) & (table["component"] <= components)]
    leading = listed[listed["component"] != REST]
    return 100 * (leading if len(leading) else listed).pivot(index="eval_task", columns="component", values="share")
