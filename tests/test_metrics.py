"""Metrics on accuracy matrices small enough to check by hand."""

import numpy as np
import pytest

from src_lab.metrics import backward_transfer, forgetting, overall_accuracy

NAN = float("nan")

FORGETS = np.array([[0.9, 0.0, 0.0], [0.5, 0.8, 0.0], [0.1, 0.2, 0.7]])
REVIVES = np.array([[0.4, 0.0, 0.0], [0.9, 0.6, 0.0], [0.7, 0.6, 0.5]])


@pytest.mark.parametrize(
    ("r", "expected_forgetting", "expected_bwt"),
    [
        (FORGETS, ((0.9 - 0.1) + (0.8 - 0.2)) / 2, ((0.1 - 0.9) + (0.2 - 0.8)) / 2),
        (REVIVES, ((0.9 - 0.7) + 0.0) / 2, ((0.7 - 0.4) + 0.0) / 2),
        (np.eye(2), 1.0, -1.0),
        (np.array([[0.5]]), NAN, NAN),
        (np.array([[0.5, 0.6]]), NAN, NAN),
        (np.array([[NAN, 0.0], [0.1, 0.2]]), NAN, NAN),
    ],
    ids=["forgets", "revives", "identity", "one task", "joint training", "not measured"],
)
def test_forgetting_and_backward_transfer(r: np.ndarray, expected_forgetting: float, expected_bwt: float) -> None:
    assert forgetting(r) == pytest.approx(expected_forgetting, nan_ok=True)
    assert backward_transfer(r) == pytest.approx(expected_bwt, nan_ok=True)


def test_overall_accuracy_weighs_tasks_by_their_images() -> None:
    assert overall_accuracy(np.array([1.0, 0.0]), np.array([30.0, 10.0])) == 0.75
    assert np.isnan(overall_accuracy(np.array([1.0, NAN]), np.array([30.0, 10.0])))
