"""The sentences above a section's pictures: hand-made tables in, known numbers out."""

import pandas as pd
import pytest
from pandas import DataFrame

from src_lab.inside.words import around_sleeps, texts

STAGES = [(0, "initial", None), (1, "train", 0), (2, "sleep", 0), (3, "train", 1), (4, "sleep", 1)]


def staged(rows: list[dict[str, float]], stages: list[tuple[int, str, int | None]] = STAGES) -> DataFrame:
    """`rows` of each stage, one after another."""
    per_stage = len(rows) // len(stages)
    leading = DataFrame([stage for stage in stages for _ in range(per_stage)], columns=["stage", "phase", "trained_task"])
    return pd.concat([leading, DataFrame(rows)], axis="columns").astype({"trained_task": "Int64"})


def test_a_sleep_is_set_against_the_stage_before_it() -> None:
    table = staged([{"layer": 1, "x": x} for x in (9.0, 5.0, 4.0, 3.0, 1.0)])
    found = around_sleeps(table, "x", ["layer"])
    assert found[["trained_task", "before", "after"]].to_numpy().tolist() == [[0, 5, 4], [1, 3, 1]]


def test_ranks_that_fall_and_rise_are_told_apart() -> None:
    values = {1: (9.0, 5.0, 4.0, 3.0, 1.0), 2: (9.0, 5.0, 6.0, 3.0, 2.0)}
    table = staged([{"layer": layer, "stable_rank": values[layer][at]} for at in range(5) for layer in (1, 2)])
    assert texts({"weight_ranks": table})["Ranks"] == (
        "The stable rank of the weights: layer 1 fell in 2 of 2 sleeps (5 to 4 in the first, 3 to 1 in the last); "
        "layer 2 fell in 1 of 2 sleeps (5 to 6 in the first, 3 to 2 in the last)."
    )


def test_a_single_sleep_has_no_first_and_last() -> None:
    table = staged([{"layer": 1, "stable_rank": x} for x in (9.0, 5.0, 4.0)], STAGES[:3])
    assert texts({"weight_ranks": table})["Ranks"].endswith("layer 1 fell in 1 of 1 sleeps (5 to 4).")


def test_the_newest_task_is_looked_at_once_there_are_older_ones() -> None:
    of_task_1 = (0.5, 0.9, 0.9, 0.75, 0.25)
    rows = [
        {"layer": 1, "eval_task": task, "component": component, "share": share / 2}
        for newest in of_task_1
        for task, share in enumerate((1 - newest, newest))
        for component in (1, 2)
    ]
    text = texts({"pca_importance": staged(rows)})["Use of the layers by tasks"]
    assert "from 75 % to 25 % of layer 1's variance" in text
    assert "mean of 1 sleeps after the first; 50 % would be an equal share" in text


def test_overlap_counts_tasks_that_were_met_and_no_task_with_itself() -> None:
    overlaps = {"trained": 0.5, "slept": 0.25, "unmet": 0.9, "self": 1.0}
    rows = [
        {
            "layer": 1,
            "task_a": a,
            "task_b": b,
            "chance": 0.125,
            "overlap": overlaps["self" if a == b else "unmet" if max(a, b) > 1 else ("trained", "slept")[at == 4]],
        }
        for at in range(5)
        for a in range(3)
        for b in range(3)
    ]
    text = texts({"task_overlap": staged(rows)})["Use of the layers by tasks"]
    assert "from 0.50 to 0.25 in layer 1 (unrelated: 0.12)" in text


def test_the_shape_of_the_changes_is_a_mean_over_sleeps_that_changed_something() -> None:
    rows = [(0, 1.0, 0.9), (1, 1.5, 0.7), (2, float("nan"), float("nan"))]
    changes = DataFrame(rows, columns=["trained_task", "change_rank", "uniform_share"]).assign(layer=1)
    assert texts({"weight_changes": changes})["Weights"].endswith("layer 1 1.25 (80 %); means of 2 sleeps.")


@pytest.mark.parametrize("phases", [["initial", "train", "train"], ["initial"]])
def test_a_run_without_sleep_has_nothing_to_say(phases: list[str]) -> None:
    stages = [(at, phase, at - 1 if at else None) for at, phase in enumerate(phases)]
    ranks = staged([{"layer": 1, "stable_rank": 1.0} for _ in stages], stages)
    shares = staged([{"layer": 1, "eval_task": 0, "component": 1, "share": 1.0} for _ in stages], stages)
    assert texts({"weight_ranks": ranks, "pca_importance": shares}) == {}
    assert texts({}) == {}
