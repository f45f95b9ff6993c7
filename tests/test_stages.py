from pathlib import Path

import pandas as pd
import pytest

from src_lab.aggregate import find_runs
from src_lab.stages import ALL, stage_table
from src_lab.tables import write_tables
from tests.make_runs import make_run

COLUMNS = ["stage", "trained_task", "eval_task", "n", "mean", "sd", "low", "high"]


def stages(first: float) -> list[tuple[str, tuple[float, ...]]]:
    """Two tasks with a sleep after the first, and one more stage that no run of this program writes."""
    return [
        ("Initial", (10.0, 10.0, 10.0)),
        ("After Task 0", (first, 0.0, first / 2)),
        ("After Sleep 0", (80.0, float("nan"), 40.0)),
        ("After Task All", (90.0, 92.0, 91.0)),
        ("Halfway", (1.0, 2.0, 1.5)),
        ("After Training", (90.0, 92.0, 91.0)),
    ]


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    for seed, first in enumerate((90.0, 94.0)):
        make_run(tmp_path / f"src{seed}", "src", seed, 0.91, stages=stages(first))
    return tmp_path


def test_every_stage_and_task_has_a_row_with_its_interval(two_runs: Path) -> None:
    table = stage_table(find_runs([two_runs]), ["method"])
    assert list(table) == ["method", *COLUMNS]
    assert len(table) == 6 * 3
    order = table[["stage", "trained_task"]].drop_duplicates().astype(object).fillna("")
    assert order.to_numpy().tolist() == [
        ["initial", ""],
        ["train", 0],
        ["sleep", 0],
        ["train", ALL],
        ["Halfway", ""],
        ["final", ""],
    ]
    trained = table[(table["stage"] == "train") & (table["trained_task"] == 0)].set_index("eval_task")
    assert trained["mean"].to_dict() == pytest.approx({0: 0.92, 1: 0.0, ALL: 0.46})
    # sd of 0.90 and 0.94 is 0.028284, t(.975, 1) = 12.7062, half width 12.7062 * 0.028284 / sqrt(2) = 0.254124
    assert trained.loc[0, ["sd", "low", "high"]].tolist() == pytest.approx([0.028284, 0.665876, 1.174124], abs=1e-6)


def test_not_measured_is_empty_and_counted_as_none(two_runs: Path) -> None:
    table = stage_table(find_runs([two_runs]), ["method"])
    slept = table[(table["stage"] == "sleep") & (table["eval_task"] == 1)].iloc[0]
    assert slept["n"] == 0
    assert slept[["mean", "sd", "low", "high"]].isna().all()
    one = stage_table(find_runs([two_runs / "src0"]), ["method"])
    assert one["sd"].isna().all()
    assert one.loc[one["mean"].notna(), "n"].eq(1).all()


def test_groups_come_one_after_the_other_and_the_file_is_the_table(two_runs: Path) -> None:
    make_run(two_runs / "other", "merge", 0, 0.5)
    runs = find_runs([two_runs])
    table = stage_table(runs)
    assert table["approach"].drop_duplicates().tolist() == ["Merge", "SRC"]
    assert table["approach"].ne(table["approach"].shift()).sum() == 2
    write_tables(runs, two_runs / "out")
    read = pd.read_csv(two_runs / "out" / "stages.csv", dtype={"trained_task": "Int64"})
    pd.testing.assert_frame_equal(read[COLUMNS], table[COLUMNS], check_dtype=False)
