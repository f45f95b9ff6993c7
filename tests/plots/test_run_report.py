from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from src_lab.plots import run_report
from src_lab.plots.png import as_png
from tests.report.conftest import STEPS, add_accuracy, add_trace


@pytest.fixture
def accuracy(tmp_path: Path) -> pd.DataFrame:
    add_accuracy(tmp_path)
    return pd.read_csv(tmp_path / "accuracy.csv")


@pytest.fixture
def trace(tmp_path: Path) -> pd.DataFrame:
    add_trace(tmp_path)
    return pd.read_csv(tmp_path / "sleep_trace.csv")


def lines(figure: Figure, panel: int = 0) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in figure.axes[panel].get_lines()}


def outside(figure: Figure) -> list[str]:
    """Texts that are cut off at the edge of the picture."""
    figure.canvas.draw()
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    labels = [label for axes in figure.axes for label in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    boxes = [(text.get_text(), text.get_window_extent()) for text in (*legends, *labels) if text.get_text()]
    edge = figure.bbox
    return [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > edge.x1 or box.y1 > edge.y1]


def test_the_matrix_has_the_accuracy_after_the_sleep_of_each_task(accuracy: pd.DataFrame) -> None:
    assert run_report.accuracy_matrix_of(accuracy).to_numpy() == pytest.approx(np.array([[91, 0], [80, 85]]))
    figure = run_report.accuracy_matrix(accuracy)
    assert [text.get_text() for text in figure.axes[0].texts] == ["91", "0", "80", "85"]


def test_curves_go_through_every_stage_and_shade_the_sleeps(accuracy: pd.DataFrame) -> None:
    accuracy["n_test"] = accuracy["eval_task"].map({0: 30, 1: 10})
    figure = run_report.accuracy_curves(accuracy)
    drawn = lines(figure)
    assert drawn["task 0"] == pytest.approx([10, 90, 91, 5, 80, 80])
    assert drawn["all tasks"] == pytest.approx([12.5, 67.5, 68.25, 27.5, 81.25, 81.25])
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["Initial", "Task 0", "Sleep 0", "Task 1", "Sleep 1", "End"]
    assert [(patch.get_x(), patch.get_width()) for patch in figure.axes[0].patches] == [(1, 1), (3, 1)]


def test_joint_training_has_one_row_and_no_number_of_a_task() -> None:
    rows = [
        {"stage": stage, "trained_task": task, "eval_task": j, "accuracy": 0.5, "n_test": 5}
        for stage, task in (("initial", None), ("train", -1), ("final", None))
        for j in range(2)
    ]
    table = pd.DataFrame(rows)
    assert [label.get_text() for label in run_report.accuracy_matrix(table).axes[0].get_yticklabels()] == ["all"]
    labels = run_report.accuracy_curves(table).axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["Initial", "Task all", "End"]


def test_sleep_is_drawn_a_panel_per_sleep(trace: pd.DataFrame) -> None:
    figure = run_report.sleep_accuracy(trace)
    assert [axes.get_title() for axes in figure.axes] == ["Sleep 0", "Sleep 1"]
    assert lines(figure, 1)["task 0"] == pytest.approx([20, 40, 60, 80])
    assert lines(figure, 1)["all tasks"] == [50] * 4


def test_spikes_are_those_between_two_records_in_every_sleep(trace: pd.DataFrame) -> None:
    trace.loc[3, "spikes_1"] = trace.loc[2, "spikes_1"]
    figure = run_report.sleep_spikes(trace)
    assert lines(figure, 0)["layer 1"] == [5, 5, 5, 0]
    assert lines(figure, 1)["layer 1"] == [5, 5, 5, 5]
    assert lines(figure, 1)["layer 2"] == pytest.approx([2.5] * 4)


def test_a_sleep_without_any_spike_can_be_drawn(trace: pd.DataFrame) -> None:
    trace[["spikes_1", "spikes_2"]] = 0
    assert lines(run_report.sleep_spikes(trace))["layer 1"] == [0] * 4


def test_layers_come_in_order_of_number() -> None:
    trace = pd.DataFrame(columns=["spikes_10", "spikes_2", "grown_1", "spikes_1"])
    assert run_report.layer_columns(trace, "spikes") == ["spikes_1", "spikes_2", "spikes_10"]


@pytest.mark.parametrize("draw", [run_report.sleep_accuracy, run_report.sleep_spikes, run_report.sleep_change])
@pytest.mark.parametrize("sleeps", [1, 2, 5])
def test_nothing_is_cut_off_and_no_figure_left_open(trace: pd.DataFrame, draw, sleeps: int) -> None:
    first = trace[trace["trained_task"] == 0]
    figure = draw(pd.concat([first.assign(trained_task=task) for task in range(sleeps)], ignore_index=True))
    assert outside(figure) == []
    assert len(figure.axes) == sleeps
    assert figure.axes[0].get_lines()[0].get_xdata().tolist() == STEPS[1:]
    assert as_png(figure).startswith(b"\x89PNG")
    assert plt.get_fignums() == []


def test_no_panel_cuts_off_what_another_shows(trace: pd.DataFrame) -> None:
    later = trace["trained_task"] == trace["trained_task"].max()
    for what, draw in (("shrunk", run_report.sleep_change), ("spikes", run_report.sleep_spikes)):
        names = run_report.layer_columns(trace, what)
        figure = draw(trace.assign(**{name: trace[name].where(~later, 50 * trace[name] + 50) for name in names}))
        highest = max(max(line.get_ydata()) for axes in figure.axes for line in axes.get_lines())
        assert all(axes.get_ylim()[1] >= highest for axes in figure.axes)
