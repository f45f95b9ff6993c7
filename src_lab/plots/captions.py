"""Words for the pictures of an analysis: a title, one sentence on how to read it, and what is on it for who cannot see it.

`CAPTIONS[name].alt` takes the tables that the picture was drawn from, in the order of the picture's function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pandas import DataFrame, Series

from src_lab.analysis import OrderedPca
from src_lab.plots.panels import Array, task_name


@dataclass(frozen=True)
class Caption:
    """What a report says of a picture; `section` is where it stands."""

    title: str
    section: str
    how_to_read: str
    alt: Callable[..., str]


def _by_layer(values: "Series[float]", unit: str = "") -> str:
    """ "layer 1 5.3, layer 2 0.25": a number per layer, or that there is none."""
    texts = (f"{value:.3g}{unit}" if value == value else "not defined" for value in values)
    return ", ".join(f"layer {layer} {text}" for layer, text in zip(values.index, texts, strict=True))


def _mean(table: DataFrame, column: str) -> "Series[float]":
    return table.groupby("layer")[column].mean()


def _at(table: DataFrame, stage: int) -> DataFrame:
    at: DataFrame = table[table["stage"] == stage]
    return at


def _ends(table: DataFrame, column: str, what: str) -> str:
    first, last = (_by_layer(_mean(_at(table, stage), column)) for stage in (table["stage"].min(), table["stage"].max()))
    return f"{what} at the first stage: {first}; at the last: {last}."


def _last_sleep(table: DataFrame) -> DataFrame:
    last: DataFrame = table[table["trained_task"] == table["trained_task"].iloc[-1]]
    return last


def _pair(before: DataFrame, after: DataFrame, column: str, what: str) -> str:
    return f"{what} before: {_by_layer(_mean(before, column))}; after: {_by_layer(_mean(after, column))}."


def _apart(table: DataFrame, a: str, b: str) -> DataFrame:
    return table.loc[table[a] != table[b]]


def _task_importance(table: DataFrame) -> str:
    last = _at(table, table["stage"].max()).groupby(["layer", "eval_task"])["share"].sum(min_count=1).unstack("eval_task")
    most = [
        f"layer {layer} task {task_name(row.idxmax())} with {100 * row.max():.0f} %"
        for layer, row in last.iterrows()
        if row.notna().any()
    ]
    return f"Stacked bars of each task's share, stage by stage. Largest at the last stage: {', '.join(most) or 'none'}."


def _first_component(before: DataFrame, after: DataFrame) -> str:
    pair = [100 * table[table["component"] == 1].groupby("layer")["share"].sum() for table in (before, after)]
    texts = [_by_layer(each, " %") for each in pair]
    return f"Heat maps of shares by task and component. Component 1 in all before: {texts[0]}; after: {texts[1]}."


def _reactivation(table: DataFrame) -> str:
    last = _last_sleep(table)
    own, other = (_by_layer(_mean(last, column), " Hz") for column in ("top_rate_hz", "other_rate_hz"))
    return f"Two rates per class and panel. Means over classes in the last sleep, their units: {own}; others: {other}."


def _firing_rates(table: DataFrame) -> str:
    sleep = _last_sleep(table)
    middle = sleep["left_hz"] * sleep["units"]
    rates = (middle.groupby(sleep["layer"]).sum() / sleep.groupby("layer")["units"].sum()).astype(float)
    return f"Histograms per sleep and layer. Mean rate in the last sleep, at least: {_by_layer(rates, ' Hz')}."


def _weights(_: DataFrame, changes: DataFrame) -> str:
    last = 100 * _mean(_last_sleep(changes), "increased"), 100 * _mean(_last_sleep(changes), "decreased")
    up, down = (_by_layer(each, " %") for each in last)
    return f"Histograms before and after each sleep. In the last, weights that grew: {up}; that shrank: {down}."


def _activity(rows: Mapping[str, Sequence[Array]]) -> str:
    sizes = {name: [float(np.sqrt(np.nanmean(state**2))) for state in states] for name, states in rows.items()}
    texts = [f"{name} {', '.join(f'{size:.3g}' for size in each)}" for name, each in sizes.items()]
    return f"Coloured images of activations by class, a column per layer. Root mean square by layer: {'; '.join(texts)}."


def activity_alt(layers: Sequence[OrderedPca]) -> str:
    """The alternative text of a grid of before, after and difference."""
    moved = [float(np.sqrt(np.mean((layer.after - layer.before) ** 2))) for layer in layers]
    texts = ", ".join(f"layer {layer.layer} {size:.3g}" for layer, size in zip(layers, moved, strict=True))
    return f"Activations by class before and after sleep and their difference. Root mean square difference: {texts}."


def frames_alt(frames: Array, steps: Sequence[int]) -> str:
    """The alternative text of an animation of incoming weights."""
    first, last = (f"{frame.min():.3g} to {frame.max():.3g}" for frame in (frames[0], frames[-1]))
    what = f"Incoming weights as two images, on a common colour scale and on one for each step, {len(steps)} steps."
    return f"{what} At step {steps[0]}: {first}; at step {steps[-1]}: {last}."


def _frames_caption(title: str, whose: str) -> Caption:
    how = (
        f"Each pixel is the weight from that pixel of the input {whose}, red above and blue below 0; on the left all steps "
        "share one colour scale, which shows how much sleep writes, on the right each has its own, which shows what shape."
    )
    return Caption(title, "Synapses during sleep", how, frames_alt)


CAPTIONS: Mapping[str, Caption] = {
    "stable_ranks": Caption(
        "Stable rank of the weights",
        "Ranks",
        "Rings are networks just trained, squares the same after sleep; an arrow that points down is a sleep that "
        "concentrates the layer's weights on fewer directions.",
        lambda table: _ends(table, "stable_rank", "Stable rank per layer and stage;"),
    ),
    "effective_ranks": Caption(
        "Effective rank of the activations",
        "Ranks",
        "The height is how many dimensions the images of one task fill in a layer; grey bands are sleeps.",
        lambda table: _ends(table, "effective_rank", "Lines of effective rank by task; mean over tasks"),
    ),
    "task_importance": Caption(
        "Share of each layer's variance by task",
        "Use of the layers by tasks",
        "A colour is the part of a layer's variance that one task's images have; a colour that shrinks from bar to bar is "
        "a task that the layer tells less and less about.",
        _task_importance,
    ),
    "component_importance": Caption(
        "Principal components by task, before and after the last sleep",
        "Use of the layers by tasks",
        "A column is a direction of the layer's activity, a row a task; columns with one bright cell belong to one task, "
        "columns bright all over are shared.",
        _first_component,
    ),
    "task_overlaps": Caption(
        "Overlap of tasks, before and after the last sleep",
        "Use of the layers by tasks",
        "1 means that two tasks vary along the same directions of a layer, 0 that they keep out of each other's way; blue "
        "in the last column is overlap that sleep removed.",
        lambda before, after: _pair(
            _apart(before, "task_a", "task_b"), _apart(after, "task_a", "task_b"), "overlap", "Mean overlap of two tasks"
        ),
    ),
    "activity": Caption(
        "Activity by class, every image",
        "Activity",
        "Rows are images in the order of their class, columns components, colours the signed square root of the activity; "
        "stripes that differ between classes tell these apart, stripes through all classes do not.",
        _activity,
    ),
    "activity_means": Caption(
        "Activity by class, class means",
        "Activity",
        "A row is the mean of one class's images, columns are components, colours the signed square root of the activity; "
        "rows that look alike are classes that the layer confuses.",
        _activity,
    ),
    "hidden_difference": Caption(
        "Change of the activations by sleep",
        "Activity",
        "0 means that sleep left the direction of a class's activations as it was, 1 that it turned them at right angles; "
        "the last row is the mean of the layer.",
        lambda table: (
            "Heat maps by class and layer, a panel per sleep. "
            f"Layer means in the last sleep: {_by_layer(_mean(_last_sleep(table), 'difference'))}."
        ),
    ),
    "class_correlations": Caption(
        "Correlation of classes, before and after the last sleep",
        "Activity",
        "Deep red off the diagonal is two classes to which a layer answers the same; blue in the last column is a pair that "
        "sleep pulled apart.",
        lambda before, after: _pair(
            _apart(before, "class_a", "class_b"),
            _apart(after, "class_a", "class_b"),
            "correlation",
            "Mean correlation of two classes",
        ),
    ),
    "sparseness": Caption(
        "Sparseness of the activations, before and after the last sleep",
        "Activity",
        "Rings are before, discs after sleep; on the Treves-Rolls scale a disc below its ring is a class to which fewer "
        "units answer than before.",
        lambda before, after: _pair(before, after, "treves_rolls", "Mean Treves-Rolls sparseness"),
    ),
    "reactivation": Caption(
        "Reactivation of classes in sleep",
        "Spikes",
        "Discs are the units that answer most to a class when awake, rings all others; a disc far above its ring is a class "
        "whose units are replayed, whether or not the stimulus had its images.",
        _reactivation,
    ),
    "firing_rates": Caption(
        "Firing rates in sleep",
        "Spikes",
        "The first bar is the units that hardly fire, on a logarithmic scale; long tails are few units that fire a lot.",
        _firing_rates,
    ),
    "weight_distributions": Caption(
        "Weights before and after each sleep",
        "Weights",
        "Grey is before, the blue line after sleep, on a logarithmic scale; a line beyond the grey on the left is weights "
        "that sleep pushed down, the title says how many moved either way.",
        _weights,
    ),
    "mean_frames": _frames_caption("Mean incoming weights of layer 1", "averaged over the units of layer 1"),
    "unit_frames": _frames_caption("Incoming weights of the unit that changed most", "to the unit that changed most"),
}
