"""What pictures that compare groups of runs share: narrow pages of panels, a style per group, places for stages."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from pandas import DataFrame, Series

from src_lab.plots.panels import task_name
from src_lab.plots.ranks import BESIDE
from src_lab.plots.run_report import MARKERS, WIDTH_IN

DASHES = ("-", "--", ":", "-.")
LABEL_CHARACTERS = 22


@dataclass(frozen=True)
class Places:
    """Where on a common x axis the stages of all groups lie: tasks learned from left to right, before and after sleep.

    Stages are rows with trained_task and phase (initial, train, sleep); rows without a phase are sleeps, seen as a whole.
    """

    names: list[str]

    @classmethod
    def of(cls, table: DataFrame) -> "Places":
        """The places of the stages in `table`."""
        names = list(dict.fromkeys(_learned(table)))
        return cls([*(name for name in names if name != "all"), *(name for name in names if name == "all")])

    def __call__(self, table: DataFrame) -> "Series[float]":
        """Per row of a group, its x: where it sleeps, as far right of its task's tick as the training is left of it."""
        order = {name: float(place) for place, name in enumerate(self.names)}
        phases = _phases(table)
        shift = BESIDE if (phases == "sleep").any() else 0.0
        beside = phases.map({"train": -shift, "sleep": shift}).fillna(0.0)
        return Series([order[name] for name in _learned(table)], index=table.index) + beside

    def mark(self, axes: Axes, table: DataFrame) -> None:
        """Name the places below `axes`, and shade the sleeps in `table`."""
        axes.set_xticks(range(len(self.names)), self.names, fontsize=8)
        axes.set_xlim(-0.4, len(self.names) - 0.6)
        for after in self(table)[_phases(table) == "sleep"].unique():
            axes.axvspan(after - 2 * BESIDE, after, color="0.9", zorder=0, linewidth=0)


def _learned(table: DataFrame) -> list[str]:
    return [
        "start" if phase == "initial" else task_name(task)
        for phase, task in zip(_phases(table), table["trained_task"], strict=True)
    ]


def _phases(table: DataFrame) -> "Series[str]":
    return table["phase"] if "phase" in table else Series("", index=table.index)


def group_styles(groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of each group, by which lines that lie on each other are still told apart."""
    colors = sns.color_palette("colorblind")
    return {
        name: {
            "color": colors[place % len(colors)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[place % len(DASHES)],
        }
        for place, name in enumerate(groups)
    }


def narrow_page(
    rows: int, columns: int, panel_in: float, *, sharex: bool = True, sharey: bool | Literal["row"] = True
) -> tuple[Figure, NDArray[Any]]:
    """A figure that a phone can show, of rows x columns panels of that height, and its axes as an array of that shape."""
    figure = Figure(figsize=(WIDTH_IN, 0.9 + panel_in * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    return figure, grid


def mean_with_band(axes: Axes, x: "Series[float]", table: DataFrame, style: dict[str, Any]) -> None:
    """A line through `mean`, and a band from `low` to `high` where there is an interval."""
    axes.plot(x, table["mean"], markersize=3.5, linewidth=1.4, **style)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelsize=8)
    if table["low"].notna().any():
        axes.fill_between(x, table["low"], table["high"], color=style["color"], alpha=0.18, linewidth=0)


def wrapped(name: str, characters: int = LABEL_CHARACTERS) -> str:
    """A group's name in lines."""
    return "\n".join(textwrap.wrap(name, characters))


def legend_of_groups(figure: Figure, styles: dict[str, dict[str, Any]]) -> None:
    """Below the panels, the style of each group."""
    handles = [Line2D([], [], markersize=4, label=wrapped(name), **style) for name, style in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
