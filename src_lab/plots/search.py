"""Pictures of a search: how it went, which settings mattered, and where in the space it found what.

trials   a row per trial: number, state (complete | pruned | failed), value (0-1, NaN unless complete), a column per setting
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pandas import DataFrame, Series, factorize, to_numeric

FloatArray = NDArray[np.float64]
LABEL_TICKS = 5
"""Values written beside an axis of parallel coordinates."""
MARKS = {"pruned": ("|", "0.6"), "failed": ("x", "tab:red")}


def history(trials: DataFrame) -> Figure:
    """Validation accuracy by trial and the best so far; trials without one are marked below the axis."""
    figure, axes = _page(7, 4)
    percent = 100 * trials["value"]
    complete = trials["state"] == "complete"
    axes.scatter(trials["number"][complete], percent[complete], s=18, color="tab:blue", label="trial")
    axes.plot(trials["number"], percent.cummax().ffill(), drawstyle="steps-post", color="tab:orange", label="best so far")
    for state, (marker, color) in MARKS.items():
        numbers = trials["number"][trials["state"] == state]
        if len(numbers):
            below = axes.get_xaxis_transform()
            axes.scatter(numbers, np.full(len(numbers), 0.02), marker=marker, color=color, transform=below, label=state)
    axes.set(xlabel="Trial", ylabel="Validation accuracy (%), mean over seeds", title="History")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """How much of the variance of the validation accuracy each setting explains (fANOVA, Hutter et al. 2014)."""
    ordered = Series(shares).sort_values(ascending=False)
    figure, axes = _page(7, 0.8 + 0.35 * len(ordered))
    sns.barplot(x=100 * ordered.to_numpy(), y=list(ordered.index), ax=axes, color="tab:blue")
    axes.bar_label(axes.containers[0], fmt="%.0f %%", padding=3)  # type: ignore[arg-type]  # bars are what barplot draws
    axes.set(xlabel="Share of the variance explained (%)", ylabel="", title="Importance of each setting")
    axes.set_xlim(0, 110 * ordered.iloc[0])
    sns.despine(figure)
    return figure


def parallel_coordinates(trials: DataFrame, settings: Sequence[str], logarithmic: Collection[str]) -> Figure:
    """A line per complete trial through its settings to its accuracy, the better the darker, the best in orange."""
    complete = trials[trials["state"] == "complete"].sort_values("value")
    figure, axes = _page(1.3 * (len(settings) + 2), 5)
    columns = [*settings, "validation accuracy (%)"]
    heights = np.empty((len(complete), len(columns)))
    for place, name in enumerate(columns):
        values = complete[name] if name in settings else 100 * complete["value"]
        heights[:, place] = _draw_axis(axes, place, values, name in logarithmic)
    lines = np.stack([np.broadcast_to(np.arange(len(columns)), heights.shape), heights], axis=-1)
    shades = LineCollection(list(lines), array=heights[:, -1], cmap="Blues", clim=(-0.3, 1), linewidths=1.2, alpha=0.8)
    axes.add_collection(shades)
    axes.plot(range(len(columns)), heights[-1], color="tab:orange", linewidth=2.5, label="best")
    axes.set(xlim=(-0.3, len(columns) - 0.4), ylim=(-0.04, 1.04), yticks=[], title="Settings of every complete trial")
    axes.set_xticks(range(len(columns)), [name.replace("sleep.", "", 1) for name in columns], rotation=20, ha="right")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    sns.despine(figure, left=True, bottom=True)
    return figure


def _draw_axis(axes: Axes, place: int, values: "Series[Any]", logarithmic: bool) -> FloatArray:
    """Draw one vertical axis with its values written beside it; returns where on it, 0 to 1, `values` lie."""
    numbers = to_numeric(values, errors="coerce")
    axes.axvline(place, color="0.8", linewidth=1, zorder=0)
    if numbers.isna().any():
        codes, names = factorize(values.astype(str), sort=True)
        top = max(1, len(names) - 1)
        _label(axes, place, [(code / top, str(name)) for code, name in enumerate(names)])
        return np.asarray(codes / top, float)
    scaled: FloatArray = np.log10(numbers.to_numpy(float)) if logarithmic else numbers.to_numpy(float)
    low, high = float(scaled.min()), float(scaled.max())
    ticks = np.linspace(low, high, LABEL_TICKS if high > low else 1)
    written = 10**ticks if logarithmic else ticks
    width = (high - low) or 1.0
    _label(axes, place, [((at - low) / width, _short(value)) for at, value in zip(ticks, written, strict=True)])
    heights: FloatArray = (scaled - low) / width
    return heights


def _label(axes: Axes, place: int, labels: Sequence[tuple[float, str]]) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    for height, text in labels:
        axes.text(place + 0.04, height, text, va="center", fontsize=8, bbox=box, zorder=5)


def _short(value: float) -> str:
    """Three digits, without an exponent where there need be none."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _page(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)  # seaborn draws to measure; without a canvas that can, it falls back on pyplot
    return figure, figure.subplots()
