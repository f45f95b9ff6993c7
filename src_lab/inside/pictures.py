"""From findings to pictures, each with its words and the table it was drawn from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas import DataFrame

from src_lab.analysis import OrderedPca
from src_lab.inside.findings import Findings
from src_lab.plots import (
    activity,
    hidden_difference,
    importance,
    ranks,
    similarity,
    sparseness,
    spikes,
    synapses,
    weights,
)
from src_lab.plots.captions import CAPTIONS, activity_alt
from src_lab.plots.png import as_png

Array = NDArray[np.floating]
Draw = Callable[..., Figure]


@dataclass(frozen=True)
class Described:
    """What the report says beside a picture; `table` is the name of the CSV behind it."""

    file: str
    title: str
    section: str
    alt: str
    how_to_read: str
    table: str


@dataclass(frozen=True)
class Picture(Described):
    """A picture, as the bytes of a PNG."""

    png: bytes


@dataclass(frozen=True)
class Film(Described):
    """Pictures against sleep steps, a PNG per step, and the same as one GIF."""

    frames: list[bytes]
    steps: list[int]
    gif: bytes


def pictures(found: Findings) -> Iterator[Picture]:
    """Every picture that `found` has something for, in the order of the report."""
    tables = found.tables
    if "weight_ranks" in tables:
        yield _whole_run("stable_ranks", ranks.stable_ranks, "weight_ranks", found)
    if "activation_ranks" in tables:
        yield _whole_run("effective_ranks", ranks.effective_ranks, "activation_ranks", found)
    if "pca_importance" in tables:
        yield _whole_run("task_importance", importance.task_importance, "pca_importance", found)
        yield from _around_last_sleep("component_importance", importance.component_importance, "pca_importance", found)
        yield from _around_last_sleep("task_overlaps", similarity.task_overlaps, "task_overlap", found)
    yield from _activity(found)
    if "hidden_difference" in tables:
        yield _whole_run("hidden_difference", hidden_difference.hidden_difference, "hidden_difference", found)
    if "class_correlation" in tables:
        yield from _around_last_sleep("class_correlations", similarity.class_correlations, "class_correlation", found)
    if "sparseness" in tables:
        yield from _around_last_sleep("sparseness", sparseness.sparseness, "sparseness", found)
    if "reactivation" in tables:
        yield _whole_run("reactivation", spikes.reactivation, "reactivation", found)
        yield _whole_run("firing_rates", spikes.firing_rates, "firing_rates", found)
    if "weight_histogram" in tables:
        both = [tables["weight_histogram"], tables["weight_changes"]]
        yield _picture("weight_distributions", weights.weight_distributions, both, "weight_histogram", found.of)


def films(found: Findings) -> Iterator[Film]:
    """The first layer's weights during each sleep: their mean, and the unit that changed most; on two scales."""
    for task, replay in found.replays.items():
        for name, values in (("mean_frames", replay.mean_frames), ("unit_frames", replay.unit_frames)):
            drawn = synapses.side_by_side(values, replay.frame_steps, found.shape)
            caption = CAPTIONS[name]
            yield Film(
                file=f"{name}_{task}",
                title=f"{caption.title}, sleep after {_task(task)}",
                section=caption.section,
                alt=caption.alt(values, replay.frame_steps),
                how_to_read=caption.how_to_read,
                table="synapses",
                frames=[synapses.as_png(frame) for frame in drawn],
                steps=replay.frame_steps,
                gif=synapses.as_gif(drawn),
            )


def _whole_run(name: str, draw: Draw, table: str, found: Findings) -> Picture:
    """A picture of every network, or every sleep, of the run."""
    return _picture(name, draw, [found.tables[table]], table, found.of)


def _around_last_sleep(name: str, draw: Draw, table: str, found: Findings) -> Iterator[Picture]:
    """A picture of the networks before and after the last sleep, where there was one."""
    rows = found.tables[table]
    slept = rows.loc[rows["phase"] == "sleep", "stage"]
    if not slept.empty:
        around = [rows[rows["stage"] == stage] for stage in (slept.max() - 1, slept.max())]
        yield _picture(name, draw, around, table, found.of)


def _picture(name: str, draw: Draw, tables: Sequence[DataFrame], csv: str, of: str) -> Picture:
    caption = CAPTIONS[name]
    png = as_png(draw(*tables, of=of))
    return Picture(f"{name}.png", caption.title, caption.section, caption.alt(*tables), caption.how_to_read, csv, png)


def _activity(found: Findings) -> Iterator[Picture]:
    for task, layers in found.sleeps.items():
        rows = activity.before_after_difference(layers)
        yield from _activity_pair(
            f"_{task}", f", sleep after {_task(task)}", rows, layers[0].labels, activity_alt(layers), found.of
        )
    if found.activity:
        rows = {name: [layer.after for layer in layers] for name, layers in found.activity.items()}
        labels = next(iter(found.activity.values()))[0].labels
        yield from _activity_pair("", "", rows, labels, CAPTIONS["activity"].alt(rows), found.of)


def _activity_pair(
    suffix: str, which: str, rows: dict[str, list[Array]], labels: NDArray[np.integer], alt: str, of: str
) -> Iterator[Picture]:
    """Class means, and every image."""
    for name, averaged in (("activity_means", True), ("activity", False)):
        caption = CAPTIONS[name]
        yield Picture(
            f"{name}{suffix}.png", caption.title + which, caption.section, alt, caption.how_to_read, "activity_means",
            as_png(activity.activity_grid(rows, labels, averaged, of=of + which)),
        )  # fmt: skip


def activity_means(found: Findings) -> DataFrame:
    """Columns network, layer, class_, component, value: the class means behind the pictures of activity."""
    named: dict[str, tuple[Sequence[OrderedPca], bool]] = {name: (layers, False) for name, layers in found.activity.items()}
    for task, layers in found.sleeps.items():
        named |= {f"before sleep {task}": (layers, True), f"after sleep {task}": (layers, False)}
    rows = [
        (name, layer.layer, int(class_), component, value)
        for name, (layers, is_before) in named.items()
        for layer in layers
        for class_, means in zip(layer.classes, layer.class_before if is_before else layer.class_after, strict=True)
        for component, value in enumerate(means.tolist(), start=1)
    ]
    return DataFrame(rows, columns=["network", "layer", "class_", "component", "value"])


def synapse_table(found: Findings) -> DataFrame:
    """Columns trained_task, weights, step, mean, minimum, maximum: the range of every frame of the films."""
    rows = [
        (task, weights_, step, frame.mean(), frame.min(), frame.max())
        for task, replay in found.replays.items()
        for weights_, frames in (("mean", replay.mean_frames), (f"unit {replay.strongest}", replay.unit_frames))
        for step, frame in zip(replay.frame_steps, frames, strict=True)
    ]
    return DataFrame(rows, columns=["trained_task", "weights", "step", "mean", "minimum", "maximum"])


def _task(task: int) -> str:
    return "all tasks" if task < 0 else f"task {task}"
