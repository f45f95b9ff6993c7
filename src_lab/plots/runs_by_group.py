"""One number of every run, by group, with the mean and its confidence interval: final accuracy, forgetting, …"""

import textwrap

import numpy as np
import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas import DataFrame

from src_lab.aggregate import with_interval
from src_lab.plots.run_report import WIDTH_IN

LABEL_CHARACTERS = 24


def runs_by_group(runs: DataFrame, quantity: str) -> Figure:
    """A point per run, and the mean of its group with Student's 95 % interval, groups in the order of their first run.

    runs       a row per run: group, value in percent; the axis goes from 0 to 100, and below where a value does
    quantity   what the values are, for the axis
    """
    moments = runs.groupby("group", sort=False)["value"].agg(["mean", "std", "count"])
    shown = with_interval(moments, "of")
    figure = Figure(figsize=(WIDTH_IN, 1.2 + 0.55 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    place = {name: row for row, name in enumerate(shown.index)}
    axes.scatter(runs["value"], runs["group"].map(place) + _spread(runs), s=16, color="0.55", label="run", zorder=2)
    half = (shown["of_high"] - shown["of_mean"]).fillna(0)
    axes.errorbar(
        shown["of_mean"], range(len(shown)), xerr=half, fmt="D", color=sns.color_palette("colorblind")[0], capsize=5,
        label="mean, 95 % interval", zorder=3,
    )  # fmt: skip
    axes.set_yticks(range(len(shown)), ["\n".join(textwrap.wrap(name, LABEL_CHARACTERS)) for name in shown.index])
    lowest = float(runs["value"].min())
    axes.set(xlim=(min(0.0, 1.1 * lowest), 100), xlabel=f"{quantity} (%)", ylim=(len(shown) - 0.5, -0.5))
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    sns.despine(figure)
    return figure


def _spread(runs: DataFrame) -> NDArray[np.floating]:
    """Small offsets, so that runs of one value do not hide each other; the same every time."""
    order = runs.groupby("group").cumcount().to_numpy()
    return 0.12 * ((order % 5) - 2)
