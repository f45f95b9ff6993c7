"""How few units answer to an image, before and after a sleep."""

from typing import Literal

from matplotlib.figure import Figure
from pandas import DataFrame

from src_lab.plots.panels import dumbbells, heading_of, layer_name, layers_of, legend_below, page

Measure = Literal["active_share", "treves_rolls", "hoyer"]
NAMES: dict[Measure, str] = {
    "active_share": "Share of active units",
    "treves_rolls": "Treves-Rolls sparseness (low is sparse)",
    "hoyer": "Hoyer sparseness (high is sparse)",
}


def sparseness(before: DataFrame, after: DataFrame, measure: Measure = "treves_rolls", *, of: str = "") -> Figure:
    """One measure of sparseness by class, before and after a sleep, a panel per layer.

    before, after   `src_lab.analysis.sparseness` of two stages: layer, class_ and the measure, 0 to 1
    """
    layers = layers_of(before)
    figure, grid = page(1, len(layers), 2.4, heading_of("Sparseness of the activations", of), sharey=True)
    for axes, layer in zip(grid[0], layers, strict=True):
        pair = [table[table["layer"] == layer].set_index("class_")[measure] for table in (before, after)]
        values = [each.to_numpy(dtype=float) for each in pair]
        dumbbells(axes, pair[0].index.tolist(), values[0], values[1], ("before sleep", "after sleep"))
        axes.set_title(layer_name(layer), fontsize=11)
        axes.set_xlabel("Class", fontsize=10)
    grid[0, 0].set_ylabel(NAMES[measure], fontsize=9)
    grid[0, 0].set_ylim(0, None)
    legend_below(figure, grid[0, 0])
    return figure
