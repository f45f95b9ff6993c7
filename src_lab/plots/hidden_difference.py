"""How far sleep turned the activations of every class, layer by layer."""

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame

from src_lab.plots.panels import SEQUENTIAL, heading_of, heat_map, page, task_name

ACROSS = 5
MEAN = "mean"


def hidden_difference(table: DataFrame, *, of: str = "") -> Figure:
    """Heat maps of 1 - cosine by class and layer, a panel per sleep, the mean of each layer's classes below.

    table   `src_lab.analysis.hidden_difference` of every sleep: trained_task, layer, class_, difference
    """
    sleeps = {task: difference_by_class(part) for task, part in table.groupby("trained_task", sort=False)}
    across = min(ACROSS, len(sleeps))
    down = -(-len(sleeps) // across)
    classes = max(len(each) for each in sleeps.values())
    heading = heading_of("Change of the activations by sleep, 1 - cosine", of)
    figure, grid = page(down, across, 0.6 + 0.26 * classes, heading)
    largest = float(np.nanmax(np.append(table["difference"].to_numpy(dtype=float), 0.0))) or 1.0
    panels = list(grid.ravel())
    for place, (axes, (task, values)) in enumerate(zip(panels, sleeps.items(), strict=False)):
        texts = values.map(lambda each: f"{each:.2f}" if each == each else "")
        heat_map(axes, values, (0, largest, SEQUENTIAL), texts)
        axes.axhline(len(values) - 1.5, color="white", linewidth=4)
        axes.set_title(f"Sleep {task_name(task)}", fontsize=10)
        if place % across:
            axes.set_yticks([])
    for axes in panels[len(sleeps) :]:
        axes.remove()
    figure.supxlabel("Layer", fontsize=10)
    figure.supylabel("Class, and the layer's mean", fontsize=10)
    return figure


def difference_by_class(sleep: DataFrame) -> DataFrame:
    """A row per class and one for their mean, a column per layer; NaN where a layer was silent."""
    values = sleep.pivot(index="class_", columns="layer", values="difference")
    values.loc[MEAN] = values.mean()
    values.index = values.index.map(str)
    return values
