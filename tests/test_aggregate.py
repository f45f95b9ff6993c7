import json
import logging
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from src_lab.aggregate import find_runs, stage_accuracies, summarise
from src_lab.comparison import compare
from src_lab.config import parse, register_resolvers
from src_lab.evaluation import Accuracy
from src_lab.results import Clock, Log, write_config, write_results
from src_lab.settings import ConfigError
from src_lab.stages import stage_table
from tests.make_runs import make_run

NAN = float("nan")


def test_mean_sd_n_and_interval_are_those_computed_by_hand(tmp_path: Path) -> None:
    for seed, (accuracy, forgetting) in enumerate([(0.70, 0.1), (0.72, 0.2), (0.77, None)]):
        make_run(tmp_path / f"s{seed}", "src", seed, accuracy, metrics={"forgetting": forgetting})

    [row] = summarise(find_runs([tmp_path])).to_dict("records")

    # sd = sqrt((.03^2 + .01^2 + .04^2) / 2); t(.975, 2) = 4.302653 and t(.975, 1) = 12.706205 from a printed table
    assert row["n"] == row["final_accuracy_n"] == 3
    assert row["final_accuracy_mean"] == pytest.approx(0.73)
    assert row["final_accuracy_sd"] == pytest.approx(0.0360555)
    assert row["final_accuracy_low"] == pytest.approx(0.73 - 0.0895668, abs=1e-6)
    assert row["final_accuracy_high"] == pytest.approx(0.73 + 0.0895668, abs=1e-6)
    assert row["forgetting_n"] == 2
    assert row["forgetting_mean"] == pytest.approx(0.15)
    assert row["forgetting_low"] == pytest.approx(0.15 - 12.706205 * 0.05)
    assert (row["train_seconds"], row["total_seconds"], row["cpu_seconds"]) == (2.0, 4.0, 3.0)


def test_what_a_run_writes_is_what_is_read(tmp_path: Path) -> None:
    register_resolvers()
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf")):
        config = parse(compose("config", ["method=src", "dataset=digits", "dataset.num_tasks=2", "seed=3"]))
    written = Log(config, "SRC")
    written.add("initial", [Accuracy(0.1, 0.5, 60), Accuracy(0.2, 0.5, 40)])
    written.add("train", [Accuracy(0.9, 0.9, 60), Accuracy(0.0, 0.5, 40)], 0)
    written.add("sleep", [Accuracy(0.8, 0.9, 60), Accuracy(0.1, 0.5, 40)], 0, 500)
    written.add("train", [Accuracy(0.5, 0.9, 60), Accuracy(0.7, 0.9, 40)], 1)
    written.repeat_last_as("final")
    write_config(config, tmp_path)
    write_results(written, tmp_path, Clock().totals() | {"validation_accuracy": NAN})

    runs = find_runs([tmp_path])
    assert runs.problems.empty
    [row] = runs.table.to_dict("records")
    assert (row["run_id"], row["seed"], row["sleep"]) == (config.run_id, 3, "python_mnist")
    assert row["final_accuracy"] == pytest.approx((0.5 * 60 + 0.7 * 40) / 100)
    assert row["forgetting"] == pytest.approx(0.3)
    assert pd.isna(row["validation_accuracy"])
    assert row["total_seconds"] >= 0
    assert row["cpu_seconds"] >= 0
    final = stage_accuracies(runs).xs("After Training", level="Stage")
    assert final[("Task All", "mean")].tolist() == pytest.approx([58.0])


def test_one_seed_has_a_mean_but_no_spread(tmp_path: Path) -> None:
    make_run(tmp_path / "run", accuracy=0.5)
    summary = summarise(find_runs([tmp_path]))
    assert summary.loc[0, "final_accuracy_mean"] == 0.5
    assert summary.loc[0, ["final_accuracy_sd", "final_accuracy_low", "final_accuracy_high"]].isna().all()
    assert summary.filter(regex="forgetting_(mean|sd|low|high)").isna().all(axis=None)


def test_not_measured_is_never_zero(tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0, accuracy=0.6)
    make_run(tmp_path / "b", seed=1, accuracy=None, metrics={"wall_seconds": {"train": 1.0}})
    runs = find_runs([tmp_path])
    [row] = summarise(runs).to_dict("records")
    assert (row["n"], row["final_accuracy_n"], row["final_accuracy_mean"]) == (2, 1, 0.6)
    assert runs.table["sleep_seconds"].isna().tolist() == [False, True]


def edit_metrics(**changes: object) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        metrics = json.loads((run / "metrics.json").read_text()) | changes
        (run / "metrics.json").write_text(json.dumps({key: v for key, v in metrics.items() if v != "remove"}))

    return change


