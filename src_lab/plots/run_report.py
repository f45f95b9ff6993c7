"""Pictures of one run that need no network, only its tables: accuracy by stage, and what `sleep_trace.csv` recorded.

accuracy  rows of `accuracy.csv`: stage, trained_task, eval_task, accuracy (0-1), n_test
trace     rows of `sleep_trace.csv`, see `src_lab.trace`
"""

from collections.abc import Callable

import numpy as np
import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from pandas import DataFrame

MARKERS = "osD^vPX*<>"
WIDTH_IN = 4.8
"""Narrow, so that text is still legible when a phone shows the whole width."""
BLUE = "#56b4e9"
"""Light enough for black figures on it."""
PANELS_ACROSS = 2


def accuracy_matrix_of(accuracy: DataFrame) -> DataFrame:
    """R[k, j] in percent: accuracy on task j at the last stage of trained task k; no row for what was not measured."""
    trained = accuracy[accuracy["stage"].isin(["train", "sleep"])]
    last = trained.drop_duplicates(["trained_task", "eval_task"], keep="last")
    return 100 * last.pivot(index="trained_task", columns="eval_task", values="accuracy")


def accuracy_matrix(accuracy: DataFrame) -> Figure:
    """Heat map of R[k, j], rows by task learned, columns by task tested."""
    matrix = accuracy_matrix_of(accuracy)
    rows, columns = matrix.shape
    figure, axes = _page(1.8 + 0.6 * columns, 1.2 + 0.5 * rows)
    sns.heatmap(
        matrix, ax=axes, vmin=0, vmax=100, cmap=sns.light_palette(BLUE, as_cmap=True), annot=True, fmt=".0f",
        annot_kws={"color": "black"}, linewidths=1, linecolor="white", cbar_kws={"label": "Accuracy (%)"},
    )  # fmt: skip
    axes.set(xlabel="Tested on task", ylabel="After learning task")
    axes.set_yticklabels(["all" if task < 0 else f"{task:.0f}" for task in matrix.index], rotation=0)
    axes.tick_params(length=0)
    return figure


