"""Continual-learning metrics, pure functions of an accuracy matrix.

`R` has shape (stages, tasks): R[k, j] is the accuracy on task j after learning task k (after its sleep, if it slept), NaN
where not measured. `n_test` (tasks,) are the tasks' test images. Every metric is NaN where its terms were not measured.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def overall_accuracy(row: Array, n_test: Array) -> float:
    """Share of all test images classified right: sum_j n_j R_j / sum_j n_j ("Task All")."""
    return float((row * n_test).sum() / n_test.sum())


def forgetting(r: Array) -> float:
    """Mean over the earlier tasks of (best accuracy they ever had before the last stage) - (their accuracy at the end).

    F = 1/(T-1) sum_{j<T} max_{j<=k<T} R[k, j] - R[T, j]  (Chaudhry et al. 2018, arXiv 1801.10112). Positive is worse.
    """
    if not _square(r):
        return float("nan")
    last = len(r) - 1
    return float(np.mean([r[j:last, j].max() - r[last, j] for j in range(last)]))


def backward_transfer(r: Array) -> float:
    """BWT = 1/(T-1) sum_{j<T} R[T, j] - R[j, j]  (Lopez-Paz & Ranzato 2017, arXiv 1706.08840). Negative is forgetting."""
    if not _square(r):
        return float("nan")
    last = len(r) - 1
    return float(np.mean([r[last, j] - r[j, j] for j in range(last)]))


def _square(r: Array) -> bool:
    """Whether every task has its stage and there is an earlier task to forget; joint training has one stage only."""
    stages, tasks = r.shape
    return bool(stages == tasks > 1)