def rewrite(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda run: (run / "metrics.json").unlink(), "not finished"),
        (
            lambda run: (run / "metrics.json").write_text('{"run_id": '),
            "metrics.json: invalid JSON at line 1 column 12",
        ),
        (lambda run: (run / "metrics.json").write_text("[]"), "metrics.json: not a JSON object"),
        (edit_metrics(run_id="remove"), "metrics.json: missing run_id"),
        (edit_metrics(final_accuracy="remove"), "metrics.json: missing final_accuracy"),
        (edit_metrics(final_accuracy="high"), "metrics.json: final_accuracy=high is not a number"),
        (edit_metrics(final_accuracy=72.6), "metrics.json: final_accuracy=72.6 is not between 0 and 1"),
        (edit_metrics(cpu_seconds={"total": True}), "metrics.json: total=True is not a number"),
        (edit_metrics(wall_seconds=12), "metrics.json: wall_seconds=12 is not an object"),
        (lambda run: (run / "config.yaml").unlink(), "config.yaml: missing"),
        (lambda run: (run / "config.yaml").write_text("seed: 1\nmodel: ]\n"), "config.yaml: invalid YAML at line 2"),
        (lambda run: (run / "config.yaml").write_text("text"), "config.yaml: not a mapping of settings"),
        (lambda run: (run / "config.yaml").write_text(""), "config.yaml: missing seed"),
        (lambda run: (run / "config.yaml").write_bytes(b"\xff\xfe"), "config.yaml: not UTF-8 text"),
        (rewrite("config.yaml", "name: digits", "title: digits"), "config.yaml: missing dataset.name"),
        (lambda run: (run / "accuracy.csv").unlink(), "accuracy.csv: missing"),
        (lambda run: (run / "accuracy.csv").write_text(""), "accuracy.csv: empty"),
        (rewrite("accuracy.csv", "eval_task", "task"), "accuracy.csv: missing column eval_task"),
        (rewrite("accuracy.csv", "0.5,100,\n", "0.5\n"), "accuracy.csv: line 2 has 10 of 12 columns"),
        (rewrite("results.csv", "SRC,After Training,,50.0,50.0,50.0\n", ""), "results.csv: the last row is 'Initial'"),
        (
            rewrite("results.csv", "50.0", "fifty"),
            "results.csv: Task 0=fifty in stage 'After Training' is not a number",
        ),
        (rewrite("results.csv", "Task All", "All"), "results.csv: missing column Task All"),
    ],
)
def test_a_broken_run_is_listed_with_its_reason_and_not_counted(
    tmp_path: Path, damage: Callable[[Path], object], why: str
) -> None:
    make_run(tmp_path / "good", seed=0, accuracy=0.5)
    damage(make_run(tmp_path / "broken", seed=1, accuracy=0.5))
    runs = find_runs([tmp_path])
    assert runs.table["run_id"].tolist() == ["good"]
    assert runs.problems["folder"].tolist() == [(tmp_path / "broken").as_posix()]
    assert runs.problems["why"][0].startswith(why)
    assert summarise(runs)["n"].tolist() == [1]


def test_a_copied_run_counts_once_and_is_listed(tmp_path: Path) -> None:
    original = make_run(tmp_path / "a" / "run", accuracy=0.5)
    shutil.copytree(original, tmp_path / "b" / "run")
    runs = find_runs([tmp_path])
    assert runs.table["folder"].tolist() == [original.as_posix()]
    assert runs.problems.to_numpy().tolist() == [
        [(tmp_path / "b" / "run").as_posix(), f"copy of {original.as_posix()} (same run_id), not counted again"]
    ]


def test_overlapping_folders_and_links_do_not_count_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "sweep" / "run")
    (tmp_path / "sweep" / "latest").symlink_to(run)
    (tmp_path / "sweep" / "loop").symlink_to(tmp_path)
    runs = find_runs([tmp_path, tmp_path / "sweep", run, tmp_path / "sweep" / ".." / "sweep"])
    assert (len(runs.table), len(runs.problems)) == (1, 0)


def test_hydras_own_folder_is_no_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / ".hydra").mkdir()
    shutil.copy(run / "config.yaml", run / ".hydra")
    runs = find_runs([run])
    assert (len(runs.table), len(runs.problems)) == (1, 0)


