"""How many dimensions weights and activations use, through a run."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from src_lab.plots.panels import (
    AFTER,
    BEFORE,
    heading_of,
    label_stages,
    layer_name,
    layers_of,
    legend_below,
    page,
    shade_sleeps,
    stages_of,
    task_name,
    task_style,
)

BESIDE = 0.22
"""Before a sleep is drawn this far left of its task's tick, after it as far right."""


def stable_ranks(table: DataFrame, *, of: str = "") -> Figure:
    """Stable rank of every layer's weights by task learned, a panel per layer, an arrow per sleep.

    table   `src_lab.analysis.weight_ranks` of every stage: stage, stage_name, phase, trained_task, layer, stable_rank
    """
    layers, stages = layers_of(table), stages_of(table)
    figure, grid = page(1, len(layers), 2.6, heading_of("Stable rank of the weights", of))
    names = ["start" if phase == "initial" else task_name(task) for phase, task in _learned(stages)]
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    shift = stages["phase"].map({"initial": 0.0, "train": -BESIDE, "sleep": BESIDE}).to_numpy()
    x = np.array([order[name] for name in names]) + shift
    for axes, layer in zip(grid[0], layers, strict=True):
        ranks = table[table["layer"] == layer].set_index("stage")["stable_rank"].loc[stages.index].to_numpy(dtype=float)
        _path(axes, x, ranks, stages["phase"].to_numpy() == "sleep")
        axes.set_xticks(range(len(order)), list(order), fontsize=9)
        axes.set_title(layer_name(layer), fontsize=11)
        axes.grid(axis="y", color="0.9")
        axes.margins(y=0.12)
        axes.set_xlabel("Task learned", fontsize=10)
    grid[0, 0].set_ylabel("Stable rank (dimensions)")
    handles = [Line2D([], [], linestyle="", **_marker(slept)) for slept in ([False, True] if shift.max() > 0 else [False])]
    names = ["trained" if shift.max() <= 0 else "trained, before sleep", "after sleep"][: len(handles)]
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure


def effective_ranks(table: DataFrame, *, of: str = "") -> Figure:
    """Effective rank of every layer's activations on each task's images, from stage to stage, a panel per layer.

    table   `src_lab.analysis.activation_ranks` of every stage: stage, stage_name, phase, trained_task, layer, eval_task,
            effective_rank
    """
    layers, stages = layers_of(table), stages_of(table)
    figure, grid = page(len(layers), 1, 1.7, heading_of("Effective rank of the activations", of))
    for axes, layer in zip(grid[:, 0], layers, strict=True):
        ranks = table[table["layer"] == layer].pivot(index="stage", columns="eval_task", values="effective_rank")
        for task, values in ranks.items():
            axes.plot(range(len(ranks)), values, markersize=4, **task_style(int(str(task))))
        shade_sleeps(axes, stages)
        axes.set_title(layer_name(layer), fontsize=11)
        axes.set_ylim(0, None)
        axes.grid(axis="y", color="0.9")
        axes.set_xticks([])
    label_stages(grid[-1, 0], stages)
    figure.supylabel("Effective rank (dimensions)", fontsize=10)
    legend_below(figure, grid[0, 0])
    return figure


def _learned(stages: DataFrame) -> list[tuple[str, object]]:
    return list(zip(stages["phase"], stages["trained_task"], strict=True))


def _path(axes: Axes, x: np.ndarray, y: np.ndarray, slept: np.ndarray) -> None:
    """The stages in their order, thin between a stage and the next training, an arrow for each sleep."""
    axes.plot(x, y, color="0.8", linewidth=1, zorder=1)
    for place in np.flatnonzero(slept & np.isfinite(y) & np.isfinite(np.roll(y, 1))):
        arrow = {"arrowstyle": "-|>", "color": AFTER, "shrinkA": 3, "shrinkB": 3, "linewidth": 1.5}
        axes.annotate("", xy=(x[place], y[place]), xytext=(x[place - 1], y[place - 1]), arrowprops=arrow)
    for which in (False, True):
        axes.plot(x[slept == which], y[slept == which], linestyle="", **_marker(which))


def _marker(slept: bool) -> dict[str, Any]:
    if slept:
        return {"marker": "s", "color": AFTER, "markersize": 5}
    return {"marker": "o", "markerfacecolor": "white", "markeredgecolor": BEFORE, "markersize": 5}
