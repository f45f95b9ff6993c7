"""What each layer answers to the images of every class, in a few principal components."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src_lab.analysis import OrderedPca
from src_lab.plots.panels import DIVERGING, Array, heading_of, layer_name, page, symmetric_limit

MAX_IMAGES = 10_000
"""Rows of a picture; of more images an even choice is shown."""


def before_after_difference(layers: Sequence[OrderedPca]) -> dict[str, list[Array]]:
    """The rows of `activity_grid` for one sleep: layer by layer before it, after it, and after minus before."""
    return {
        "Before": [layer.before for layer in layers],
        "After": [layer.after for layer in layers],
        "Difference": [layer.after - layer.before for layer in layers],
    }


def activity_grid(
    rows: Mapping[str, Sequence[Array]], labels: NDArray[np.integer], class_averaged: bool, *, of: str = ""
) -> Figure:
    """Activations as coloured images, a panel per row and layer, its scale common to the layer and centred at 0.

    Colours go by the signed square root: the first component is often far above the others, which would all look alike.

    rows            name of a row ("Before", "Task 0", "Merged", …): an array (images, components) per layer
    labels          (images,) ascending, the class of each image
    class_averaged  show each class's mean instead of every image
    """
    shown, classes = _classes_shown(rows, labels) if class_averaged else _images_shown(rows, labels)
    layers = len(next(iter(shown.values())))
    kind = "class means" if class_averaged else "every image"
    figure, grid = page(len(shown), layers, 1.7 if class_averaged else 2.0, heading_of(f"Activity by class, {kind}", of))
    limits = [symmetric_limit(row[layer] for row in shown.values()) for layer in range(layers)]
    for panels, (name, states) in zip(grid, shown.items(), strict=True):
        for axes, state, limit in zip(panels, states, limits, strict=True):
            axes.imshow(state, aspect="auto", interpolation="nearest", cmap=DIVERGING, norm=_signed_root(limit))
            axes.set_facecolor("0.9")
            axes.set_xticks([])
            _mark_classes(axes, classes, first=axes is panels[0])
        panels[0].set_ylabel(f"{name}\nclass", fontsize=10)
    for layer, axes in enumerate(grid[0], start=1):
        axes.set_title(layer_name(layer) if layer < layers else f"Layer {layer} (output)", fontsize=10)
    for layer, axes in enumerate(grid[-1]):
        width = rows_width(shown, layer)
        ticks = range(0, width, 1 if width <= 10 else -(-width // 10))
        output = layer == layers - 1
        axes.set_xticks(ticks, [str(tick if output else tick + 1) for tick in ticks], fontsize=8)
        axes.set_xlabel("output unit" if output else "component", fontsize=9)
        bar = figure.colorbar(axes.images[0], ax=list(grid[:, layer]), location="bottom", shrink=0.9, aspect=30)
        limit = limits[layer]
        bar.set_ticks([-limit, -limit / 4, 0, limit / 4, limit])
        bar.set_ticklabels([f"{tick:.2g}" for tick in bar.get_ticks()], fontsize=8)
    return figure


def rows_width(rows: Mapping[str, Sequence[Array]], layer: int) -> int:
    """The widest of a layer's panels, in components."""
    return max(int(states[layer].shape[1]) for states in rows.values())


def _signed_root(limit: float) -> FuncNorm:
    """Colours by sign(x) sqrt(|x|) from -limit to limit."""
    return FuncNorm((lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * x**2), -limit, limit)


def _classes_shown(
    rows: Mapping[str, Sequence[Array]], labels: NDArray[np.integer]
) -> tuple[dict[str, list[Array]], NDArray[np.integer]]:
    classes = np.unique(labels)
    means = {
        name: [np.stack([state[labels == each].mean(axis=0) for each in classes]) for state in states]
        for name, states in rows.items()
    }
    return means, classes


def _images_shown(
    rows: Mapping[str, Sequence[Array]], labels: NDArray[np.integer]
) -> tuple[dict[str, list[Array]], NDArray[np.integer]]:
    picked = np.unique(np.linspace(0, len(labels) - 1, min(MAX_IMAGES, len(labels))).round().astype(int))
    return {name: [state[picked] for state in states] for name, states in rows.items()}, labels[picked]


def _mark_classes(axes: Axes, labels: NDArray[np.integer], *, first: bool) -> None:
    """A line between classes, and in the first column the class at the middle of its rows."""
    classes, starts, counts = np.unique(labels, return_index=True, return_counts=True)
    for start in starts[1:]:
        axes.axhline(start - 0.5, color="0.35", linewidth=0.4)
    axes.set_yticks(starts + counts / 2 - 0.5, [str(each) for each in classes] if first else [], fontsize=8)
    axes.tick_params(axis="y", length=0)
