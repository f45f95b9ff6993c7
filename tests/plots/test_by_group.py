"""Pictures that compare groups of runs: what is drawn where, from tables with known answers."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from src_lab.plots.groups import Places, group_styles
from src_lab.plots.inside_by_group import importance_by_group, lines_by_group
from src_lab.plots.png import as_png
from src_lab.plots.runs_by_group import runs_by_group
from src_lab.plots.stages_by_group import accuracy_matrices, before_the_end, final_by_task, task_curves
from src_lab.stages import ALL
from tests.plots.test_run_report import lines, outside

SLEEPING = [
    ("initial", None, (0.1, 0.2)),
    ("train", 0, (0.9, 0.0)),
    ("sleep", 0, (0.8, 0.1)),
    ("train", 1, (0.0, 0.9)),
    ("sleep", 1, (0.7, 0.8)),
    ("final", None, (0.7, 0.8)),
]
JOINT = [("initial", None, (0.1, 0.2)), ("train", -1, (0.9, 0.7)), ("final", None, (0.9, 0.7))]


def stage_rows(group: str, stages: list[tuple[str, int | None, tuple[float, float]]]) -> pd.DataFrame:
    """Means of two tasks and of all, with an interval of 0.1 to either side."""
    rows = [
        (group, stage, trained, task, 5, mean, 0.05, mean - 0.1, mean + 0.1)
        for stage, trained, means in stages
        for task, mean in ((0, means[0]), (1, means[1]), (ALL, sum(means) / 2))
    ]
    return pd.DataFrame(
        rows, columns=["group", "stage", "trained_task", "eval_task", "n", "mean", "sd", "low", "high"]
    ).astype({"trained_task": "Int64"})


@pytest.fixture
def stages() -> pd.DataFrame:
    return pd.concat([stage_rows("SRC", SLEEPING), stage_rows("Parallel", JOINT)], ignore_index=True)


def layer_rows(group: str, *, slept: bool, layers: int = 2) -> pd.DataFrame:
    moments = [("initial", None), ("train", 0), *([("sleep", 0)] if slept else [])]
    rows = [
        (group, phase, task, layer, 10.0 * layer + place, 10.0 * layer + place - 1, 10.0 * layer + place + 1)
        for place, (phase, task) in enumerate(moments)
        for layer in range(1, layers + 1)
    ]
    return pd.DataFrame(rows, columns=["group", "phase", "trained_task", "layer", "mean", "low", "high"])


def cells(figure: Figure, panel: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def shades(figure: Figure, panel: int) -> list[list[float]]:
    """From where to where the grey bands of a panel go."""
    return [[patch.get_x(), patch.get_x() + patch.get_width()] for patch in figure.axes[panel].patches]


def test_every_run_is_a_point_and_every_group_has_its_interval() -> None:
    runs = pd.DataFrame({"group": ["SRC", "SRC", "Merge"], "value": [50.0, 75.0, 20.0]})
    figure = runs_by_group(runs, "Forgetting")
    axes = figure.axes[0]
    [means] = [line for line in axes.get_lines() if line.get_marker() == "D"]
    assert list(means.get_xdata()) == [62.5, 20.0]
    assert axes.collections[0].get_offsets()[:, 0].tolist() == [50, 75, 20]
    # sd 17.68, t(.975, 1) = 12.7062, half width 12.7062 * 17.6777 / sqrt(2) = 158.83
    assert axes.collections[-1].get_segments()[0][:, 0].tolist() == pytest.approx([-96.33, 221.33], abs=0.01)
    assert (axes.get_xlim(), axes.get_xlabel()) == ((0, 100), "Forgetting (%)")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["SRC", "Merge"]
    assert outside(figure) == []


def test_values_below_zero_are_on_the_picture() -> None:
    axes = runs_by_group(pd.DataFrame({"group": ["a", "a"], "value": [-20.0, 5.0]}), "Forgetting").axes[0]
    assert axes.get_xlim() == (-22, 100)


def test_places_put_tasks_in_their_order_and_joint_training_last() -> None:
    table = pd.concat([stage_rows("Parallel", JOINT), stage_rows("SRC", SLEEPING)]).rename(columns={"stage": "phase"})
    places = Places.of(table[table["phase"] != "final"])
    assert places.names == ["start", "0", "1", "all"]
    own = table[(table["group"] == "SRC") & (table["eval_task"] == ALL) & (table["phase"] != "final")]
    assert places(own).tolist() == pytest.approx([0, 0.78, 1.22, 1.78, 2.22])
    assert places(own[own["phase"] != "sleep"]).tolist() == [0, 1, 2]


def test_styles_of_many_groups_are_all_different() -> None:
    styles = group_styles([f"g{number}" for number in range(20)])
    assert len({(to_rgb(each["color"]), each["marker"], each["linestyle"]) for each in styles.values()}) == 20


def test_curves_have_a_panel_per_group_and_leave_the_final_stage_out(stages: pd.DataFrame) -> None:
    figure = task_curves(stages)
    assert [axes.get_title() for axes in figure.axes] == ["SRC", "Parallel"]
    assert lines(figure, 0)["task 0"] == pytest.approx([10, 90, 80, 0, 70])
    assert lines(figure, 0)["all tasks"] == pytest.approx([15, 45, 45, 45, 75])
    assert lines(figure, 1)["task 1"] == pytest.approx([20, 70])
    assert figure.axes[1].get_lines()[0].get_xdata().tolist() == [0, 3]
    assert np.array(shades(figure, 0)) == pytest.approx(np.array([[0.78, 1.22], [1.78, 2.22]]))
    assert shades(figure, 1) == []
    band = figure.axes[0].collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((-10, 100))
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["start", "0", "1", "all"]


def test_a_group_of_which_no_training_was_measured_has_no_curves(stages: pd.DataFrame) -> None:
    is_trained = (stages["group"] == "SRC") | stages["stage"].isin(["initial", "final"])
    assert before_the_end(stages[is_trained])["group"].unique().tolist() == ["SRC"]


def test_curves_of_one_run_have_no_band(stages: pd.DataFrame) -> None:
    stages[["sd", "low", "high"]] = np.nan
    assert [len(axes.collections) for axes in task_curves(stages).axes] == [0, 0]


def test_final_accuracy_is_by_group_and_task_with_all_last(stages: pd.DataFrame) -> None:
    stages.loc[stages["group"] == "Parallel", "sd"] = np.nan
    figure = final_by_task(stages)
    assert cells(figure) == ["70.0\n± 5.0", "80.0\n± 5.0", "75.0\n± 5.0", "90.0", "70.0", "80.0"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["SRC", "Parallel"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "1", "all"]


def test_a_task_that_a_group_does_not_have_is_blank(stages: pd.DataFrame) -> None:
    figure = final_by_task(stages[(stages["group"] == "SRC") | (stages["eval_task"] != 1)])
    assert cells(figure)[3:] == ["90.0\n± 5.0", "", "80.0\n± 5.0"]


def accuracy_rows(trained: list[int], tasks: int) -> pd.DataFrame:
    return pd.DataFrame(
        [("train", task, j, (task + j) / 10) for task in trained for j in range(tasks)],
        columns=["stage", "trained_task", "eval_task", "accuracy"],
    )


def test_matrices_stand_beside_each_other_with_their_numbers() -> None:
    figure = accuracy_matrices({"SRC, seed 3": accuracy_rows([0, 1], 2), "Parallel, seed 0": accuracy_rows([-1], 2)})
    assert [axes.get_title() for axes in figure.axes] == ["SRC, seed 3", "Parallel, seed 0"]
    assert cells(figure, 0) == ["0", "10", "10", "20"]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["all"]


def test_numbers_are_left_out_where_there_is_no_room() -> None:
    figure = accuracy_matrices({str(number): accuracy_rows(list(range(10)), 10) for number in range(3)})
    assert [len(axes.texts) for axes in figure.axes] == [0, 0, 0]


def test_lines_have_a_panel_per_layer_and_keep_the_style_of_their_group() -> None:
    table = pd.concat([layer_rows("Merge", slept=False), layer_rows("SRC", slept=True)])
    figure = lines_by_group({"": table}, ["SRC", "Silent", "Merge"], "Stable rank")
    assert [axes.get_title() for axes in figure.axes] == ["Layer 1", "Layer 2"]
    src, merge = figure.axes[1].get_lines()
    assert (list(src.get_ydata()), list(merge.get_ydata())) == ([20, 21, 22], [20, 21])
    assert list(merge.get_xdata()) == [0, 1]
    styles = group_styles(["SRC", "Silent", "Merge"])
    assert (src.get_color(), merge.get_color()) == (styles["SRC"]["color"], styles["Merge"]["color"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SRC", "Merge"]
    assert len(shades(figure, 0)) == 1
    assert figure.axes[0].get_ylim()[0] == 0


def test_sleeps_seen_as_a_whole_have_a_column_per_table_and_no_shade() -> None:
    table = layer_rows("SRC", slept=True).query("phase == 'sleep'").drop(columns="phase")
    figure = lines_by_group({"grew": table, "shrank": table.assign(mean=50.0)}, ["SRC"], "Share")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"Layer {layer}, {what}" for layer in (1, 2) for what in ("grew", "shrank")]
    assert [list(axes.get_lines()[0].get_ydata()) for axes in figure.axes] == [[12], [50], [22], [50]]
    assert all(axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 50 for axes in figure.axes)
    assert shades(figure, 0) == []
    assert [label.get_text() for label in figure.axes[3].get_xticklabels()] == ["0"]


def test_importance_stacks_the_tasks_of_each_group() -> None:
    table = pd.DataFrame(
        [("b", 1, 0, 0.25), ("b", 1, 1, 0.75), ("a", 1, 0, 1.0), ("a", 1, 1, np.nan)],
        columns=["group", "layer", "eval_task", "mean"],
    )
    figure = importance_by_group(table)
    bars = [(patch.get_x(), patch.get_width()) for patch in figure.axes[0].patches]
    assert bars == [(0, 25), (0, 100), (25, 75), (100, 0)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]


@pytest.mark.parametrize("groups", [1, 9])
def test_nothing_is_cut_off_and_no_figure_left_open(groups: int) -> None:
    names = [f"Approach number {number} with a long name, sleep.inc=0.0{number}" for number in range(groups)]
    stages = pd.concat([stage_rows(name, SLEEPING) for name in names], ignore_index=True)
    ranks = pd.concat([layer_rows(name, slept=True) for name in names])
    runs = pd.DataFrame({"group": names, "value": 50.0})
    drawn = [
        task_curves(stages),
        final_by_task(stages),
        accuracy_matrices({name: accuracy_rows([0, 1], 2) for name in names}),
        lines_by_group({"": ranks}, names, "Stable rank (dimensions)"),
        runs_by_group(runs, "Final accuracy"),
    ]
    assert [outside(figure) for figure in drawn] == [[]] * len(drawn)
    assert as_png(drawn[0]).startswith(b"\x89PNG")
    assert plt.get_fignums() == []
