"""How many dimensions weights and activations use."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.sparse.linalg import svds  # type: ignore[import-untyped]  # ships no stubs
from torch import Tensor

from src_lab.analysis.activations import check_activations
from src_lab.analysis.selection import Tasks, rows_of_tasks
from src_lab.settings import ConfigError

Array = NDArray[np.floating]

TOLERANCE = 1e-4
"""Relative error at which the largest singular value of a large matrix is taken as found."""
SMALL = 256
"""Matrices with a side of at most this get an exact decomposition, which is faster there."""


def stable_rank(weights: Tensor) -> float:
    """||W||_F^2 / ||W||_2^2, at least 1 and at most the rank, of W (n_l, n_{l-1}); NaN for a matrix of zeros.

    Rudelson & Vershynin 2007, doi 10.1145/1255443.1255449. Small singular values hardly move it, so that noise does not
    count as rank. See `TOLERANCE` for its error. Raises ConfigError for anything but a finite matrix.
    """
    frobenius, spectral = _norms(weights)
    return frobenius**2 / spectral**2 if spectral else float("nan")


def weight_ranks(weights: Sequence[Tensor]) -> DataFrame:
    """Columns layer, stable_rank, frobenius, spectral: a row per layer of weights, see `stable_rank`."""
    norms = [_norms(weight) for weight in weights]
    return DataFrame(
        [(layer, f**2 / s**2 if s else float("nan"), f, s) for layer, (f, s) in enumerate(norms, start=1)],
        columns=["layer", "stable_rank", "frobenius", "spectral"],
    )


def effective_rank(a: Tensor) -> float:
    """exp(-sum_i p_i ln p_i) with p_i = sigma_i / sum_j sigma_j, of A (n, width): 1 to min(n, width); NaN for zeros.

    Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO. A is taken as it is, not
    centred. Raises ConfigError for anything but a finite matrix.
    """
    sigma = np.sqrt(_squared_singular_values(_matrix(a)))
    if not sigma.any():
        return float("nan")
    p = sigma[sigma > 0] / sigma.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def components_for(a: Tensor, share: float = 0.9) -> int:
    """How many principal components of A (n, width) hold at least `share` of its variance; 0 if it has none.

    Raises ConfigError for anything but a finite matrix and a share above 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share={share} is not allowed: give a share of the variance, above 0 and up to 1")
    matrix = _matrix(a)
    variance = _squared_singular_values(matrix - matrix.mean(axis=0))
    if variance.sum() <= _rounding(matrix):
        return 0
    held = variance.cumsum() / variance.sum()
    return int(np.searchsorted(held, share - 1e-12)) + 1


def activation_ranks(acts: Sequence[Tensor], labels: Tensor, tasks: Tasks, per_task: int = 500) -> DataFrame:
    """Columns layer, eval_task, effective_rank, components_90, n: a row per layer and task.

    acts       L tensors (images, n_l), see `activations`
    labels     (images,)
    per_task   images of a task that are used, evenly spaced; n says how many there were

    Both numbers are bounded by n: compare them at equal n only.
    """
    check_activations(acts, labels)
    rows = [
        (layer, task, effective_rank(states[own]), components_for(states[own], 0.9), len(own))
        for layer, states in enumerate(acts, start=1)
        for task, own in enumerate(rows_of_tasks(labels, tasks, per_task))
    ]
    return DataFrame(rows, columns=["layer", "eval_task", "effective_rank", "components_90", "n"])


def _norms(weights: Tensor) -> tuple[float, float]:
    """Frobenius norm and largest singular value."""
    matrix = _finite(weights)
    frobenius = float(weights.detach().norm(dtype=torch.float64))
    if not frobenius:
        return 0.0, 0.0
    if min(matrix.shape) <= SMALL:
        return frobenius, float(np.sqrt(_squared_singular_values(matrix.astype(np.float64))[0]))
    start = np.random.default_rng(0).standard_normal(min(matrix.shape)).astype(matrix.dtype)
    return frobenius, float(svds(matrix, k=1, tol=TOLERANCE, v0=start, return_singular_vectors=False)[0])


def _squared_singular_values(a: Array) -> Array:
    """Largest first, from the smaller Gram matrix in float64, which gives sigma to 1e-8 of the largest."""
    gram = a @ a.T if a.shape[0] < a.shape[1] else a.T @ a
    squared = np.linalg.eigvalsh(gram)[::-1]
    return np.where(squared > len(gram) * np.finfo(np.float64).eps * squared[0], squared, 0.0)


def _rounding(matrix: Array) -> float:
    """The variance that rounding alone can leave in rows that are all alike."""
    return float(matrix.size * (np.finfo(np.float64).eps * np.abs(matrix).max()) ** 2)


def _matrix(a: Tensor) -> Array:
    return _finite(a).astype(np.float64)


def _finite(a: Tensor) -> Array:
    matrix: Array = a.detach().cpu().numpy()
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ConfigError(
            f"a rank needs a finite matrix: this one of shape {tuple(a.shape)} is empty, not 2-d or not finite"
        )
    return matrix
