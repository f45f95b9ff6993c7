"""Differences between groups, seed by seed, against hand numbers and scipy's paired t-test."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from src_lab.aggregate import Runs
from src_lab.comparison import COLUMNS, MAX_GROUPS, compare
from src_lab.settings import ConfigError

NAN = float("nan")


def runs_of(groups: Mapping[str, Mapping[int, float]], forgetting: float = NAN, **config: object) -> Runs:
    """Runs named by approach, each with a final accuracy by seed; `config` are settings that all of them have."""
    table = pd.DataFrame(
        {"approach": name, "seed": seed, "final_accuracy": accuracy, "forgetting": forgetting, "folder": f"{name}{seed}"}
        for name, accuracies in groups.items()
        for seed, accuracy in accuracies.items()
    )
    own = pd.DataFrame({"dataset.num_tasks": 5, "dataset.root": "x", **config}, index=table.index)
    return Runs(table, own, pd.DataFrame(), pd.DataFrame())


def rows(runs: Runs, **arguments: Any) -> list[dict[str, Any]]:
    return compare(runs, ["approach"], **arguments).table.to_dict("records")


def test_differences_over_common_seeds_are_those_computed_by_hand() -> None:
    [row] = rows(runs_of({"A": {0: 0.70, 1: 0.72, 2: 0.77, 9: 0.10}, "B": {2: 0.70, 0: 0.60, 1: 0.66, 8: 0.90}}))
    # differences .10 .06 .07: mean .0766667, sd sqrt((.0233^2 + .0167^2 + .0067^2) / 2) = .0208167
    # half width t(.975, 2) sd / sqrt(3) = 4.302653 * .0208167 / 1.7320508 = .0517117
    assert list(row) == COLUMNS
    assert (row["a"], row["b"], row["quantity"]) == ("A", "B", "final_accuracy")
    assert (row["n"], row["interval"]) == (3, "paired t 95 %")
    assert row["difference_mean"] == pytest.approx(0.0766667, abs=1e-7)
    assert row["difference_sd"] == pytest.approx(0.0208167, abs=1e-7)
    assert row["difference_low"] == pytest.approx(0.0766667 - 0.0517117, abs=1e-6)
    assert row["difference_high"] == pytest.approx(0.0766667 + 0.0517117, abs=1e-6)
    assert row["excludes_zero"]


def test_one_common_seed_gives_a_difference_and_no_interval() -> None:
    [row] = rows(runs_of({"A": {0: 0.5, 1: 0.5}, "B": {1: 0.75, 2: 0.5}}))
    assert (row["n"], row["difference_mean"], row["interval"]) == (1, -0.25, "none")
    assert pd.isna([row["difference_sd"], row["difference_low"], row["difference_high"], row["excludes_zero"]]).all()


def test_what_was_not_measured_is_no_difference() -> None:
    runs = runs_of({"A": {0: 0.5, 1: NAN, 2: 0.5}, "B": {0: 0.25, 1: 0.5, 2: NAN}})
    runs.table.loc[[0, 3], "forgetting"] = [0.5, 0.125]
    found = [(row["quantity"], row["n"], row["difference_mean"]) for row in rows(runs)]
    assert found == [("final_accuracy", 1, 0.25), ("forgetting", 1, 0.375)]


SEEDS = st.dictionaries(st.integers(0, 6), st.floats(0, 1, width=32), min_size=1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SEEDS, SEEDS)
def test_every_difference_is_that_of_the_paired_t_test(a: dict[int, float], b: dict[int, float]) -> None:
    common = sorted(a.keys() & b.keys())
    comparison = compare(runs_of({"A": a, "B": b}), ["approach"])
    if not common:
        assert comparison.table.empty
        assert comparison.notes == ["1 pair not compared: no seed in common"]
        return
    [row] = comparison.table.to_dict("records")
    [back] = rows(runs_of({"A": a, "B": b}), against="A")
    assert row["n"] == back["n"] == len(common)
    assert row["difference_mean"] == -back["difference_mean"]
    differences = np.array([a[seed] for seed in common]) - np.array([b[seed] for seed in common])
    assert row["difference_mean"] == pytest.approx(differences.mean(), abs=1e-12)
    if len(common) > 1 and differences.std() > 1e-6:
        wanted = stats.ttest_rel([a[seed] for seed in common], [b[seed] for seed in common])
        low, high = wanted.confidence_interval()
        assert [row["difference_low"], row["difference_high"]] == pytest.approx([low, high], abs=1e-9)
        if abs(wanted.pvalue - 0.05) > 1e-9:
            assert row["excludes_zero"] == (wanted.pvalue < 0.05)


def groups_of(number: int) -> dict[str, dict[int, float]]:
    return {f"g{group}": {seed: (group + 1) * (seed + 1) / 100 for seed in range(3)} for group in range(number)}


def test_few_groups_are_all_compared_many_only_with_one() -> None:
    pairs = [(row["a"], row["b"]) for row in rows(runs_of(groups_of(3)))]
    assert pairs == [("g0", "g1"), ("g0", "g2"), ("g1", "g2")]
    assert len(rows(runs_of(groups_of(MAX_GROUPS)))) == MAX_GROUPS * (MAX_GROUPS - 1) / 2
    many = compare(runs_of(groups_of(MAX_GROUPS + 1)), ["approach"])
    assert many.table.empty
    assert many.notes == ["9 groups are too many to compare each with each: choose one with --against GROUP"]
    against = compare(runs_of(groups_of(MAX_GROUPS + 1)), ["approach"], "G4")
    assert against.table["a"].tolist() == ["g0", "g1", "g2", "g3", "g5", "g6", "g7", "g8"]
    assert set(against.table["b"]) == {"g4"}
    assert against.notes == []


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("nobody", "--against=nobody is not a group: allowed are g0; g1; g2"),
        ("g 2", "--against=g 2 is not a group: did you mean g2? allowed are g0; g1; g2"),
        ("5", "--against=5 is 3 groups: name one of them, g0; g1; g2"),
    ],
)
def test_a_baseline_that_is_no_group_or_several_is_refused(against: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compare(runs_of(groups_of(3)), ["approach", "dataset.num_tasks"], against)
    assert str(refused.value) == message


def test_different_data_and_repeated_seeds_are_not_paired_and_said_so_once() -> None:
    runs = runs_of({"A": {0: 0.5, 1: 0.6}, "B": {0: 0.6, 1: 0.4}, "C": {0: 0.6, 1: 0.4}, "D": {0: 0.1}})
    runs.config.loc[[2, 3], "dataset.num_tasks"] = 2
    runs.config.loc[[4], "dataset.root"] = "elsewhere"
    runs.table.loc[5, "seed"] = 0
    comparison = compare(runs, ["approach"])
    assert comparison.table[["a", "b"]].to_numpy().tolist() == [["A", "D"]]
    assert comparison.notes == [
        "not compared, several runs of one seed: C",
        "2 pairs not compared: their data set settings differ",
    ]
    mixed = runs_of({"A": {0: 0.5, 1: 0.6}, "B": {0: 0.6, 1: 0.4}})
    mixed.config.loc[[0], "dataset.num_tasks"] = 2
    assert compare(mixed, ["approach"]).notes == ["1 pair not compared: their data set settings differ"]


def test_a_baseline_on_every_data_set_is_that_of_each() -> None:
    runs = runs_of({"A": {0: 0.5}, "B": {0: 0.6}, "C": {0: 0.8}, "D": {0: 0.1}})
    runs.table["approach"] = ["base", "other", "base", "other"]
    runs.config["dataset.num_tasks"] = [5, 5, 2, 2]
    table = compare(runs, ["approach", "dataset.num_tasks"], "base").table
    assert table[["a", "b"]].to_numpy().tolist() == [
        ["other, dataset.num_tasks 5", "base, dataset.num_tasks 5"],
        ["other, dataset.num_tasks 2", "base, dataset.num_tasks 2"],
    ]
    assert table["difference_mean"].tolist() == pytest.approx([0.1, -0.7])
