"""Final accuracy of every run, by group, with the mean and its confidence interval."""

import textwrap
from collections.abc import Sequence

import numpy as np
import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas import DataFrame

from src_lab.aggregate import group_names, with_interval

MAX_GROUPS = 30
"""Groups that a reader can still take in; of more, the best are drawn."""
LABEL_CHARACTERS = 24


def grouped_accuracies(runs: DataFrame, grouping: Sequence[str]) -> DataFrame:
    """A row per run of a `runs.csv` with its `group`, as `src_lab.aggregate` names it, and `accuracy` in percent."""
    keys = runs[list(grouping)].astype(object).fillna("")
    number = keys.groupby(list(grouping), sort=False).ngroup()
    firsts = keys[~number.duplicated()]
    names = group_names(firsts.reset_index(drop=True))
    table = DataFrame({"group": [names[each] for each in number], "accuracy": 100 * runs["final_accuracy"]})
    return table.dropna(ignore_index=True)


def final_accuracy(runs: DataFrame) -> Figure:
    """A point per run, and the mean of its group with Student's 95 % interval; of too many groups the best."""
    moments = runs.groupby("group", sort=False)["accuracy"].agg(["mean", "std", "count"])
    stats = with_interval(moments, "of").nlargest(MAX_GROUPS, "of_mean")
    shown = stats.loc[[name for name in moments.index if name in stats.index]]
    figure = Figure(figsize=(4.8, 1.2 + 0.55 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    place = {name: row for row, name in enumerate(shown.index)}
    drawn = runs[runs["group"].isin(place)]
    heights = drawn["group"].map(place) + _spread(drawn)
    axes.scatter(drawn["accuracy"], heights, s=16, color="0.55", label="run", zorder=2)
    half = (shown["of_high"] - shown["of_mean"]).fillna(0)
    axes.errorbar(
        shown["of_mean"], range(len(shown)), xerr=half, fmt="D", color=sns.color_palette("colorblind")[0], capsize=5,
        label="mean, 95 % interval", zorder=3,
    )  # fmt: skip
    axes.set_yticks(range(len(shown)), ["\n".join(textwrap.wrap(name, LABEL_CHARACTERS)) for name in shown.index])
    axes.set(xlim=(0, 100), xlabel="Final accuracy (%)", ylim=(len(shown) - 0.5, -0.5))
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    sns.despine(figure)
    return figure


def _spread(runs: DataFrame) -> NDArray[np.floating]:
    """Small offsets, so that runs of one accuracy do not hide each other; the same every time."""
    order = runs.groupby("group").cumcount().to_numpy()
    return 0.12 * ((order % 5) - 2)