def test_trials_of_a_search_are_counted_only_where_it_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_run(tmp_path / "mine")
    for search, mark in [("search-a", "study.db"), ("chosen", "search.yaml"), ("search-elsewhere", None)]:
        make_run(tmp_path / search / "trial-0" / "s0", metrics={"run_id": search})
        if mark:
            (tmp_path / search / mark).write_text("")
    make_run(tmp_path / "search-mine" / "run", metrics={"run_id": "search-mine"})
    with caplog.at_level(logging.INFO):
        assert find_runs([tmp_path]).table["run_id"].tolist() == ["mine", "search-mine"]
    assert sorted(record.getMessage().partition(" holds the trials")[0] for record in caplog.records) == [
        (tmp_path / name).as_posix() for name in ("chosen", "search-a", "search-elsewhere")
    ]
    for inside in ("search-a", "search-a/trial-0", "search-a/trial-0/s0"):
        assert find_runs([tmp_path / inside]).table["run_id"].tolist() == ["search-a"]


def test_a_run_folder_may_hold_runs_but_not_below_its_checkpoints(tmp_path: Path) -> None:
    outer = make_run(tmp_path / "outer")
    make_run(outer / "inner")
    for name in ("checkpoints", ".hidden"):
        make_run(outer / name / "no-run", metrics={"run_id": name})
    runs = find_runs([tmp_path])
    assert runs.table["run_id"].tolist() == ["outer", "inner"]
    assert runs.problems.empty


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a folder: give folders of runs"):
        find_runs([tmp_path, tmp_path / "nowhere"])


def test_runs_with_different_settings_are_never_averaged(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"a{seed}", seed=seed, accuracy=0.5)
        make_run(tmp_path / f"b{seed}", seed=seed, accuracy=0.7, sleep__inc=0.03, model__widths=[80])
    summary = summarise(find_runs([tmp_path]))
    assert summary[["settings", "n", "final_accuracy_mean"]].to_numpy().tolist() == [
        ["model.widths=[40,40] sleep.inc=0.001", 2, 0.5],
        ["model.widths=[80] sleep.inc=0.03", 2, 0.7],
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "cuda"},
        {"threads": 2},
        {"force": True},
        {"name": "mine"},
        {"analysis": "all"},
        {"dataset__root": "data"},
    ],
)
def test_where_a_run_was_computed_does_not_split_a_group(tmp_path: Path, changes: dict[str, object]) -> None:
    make_run(tmp_path / "a", seed=0)
    make_run(tmp_path / "b", seed=1, **changes)
    assert summarise(find_runs([tmp_path]))[["settings", "n"]].to_numpy().tolist() == [["", 2]]


def test_settings_differ_only_among_runs_of_the_same_names(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "src", model__widths=[40])
    make_run(tmp_path / "b", "merge", model__widths=[80])
    make_run(tmp_path / "c", "src", model__widths=[80], model__name="mlp_paper")
    assert summarise(find_runs([tmp_path]))["settings"].tolist() == ["", "", ""]


def test_a_setting_that_only_some_runs_have_splits_them(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", sleep__dc=None)
    assert summarise(find_runs([tmp_path]))["settings"].tolist() == ["sleep.dc=default", "sleep.dc=null"]


def test_how_to_sleep_is_no_setting_of_a_run_that_never_sleeps(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "sequential", seed=0)
    make_run(tmp_path / "b", "sequential", seed=1, sleep__inc=0.03, sleep__name="tadros_mnist")
    make_run(tmp_path / "c", "sequential", seed=0, method__sleep_after="last_task")
    summary = summarise(find_runs([tmp_path]))
    assert summary[["sleep", "settings", "n"]].to_numpy().tolist() == [["-", "", 2], ["python_mnist", "", 1]]


def test_settings_are_read_the_same_from_any_yaml(tmp_path: Path) -> None:
    """Top-level blocks are parsed on their own; an alias from one to another must still be found."""
    run = make_run(tmp_path / "run")
    text = (run / "config.yaml").read_text()
    assert "learning_rate: 0.01" in text
    text = text.replace("learning_rate: 0.01", "learning_rate: *rate").replace("threads: 1", "threads: &rate 0.25")
    order = sorted(text.splitlines(keepends=True), key=lambda line: not line.startswith("threads"))
    (run / "config.yaml").write_text("# a comment\n" + "".join(order))
    runs = find_runs([tmp_path])
    assert runs.column("train.learning_rate").tolist() == [0.25]
    assert runs.column("sleep.alpha").tolist() == ["[14.9,253.1,7.7]"]
    assert runs.column("model.bias").tolist() == ["false"]


def test_by_groups_by_columns_and_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed, inc, accuracy in [(0, 0.01, 0.5), (1, 0.01, 0.6), (2, 0.03, 0.8)]:
        make_run(tmp_path / f"s{seed}", seed=seed, accuracy=accuracy, sleep__inc=inc)
    runs = find_runs([tmp_path])
    by_inc = summarise(runs, ["method", "sleep.inc", "method"])
    assert list(by_inc.columns[:3]) == ["method", "sleep.inc", "n"]
    assert by_inc[["sleep.inc", "n"]].to_numpy().tolist() == [[0.01, 2], [0.03, 1]]
    assert by_inc["final_accuracy_mean"].tolist() == pytest.approx([0.55, 0.8])
    assert summarise(runs, ["dataset.num_tasks"])["n"].tolist() == [3]
    assert not caplog.records


def test_merging_runs_of_one_seed_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed in (0, 1):
        for inc in (0.01, 0.03):
            make_run(tmp_path / f"{inc}-{seed}", seed=seed, sleep__inc=inc)
    runs = find_runs([tmp_path])
    with caplog.at_level(logging.WARNING):
        summarise(runs)
        assert not caplog.records
        summarise(runs, ["method"])
    [record] = caplog.records
    assert record.getMessage().startswith("4 runs are in one group with another run of their seed")


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (["sleep.inx"], "--by=sleep.inx is not a column: did you mean sleep.inc? allowed are run_id, folder, approach"),
        (["qqq"], "--by=qqq is not a column: allowed are run_id"),
        ([], "--by is empty"),
    ],
)
def test_an_unknown_column_is_refused_with_those_allowed(tmp_path: Path, by: list[str], message: str) -> None:
    make_run(tmp_path / "run")
    with pytest.raises(ConfigError) as refused:
        summarise(find_runs([tmp_path]), by)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished run"):
        summarise(find_runs([tmp_path]))


