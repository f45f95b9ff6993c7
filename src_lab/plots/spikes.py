"""Who fires in sleep: the rates of all units, and those of the units that stand for a class."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from src_lab.plots.panels import AFTER, count_axis, dumbbells, heading_of, legend_below, sleep_grid


def firing_rates(table: DataFrame, *, of: str = "") -> Figure:
    """Histograms of units by firing rate, a row per sleep and a column per layer, on a logarithmic count.

    table   `src_lab.analysis.rate_histogram` of every sleep: trained_task, layer, left_hz, right_hz, units
    """

    def draw(axes: Axes, part: DataFrame) -> None:
        edges = np.append(part["left_hz"].to_numpy(), part["right_hz"].to_numpy()[-1:])
        axes.stairs(part["units"].to_numpy(), edges, fill=True, color=AFTER)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(labelsize=9)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)

    figure, grid = sleep_grid(table, draw, heading_of("Firing rates in sleep", of), "Firing rate (Hz)")
    count_axis(grid[0])
    figure.supylabel("Units", fontsize=10)
    return figure


def reactivation(table: DataFrame, *, of: str = "") -> Figure:
    """Firing rate in sleep of the units that answer most to a class, and of all others, a row per sleep.

    table   `src_lab.analysis.reactivation` of every sleep: trained_task, layer, class_, top, top_rate_hz, other_rate_hz
    """

    def draw(axes: Axes, part: DataFrame) -> None:
        rates = [part[column].to_numpy(dtype=float) for column in ("other_rate_hz", "top_rate_hz")]
        dumbbells(axes, part["class_"].tolist(), rates[0], rates[1], ("all other units", "the class's most active units"))

    figure, grid = sleep_grid(table, draw, heading_of("Reactivation of classes in sleep", of), "Class")
    for axes in grid[0]:
        axes.set_ylim(0, None)  # only now: it fixes the upper end too
    figure.supylabel("Firing rate (Hz)", fontsize=10)
    legend_below(figure, grid[0, 0])
    return figure
