"""What the tables of a run say, in a sentence or two with numbers: the text above the pictures of a section."""

from collections.abc import Mapping

import pandas as pd
from pandas import DataFrame

COMPONENTS_SHARE = 90
"""Percent of the variance that `components_90` counts the components for."""


def texts(tables: Mapping[str, DataFrame]) -> dict[str, str]:
    """By section of the report: what sleep did, where the run slept and the tables that tell are there."""
    sections = {
        "Ranks": [
            _moved(tables.get("weight_ranks"), "stable_rank", "The stable rank of the weights"),
            _moved(tables.get("activation_ranks"), "effective_rank", "The effective rank of the activations"),
            _moved(
                tables.get("activation_ranks"),
                "components_90",
                f"The number of components that hold {COMPONENTS_SHARE} % of a task's variance",
            ),
        ],
        "Weights": [_shape(tables.get("weight_changes"))],
        "Use of the layers by tasks": [_newest(tables.get("pca_importance")), _overlap(tables.get("task_overlap"))],
    }
    said = {section: " ".join(filter(None, sentences)) for section, sentences in sections.items()}
    return {section: text for section, text in said.items() if text}


def around_sleeps(table: DataFrame, value: str, over: list[str]) -> DataFrame:
    """Columns trained_task, *over, before, after: the mean of `value` at the stage before each sleep and at its end.

    table   rows of several stages: stage, phase, trained_task, *over, value
    """
    means = table.groupby(["stage", "phase", "trained_task", *over], dropna=False)[value].mean().reset_index()
    after = means[means["phase"] == "sleep"]
    before = means[["stage", *over, value]].assign(stage=means["stage"] + 1).rename(columns={value: "before"})
    both = after.rename(columns={value: "after"}).merge(before, on=["stage", *over])
    return both.sort_values(["stage", *over])[["trained_task", *over, "before", "after"]]


def _moved(table: DataFrame | None, value: str, name: str) -> str:
    """How a number of each layer went in the sleeps."""
    pairs = None if table is None else around_sleeps(table, value, ["layer"])
    if pairs is None or pairs.empty:
        return ""
    layers = []
    for layer, sleeps in pairs.groupby("layer"):
        fell = int((sleeps["after"] < sleeps["before"]).sum())
        first, last = sleeps.iloc[0], sleeps.iloc[-1]
        ends = f"{first['before']:.3g} to {first['after']:.3g}"
        if len(sleeps) > 1:
            ends += f" in the first, {last['before']:.3g} to {last['after']:.3g} in the last"
        layers.append(f"layer {layer} fell in {fell} of {len(sleeps)} sleeps ({ends})")
    return f"{name}: {'; '.join(layers)}."


def _shape(table: DataFrame | None) -> str:
    """Whether sleep moved a layer's weights along few directions, and the weights into a unit alike."""
    changed = None if table is None else table.dropna(subset=["change_rank", "uniform_share"])
    if changed is None or changed.empty:
        return ""
    means = changed.groupby("layer")[["change_rank", "uniform_share"]].mean()
    texts = [
        f"layer {layer} {row['change_rank']:.2f} ({100 * row['uniform_share']:.0f} %)" for layer, row in means.iterrows()
    ]
    return (
        "Stable rank of what sleep adds to the weights, 1 at the least, and the share of its squares that moves all weights "
        f"into a unit alike: {', '.join(texts)}; means of {changed['trained_task'].nunique()} sleeps."
    )


def newest_shares(table: DataFrame) -> DataFrame:
    """Rows of `pca_importance` summed over the components: of the task learned last, once there are older ones."""
    keys = ["stage", "phase", "trained_task", "layer", "eval_task"]
    shares = table.groupby(keys, dropna=False)["share"].sum(min_count=1).reset_index()
    is_newest = (shares["eval_task"] == shares["trained_task"]) & (shares["trained_task"] > 0)
    return shares[is_newest.fillna(False).astype(bool)]


def overlaps_of_met(table: DataFrame) -> DataFrame:
    """Rows of `task_overlap` of two different tasks that the network has met by then."""
    reached = pd.to_numeric(table["trained_task"]).fillna(-1)
    met: DataFrame = table[(table["task_a"] < table["task_b"]) & (table["task_b"] <= reached)]
    return met


def _newest(table: DataFrame | None) -> str:
    """How much of a layer the task learned last has, before and after the sleep that follows."""
    if table is None:
        return ""
    pairs = around_sleeps(newest_shares(table), "share", ["layer"])
    if pairs.empty:
        return ""
    means = 100 * pairs.groupby("layer")[["before", "after"]].mean()
    texts = [f"{row['before']:.0f} % to {row['after']:.0f} % of layer {layer}'s variance" for layer, row in means.iterrows()]
    return (
        f"In sleep the task learned last goes from {', '.join(texts)} (mean of {pairs['trained_task'].nunique()} sleeps "
        f"after the first; {100 / table['eval_task'].nunique():.0f} % would be an equal share)."
    )


def _overlap(table: DataFrame | None) -> str:
    """Whether tasks that were met vary along the same directions."""
    if table is None:
        return ""
    pairs = around_sleeps(overlaps_of_met(table), "overlap", ["layer"])
    if pairs.empty:
        return ""
    means, chance = pairs.groupby("layer")[["before", "after"]].mean(), table.groupby("layer")["chance"].mean()
    texts = [
        f"{row['before']:.2f} to {row['after']:.2f} in layer {layer} (unrelated: {by_chance:.2g})"
        for (layer, row), by_chance in zip(means.iterrows(), chance, strict=True)
    ]
    return f"The overlap between the tasks met so far goes from {', '.join(texts)}, on average over the sleeps."