def test_stage_accuracies_average_each_cell_and_keep_the_order_of_stages(tmp_path: Path) -> None:
    def stages(first: float) -> list[tuple[str, tuple[float, ...]]]:
        return [
            ("Initial", (10.0, NAN, 10.0)),
            ("After training task 0", (first, 0.0, 45.0)),
            ("After sleep 0", (80.0, 10.0, 45.0)),
            ("After Training", (70.0, 60.0, 65.0)),
        ]

    for seed, first in enumerate([90.0, 96.0]):
        make_run(tmp_path / f"s{seed}", seed=seed, stages=stages(first))
    make_run(tmp_path / "t", "sequential", stages=[("Initial", (1.0, 1.0)), ("After Training", (2.0, 2.0))])
    table = stage_accuracies(find_runs([tmp_path]), ["approach"])
    assert table.index.tolist() == [("SRC", stage) for stage, _ in stages(0.0)] + [
        ("Sequential", "Initial"),
        ("Sequential", "After Training"),
    ]
    assert list(table.columns.unique(0)) == ["Task 0", "Task 1", "Task All"]
    trained = table.loc[("SRC", "After training task 0"), "Task 0"]
    assert trained.tolist() == pytest.approx([93.0, 18.0**0.5, 2])
    assert pd.isna(table.loc[("SRC", "Initial"), ("Task 1", "mean")])
    assert table.loc[("SRC", "Initial"), ("Task 1", "count")] == 0
    assert pd.isna(table.loc[("Sequential", "Initial"), ("Task 1", "mean")])


def test_the_final_stage_comes_last_when_runs_of_different_length_are_merged(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    row = (1.0, 1.0, 1.0)
    make_run(tmp_path / "b", seed=1, stages=[("Initial", row), ("After sleep 0", row), ("After Training", row)])
    table = stage_accuracies(find_runs([tmp_path]), ["method"])
    assert table.index.get_level_values("Stage").tolist() == ["Initial", "After sleep 0", "After Training"]


def test_hundreds_of_runs_take_their_share_of_twenty_seconds_and_a_gigabyte_for_ten_thousand(tmp_path: Path) -> None:
    number = 500
    stages = [(stage, (50.0,) * 6) for stage in (*(f"After sleep {task}" for task in range(11)), "After Training")]
    template = make_run(tmp_path / "template", stages=stages)
    for index in range(1, number):
        run = shutil.copytree(template, tmp_path / f"run{index}")
        rewrite("metrics.json", '"run_id": "template"', f'"run_id": "run{index}"')(run)
        rewrite("config.yaml", "inc: 0.001", f"inc: {index // 5 / 1000}")(run)
        rewrite("config.yaml", "seed: 0", f"seed: {index % 5}")(run)
        if index % 10 == 9:
            (run / "metrics.json").unlink()
    rewrite("config.yaml", "inc: 0.001", "inc: 0.0")(template)

    start = time.process_time()
    runs = find_runs([tmp_path])
    summary = summarise(runs)
    stage_table(runs).to_csv(index=False)
    comparison = compare(runs, against="SRC, sleep.inc=0.0")
    seconds = time.process_time() - start
    tracemalloc.start()
    find_runs([tmp_path])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert summary["n"].sum() == number - len(runs.problems) == 450
    assert len(comparison.table) == len(summary) - 1 == 99
    assert seconds < 20 * number / 10_000
    assert peak_bytes < 1e9 * number / 10_000
