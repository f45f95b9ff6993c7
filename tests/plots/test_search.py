"""The pictures of a search show its trials where they belong."""

import math

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from pandas import DataFrame

from src_lab.plots.search import history, importances, parallel_coordinates

TRIALS = DataFrame(
    {
        "number": [0, 1, 2, 3, 4],
        "state": ["complete", "pruned", "complete", "failed", "complete"],
        "value": [0.5, math.nan, 0.7, math.nan, 0.6],
        "sleep.inc": [0.001, 0.1, 0.1, 0.01, 0.01],
        "sleep.rule": ["tadros", "tadros", "sigmoid", "sigmoid", "tadros"],
        "sleep.dec": [3.0, 3.0, 3.0, 3.0, 3.0],
    }
)


def test_history_shows_trials_the_best_so_far_and_what_ended_early() -> None:
    (axes,) = history(TRIALS).axes
    points, *marks = axes.collections
    assert np.asarray(points.get_offsets()).tolist() == [[0, 50], [2, 70], [4, 60]]
    assert list(axes.lines[0].get_ydata()) == [50, 50, 70, 70, 70]
    assert [mark.get_label() for mark in marks] == ["pruned", "failed"]
    assert [np.asarray(mark.get_offsets())[0, 0] for mark in marks] == [1, 3]


def test_history_before_the_first_complete_trial_is_blank() -> None:
    (axes,) = history(TRIALS.iloc[1:3]).axes
    assert np.isnan(axes.lines[0].get_ydata()[0])


def test_importances_are_in_order_and_labelled() -> None:
    (axes,) = importances({"a": 0.25, "b": 0.75}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert [text.get_text() for text in axes.texts] == ["75 %", "25 %"]


def test_parallel_coordinates_put_every_complete_trial_at_its_settings() -> None:
    figure = parallel_coordinates(TRIALS, ["sleep.inc", "sleep.rule", "sleep.dec"], ["sleep.inc"])
    (axes,) = figure.axes
    (lines,) = [item for item in axes.collections if isinstance(item, LineCollection)]
    heights = [np.asarray(path.vertices)[:, 1].tolist() for path in lines.get_paths()]
    assert heights == [
        pytest.approx([0, 1, 0, 0]),  # worst first; inc logarithmic; tadros above sigmoid; dec has one value
        pytest.approx([0.5, 1, 0, 0.5]),
        pytest.approx([1, 0, 0, 1]),
    ]
    best = next(line for line in axes.lines if line.get_label() == "best")
    assert list(best.get_ydata()) == heights[-1]
    written = {text.get_text() for text in axes.texts}
    assert {"0.001", "0.1", "sigmoid", "tadros", "3", "50", "70"} <= written


def test_one_trial_is_enough_for_a_picture() -> None:
    one = TRIALS.iloc[:1]
    assert parallel_coordinates(one, ["sleep.inc", "sleep.rule"], ["sleep.inc"]).axes
    assert history(one).axes
