"""How alike classes and tasks are to a network, before and after a sleep."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from pandas import DataFrame

from src_lab.plots.panels import DIVERGING, SEQUENTIAL, heading_of, heat_map, layer_name, layers_of, page, symmetric_limit

WHEN = ("before sleep", "after sleep", "difference")
MAX_ANNOTATED = 6
"""Sides of a matrix up to this have their numbers written in the cells."""


def class_correlations(before: DataFrame, after: DataFrame, *, of: str = "") -> Figure:
    """Correlation of classes' mean activations before and after a sleep and what changed, a row per layer.

    before, after   `src_lab.analysis.class_correlation` of two stages: layer, class_a, class_b, correlation
    """
    columns = ("class_a", "class_b", "correlation")
    return _matrices(before, after, columns, (-1, 1, DIVERGING), heading_of("Correlation of classes", of), "Class")


def task_overlaps(before: DataFrame, after: DataFrame, *, of: str = "") -> Figure:
    """Overlap of tasks' leading components before and after a sleep and what changed, a row per layer.

    before, after   `src_lab.analysis.task_overlap` of two stages: layer, task_a, task_b, overlap
    """
    columns = ("task_a", "task_b", "overlap")
    return _matrices(before, after, columns, (0, 1, SEQUENTIAL), heading_of("Overlap of tasks", of), "Task")


def _matrices(
    before: DataFrame,
    after: DataFrame,
    columns: tuple[str, str, str],
    scale: tuple[float, float, str],
    heading: str,
    what: str,
) -> Figure:
    layers = layers_of(before)
    figure, grid = page(len(layers), 3, 2.0, heading)
    triples = [_triple(before, after, layer, columns) for layer in layers]
    limit = symmetric_limit(triple[2].to_numpy() for triple in triples)
    scales = (scale, scale, (-limit, limit, DIVERGING))
    for row, (layer, triple) in enumerate(zip(layers, triples, strict=True)):
        for axes, matrix, colors in zip(grid[row], triple, scales, strict=True):
            heat_map(axes, matrix, colors, _numbers(matrix) if len(matrix) <= MAX_ANNOTATED else None)
        grid[row, 0].set_ylabel(layer_name(layer), fontsize=10)
    for axes, when in zip(grid[0], WHEN, strict=True):
        axes.set_title(when, fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel(what, fontsize=9)
    for panels, label in ((grid[:, :2], columns[2]), (grid[:, 2:], "difference")):
        bar = figure.colorbar(panels[0, 0].images[0], ax=list(panels.ravel()), location="bottom", aspect=30, shrink=0.8)
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return figure


def _triple(before: DataFrame, after: DataFrame, layer: int, columns: tuple[str, str, str]) -> Sequence[DataFrame]:
    a, b, value = columns
    first, second = (
        table[table["layer"] == layer].pivot(index=a, columns=b, values=value).astype(float) for table in (before, after)
    )
    return first, second, second - first


def _numbers(matrix: DataFrame) -> DataFrame:
    rounded = matrix.round(2) + 0.0  # without the sign of -0
    return rounded.map(lambda each: f"{each:.2f}" if each == each else "")