def accuracy_curves(accuracy: DataFrame) -> Figure:
    """Accuracy on each task, and on all, from stage to stage; sleeps are grey bands."""
    stages = _stages(accuracy)
    figure, axes = _page(max(WIDTH_IN, 1.4 + 0.29 * len(stages)), 4)
    for task in accuracy["eval_task"].unique():
        _line(axes, int(task), range(len(stages)), stages[task])
    axes.plot(range(len(stages)), stages["all"], color="black", linewidth=2.5, label="all tasks")
    for place, (stage, _) in enumerate(stages.index):
        if stage == "sleep":
            axes.axvspan(place - 1, place, color="0.9", zorder=0)
    names = {"initial": "Initial", "train": "Task", "sleep": "Sleep", "final": "End"}
    labels = [f"{names[stage]} {_task_text(task)}".rstrip() for stage, task in stages.index]
    axes.set_xticks(range(len(stages)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(ylabel="Test accuracy (%)", ylim=(-3, 103))
    _finish(figure, [axes], [*axes.get_lines()])
    return figure


def sleep_accuracy(trace: DataFrame) -> Figure:
    """Test accuracy on each task, and on all, against sleep steps, a panel per sleep."""
    tasks = [name for name in map(str, trace) if name.startswith("Task ") and name != "Task All"]

    def draw(axes: Axes, sleep: DataFrame) -> None:
        for task, name in enumerate(tasks):
            _line(axes, task, sleep["sleep_step"], 100 * sleep[name], size=3)
        axes.plot(sleep["sleep_step"], 100 * sleep["Task All"], color="black", linewidth=2.5, label="all tasks")

    return _panels(trace, draw, "Test accuracy (%)", bottom=-4, top=104)


def sleep_spikes(trace: DataFrame) -> Figure:
    """Spikes per step of each layer between recorded steps, a panel per sleep."""
    names = layer_columns(trace, "spikes")
    rates = trace.copy()
    grouped = trace.groupby("trained_task", sort=False)
    for name in names:
        rates[name] = grouped[name].diff().fillna(trace[name]) / grouped["sleep_step"].diff().fillna(trace["sleep_step"])
    positive = rates[names].to_numpy()[rates[names].to_numpy() > 0]
    smallest = float(positive.min()) if positive.size else 1.0

    def draw(axes: Axes, sleep: DataFrame) -> None:
        for layer, name in enumerate(names):
            _line(axes, layer, sleep["sleep_step"], sleep[name], label=f"layer {layer + 1}", size=3)
        axes.set_yscale("symlog", linthresh=smallest, linscale=0.5)

    return _panels(rates, draw, "Spikes per step", bottom=-0.15 * smallest)


def sleep_change(trace: DataFrame) -> Figure:
    """Norms of what grew and what shrank of each layer's weights, a panel per sleep."""

    def draw(axes: Axes, sleep: DataFrame) -> None:
        for what, style in (("grown", "-"), ("shrunk", "--")):
            for layer, name in enumerate(layer_columns(trace, what)):
                label = f"layer {layer + 1}, {what}"
                _line(axes, layer, sleep["sleep_step"], sleep[name], style=style, label=label, size=3)

    return _panels(trace, draw, "Norm of the change", bottom=0)


def layer_columns(trace: DataFrame, what: str) -> list[str]:
    """The columns `what`_1, `what`_2, … of a trace, in the order of the layers."""
    found = [name for name in map(str, trace) if name.startswith(f"{what}_")]
    return sorted(found, key=lambda name: int(name.rpartition("_")[2]))


def _stages(accuracy: DataFrame) -> DataFrame:
    """A row per stage in the order of the run, (stage, trained task): accuracy per task and of all, in percent."""
    tasks = accuracy["eval_task"].nunique()
    wide = accuracy.assign(position=np.arange(len(accuracy)) // tasks)
    table: DataFrame = 100 * wide.pivot(index="position", columns="eval_task", values="accuracy")
    weights = wide.pivot(index="position", columns="eval_task", values="n_test")
    table["all"] = (table * weights).sum(axis=1, skipna=False) / weights.sum(axis=1)
    firsts = wide.drop_duplicates("position")
    table.index = list(zip(firsts["stage"], firsts["trained_task"], strict=True))
    return table


def _task_text(task: float) -> str:
    if task != task:
        return ""
    return "all" if task < 0 else f"{task:.0f}"


def _line(
    axes: Axes, index: int, x: ArrayLike, y: ArrayLike, *, style: str = "-", label: str | None = None, size: float = 5
) -> None:
    colors = sns.color_palette("colorblind")
    axes.plot(
        x, y, style, color=colors[index % len(colors)], marker=MARKERS[index % len(MARKERS)], markersize=size,
        label=f"task {index}" if label is None else label,
    )  # fmt: skip


def _panels(
    trace: DataFrame,
    draw: Callable[[Axes, DataFrame], None],
    ylabel: str,
    *,
    bottom: float,
    top: float | None = None,
) -> Figure:
    """A panel per sleep with common axes, from `bottom` to `top` or the highest of all, and the legend below."""
    sleeps = [(task, trace[trace["trained_task"] == task]) for task in trace["trained_task"].unique()]
    across = min(PANELS_ACROSS, len(sleeps))
    down = -(-len(sleeps) // across)
    figure = Figure(figsize=(WIDTH_IN, 1.0 + 1.9 * down), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (task, sleep) in zip(grid, sleeps, strict=False):
        draw(axes, sleep)
        axes.set_title(f"Sleep {_task_text(float(task))}", fontsize=11)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    grid[0].set_ylim(bottom, top)  # only now: it fixes the upper end of all panels
    for axes in grid[len(sleeps) :]:
        axes.remove()
    for axes in grid[max(0, len(sleeps) - across) : len(sleeps)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Sleep step")
    figure.supylabel(ylabel, fontsize=11)
    _finish(figure, list(grid[: len(sleeps)]), [*grid[0].get_lines()])
    return figure


def _finish(figure: Figure, panels: list[Axes], lines: list[Line2D]) -> None:
    for axes in panels:
        axes.grid(axis="y", color="0.9")
    longest = max(len(str(line.get_label())) for line in lines)
    figure.legend(handles=lines, loc="outside lower center", ncols=3 if longest < 12 else 2, frameon=False, fontsize=10)
    sns.despine(figure)


def _page(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)  # seaborn draws to measure; without a canvas that can, it falls back on pyplot
    return figure, figure.subplots()
