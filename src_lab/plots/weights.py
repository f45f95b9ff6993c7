"""How sleep moved the distribution of the weights."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from src_lab.plots.panels import AFTER, count_axis, heading_of, legend_below, sleep_grid


def weight_distributions(histogram: DataFrame, changes: DataFrame, *, of: str = "") -> Figure:
    """Weights before and after each sleep, a row per sleep and a column per layer, on a logarithmic count.

    histogram   `src_lab.analysis.weight_histogram` of every sleep: trained_task, layer, when, left, right, count
    changes     `src_lab.analysis.weight_changes` of the same: trained_task, layer, increased, decreased (shares, in the
                titles)
    """
    shares = changes.set_index(["trained_task", "layer"])

    def draw(axes: Axes, part: DataFrame) -> None:
        for when, style in (("before", {"color": "0.7", "fill": True}), ("after", {"color": AFTER, "linewidth": 1.2})):
            own = part[part["when"] == when]
            edges = np.append(own["left"].to_numpy(), own["right"].to_numpy()[-1:])
            axes.stairs(own["count"].to_numpy(), edges, label=f"{when} sleep", **style)
        own = shares.loc[(part["trained_task"].iloc[0], part["layer"].iloc[0])]
        axes.set_title(f"up {100 * own['increased']:.1f} %, down {100 * own['decreased']:.1f} %", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 3, 5, 10]))
        axes.tick_params(labelsize=9)

    figure, grid = sleep_grid(histogram, draw, heading_of("Weights before and after sleep", of), "Weight")
    count_axis(grid[0])
    figure.supylabel("Number of weights", fontsize=10)
    legend_below(figure, grid[0, 0])
    return figure
