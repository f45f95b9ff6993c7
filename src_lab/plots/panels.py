"""What the pictures of `src_lab.analysis` share: pages of panels, names of layers, tasks and stages, colours and scales.

Tables of a whole run have leading columns stage (int from 0), stage_name, phase ("initial" | "train" | "sleep") and
trained_task (-1: all at once, empty for the initial stage); tables of its sleeps have trained_task alone.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray
from pandas import DataFrame

from src_lab.plots.run_report import MARKERS

Array = NDArray[np.floating]

WIDTH_IN = 6.6
"""Of a page: 990 pixels at the dots per inch of `src_lab.plots.png`."""
DIVERGING, SEQUENTIAL = "vlag", "cividis"
"""Perceptually even colour maps, told apart by colour-blind readers too: around 0, and from 0 up."""
BEFORE, AFTER = (0.55, 0.55, 0.55), sns.color_palette("colorblind")[0]


def page(
    rows: int, columns: int, panel_in: float, heading: str, *, sharey: bool | Literal["col"] = False
) -> tuple[Figure, NDArray[Any]]:
    """A figure of rows x columns panels of that height, and its axes as an array of that shape."""
    figure = Figure(figsize=(WIDTH_IN, 0.9 + panel_in * rows), layout="constrained")
    FigureCanvasAgg(figure)  # seaborn draws to measure; without a canvas that can, it falls back on pyplot
    figure.suptitle(heading, fontsize=11, wrap=True)
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def sleep_grid(
    table: DataFrame, draw: Callable[[Axes, DataFrame], None], heading: str, xlabel: str
) -> tuple[Figure, NDArray[Any]]:
    """A row per sleep and a column per layer; `draw` gets each panel and its part of `table` (trained_task, layer, …)."""
    sleeps, layers = list(table["trained_task"].unique()), layers_of(table)
    figure, grid = page(len(sleeps), len(layers), 1.35, heading, sharey="col")
    for row, sleep in enumerate(sleeps):
        for column, layer in enumerate(layers):
            draw(grid[row, column], table[(table["trained_task"] == sleep) & (table["layer"] == layer)])
        grid[row, 0].set_ylabel(f"Sleep {task_name(sleep)}", fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel(xlabel, fontsize=10)
    for axes, layer in zip(grid[0], layers, strict=True):
        above = axes.get_title()
        axes.set_title(f"{layer_name(layer)}\n{above}" if above else layer_name(layer), fontsize=axes.title.get_fontsize())
    return figure, grid


def heading_of(what: str, of: str) -> str:
    """ "Stable rank of the weights, digits-src-s0": a title with what it is of, if given."""
    return f"{what}, {of}" if of else what


def layers_of(table: DataFrame) -> list[int]:
    return sorted(int(layer) for layer in table["layer"].unique())


def layer_name(layer: int) -> str:
    return f"Layer {layer}"


def task_name(task: object) -> str:
    """ "3", "all" for -1 and "" for none; a CSV file gives tasks as floats."""
    number = float(str(task)) if task is not None and str(task) not in ("<NA>", "nan") else float("nan")
    return "" if number != number else "all" if number < 0 else f"{number:.0f}"


def stages_of(table: DataFrame) -> DataFrame:
    """A row per stage of the run, in its order: phase, trained_task, stage_name; index stage."""
    return table.drop_duplicates("stage").set_index("stage")[["phase", "trained_task", "stage_name"]].sort_index()


def label_stages(axes: Axes, stages: DataFrame) -> None:
    """Names of the stages below the axes, whose x counts them from 0."""
    names = [str(name).removeprefix("After ") for name in stages["stage_name"]]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")


def shade_sleeps(axes: Axes, stages: DataFrame) -> None:
    """Grey bands from before to after each sleep."""
    for place, phase in enumerate(stages["phase"]):
        if phase == "sleep":
            axes.axvspan(place - 1, place, color="0.9", zorder=0, linewidth=0)


def task_style(task: int) -> dict[str, Any]:
    """Colour, marker and label of a task, the same on every picture."""
    colors = sns.color_palette("colorblind")
    return {"color": colors[task % len(colors)], "marker": MARKERS[task % len(MARKERS)], "label": f"task {task}"}


def around_sleep(table: DataFrame, task: int | None = None) -> tuple[DataFrame, DataFrame]:
    """The rows of the stages just before and after the sleep that followed `task`, by default the last sleep of all.

    Raises ValueError where the run did not sleep then.
    """
    slept = table[table["phase"] == "sleep"]
    if task is not None:
        slept = slept[slept["trained_task"] == task]
    if slept.empty:
        raise ValueError(f"no sleep{'' if task is None else f' after task {task}'} in this table")
    stage = slept["stage"].max()
    return table[table["stage"] == stage - 1], table[table["stage"] == stage]


def symmetric_limit(arrays: Iterable[Array]) -> float:
    """The largest finite magnitude, or 1 where there is none: a colour scale of ± this has 0 in its middle."""
    found = max((float(np.abs(a[np.isfinite(a)]).max()) for a in arrays if np.isfinite(a).any()), default=0.0)
    return found or 1.0


def heat_map(axes: Axes, values: DataFrame, scale: tuple[float, float, str], texts: DataFrame | None = None) -> AxesImage:
    """`values` as coloured cells on a scale (low, high, colour map), NaN grey, `texts` written in them.

    seaborn's heatmap lays out the whole figure for each panel, which takes seconds where panels are many.
    """
    low, high, colors = scale
    cells = values.to_numpy(dtype=float)
    image = axes.imshow(cells, aspect="auto", cmap=colors, vmin=low, vmax=high)
    axes.set_facecolor("0.9")
    axes.set_xticks(range(values.shape[1]), [str(each) for each in values.columns], fontsize=9)
    axes.set_yticks(range(values.shape[0]), [str(each) for each in values.index], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if texts is not None:
        for (row, column), text in np.ndenumerate(texts.to_numpy(dtype=object)):
            red, green, blue, _ = image.to_rgba(cells[row, column])
            ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.46 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    return image


def count_axis(panels: Iterable[Axes]) -> None:
    """A logarithmic count from 1 up, in plain numbers, for panels that are drawn already and share their y axis."""
    for axes in panels:
        together = axes.get_shared_y_axes().get_siblings(axes)
        axes.set_ylim(0.7, max(12.0, *(1.5 * each.dataLim.y1 for each in together)))
        axes.set_yscale("log")  # only now, or an empty histogram has no limits to take a logarithm of
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def dumbbells(axes: Axes, classes: Sequence[int], low: Array, high: Array, labels: tuple[str, str]) -> None:
    """Two values per class, a grey ring and a coloured disc, joined."""
    places = range(len(classes))
    axes.vlines(places, low, high, color="0.75", zorder=1)
    axes.plot(places, low, "o", markerfacecolor="white", markeredgecolor=BEFORE, markersize=5, label=labels[0])
    axes.plot(places, high, "o", color=AFTER, markersize=5, label=labels[1])
    axes.set_xticks(places, [str(each) for each in classes], fontsize=9)
    axes.tick_params(axis="y", labelsize=9)
    axes.grid(axis="y", color="0.9")


def legend_below(figure: Figure, axes: Axes, columns: int = 5) -> None:
    """One legend for all panels, from the artists of one of them."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=10)
