"""Principal components of activations: how much of a layer each task uses, whether tasks share it, what sleep moved.

All components come from scikit-learn's PCA with a fixed seed and fixed signs (the largest loading of each is positive):
equal activations give equal numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.decomposition import PCA  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from src_lab.analysis.activations import check_activations, check_same_layers
from src_lab.analysis.selection import Tasks, rows_of_classes, rows_of_tasks

Array = NDArray[np.floating]

REST = 0
"""Number, in a table, of everything beyond the leading components together."""
NEGLIGIBLE = 1e-5
"""A component with so small a share of the first one's singular value is float32 noise."""


def pca_importance(
    acts: Sequence[Tensor], labels: Tensor, tasks: Tasks, components: int = 20, per_class: int = 200
) -> DataFrame:
    """Columns layer, eval_task, component, share: how much of a layer's variance each task has along each component.

    One PCA per layer is fitted on all tasks together, with the joint mean as centre. With z_ij the score of image i on
    component j, and sums over all tasks' images and ALL components below the line,

        share[t, j] = sum_{i of t} z_ij^2 / sum_i sum_j z_ij^2

    acts        L tensors (images, n_l), see `activations`
    components  leading ones to list, numbered from 1; component 0 (`REST`) is all others together
    per_class   images of a class that are used, evenly spaced

    The shares of a layer add up to 1; they are NaN in a layer that answers the same to every image. Raises ConfigError
    when a class is in two tasks or a task has no images.
    """
    check_activations(acts, labels)
    picked, own = _images_of_tasks(labels, tasks, per_class)
    rows = []
    for layer, states in enumerate(acts, start=1):
        shares = _shares(states[picked].numpy(), own, components)
        for task, row in enumerate(shares):
            numbers = [*range(1, len(row)), REST]
            rows += [(layer, task, component, share) for component, share in zip(numbers, row, strict=True)]
    return DataFrame(rows, columns=["layer", "eval_task", "component", "share"])


def task_overlap(
    acts: Sequence[Tensor], labels: Tensor, tasks: Tasks, components: int = 10, per_class: int = 200
) -> DataFrame:
    """Columns layer, task_a, task_b, dimension, overlap, chance: do two tasks vary along the same directions?

    overlap is the mean squared cosine of the principal angles between the spaces of the two tasks' own leading principal
    components (each task centred at its own mean): ||V_a V_b^T||_F^2 / dimension, 0 for orthogonal spaces, 1 for the same
    (Bjorck & Golub 1973, doi 10.2307/2005662). chance = dimension / n_l is its mean for unrelated spaces. All ordered
    pairs, the diagonal included.

    components   at most this many, and at most half of a layer's units, as a whole layer is shared by definition; fewer
                 where a task's activations have fewer

    NaN where a task's activations do not vary. Raises ConfigError as `pca_importance` does.
    """
    check_activations(acts, labels)
    picked, own = _images_of_tasks(labels, tasks, per_class)
    rows = []
    for layer, states in enumerate(acts, start=1):
        units = states.shape[1]
        spaces = [_leading(states[picked[task]].numpy(), min(components, max(1, units // 2))) for task in own]
        for (a, space_a), (b, space_b) in product(enumerate(spaces), repeat=2):
            dimension = min(len(space_a), len(space_b))
            cosines = space_a[:dimension] @ space_b[:dimension].T
            overlap = min(1.0, float((cosines**2).sum() / dimension)) if dimension else float("nan")
            rows.append((layer, a, b, dimension, overlap, dimension / units))
    return DataFrame(rows, columns=["layer", "task_a", "task_b", "dimension", "overlap", "chance"])


@dataclass(frozen=True)
class OrderedPca:
    """Activations of one layer before and after a sleep in a few common coordinates, images ordered by class.

    before, after                (n, k) float32
    labels                       (n,) int64, ascending
    class_before, class_after    (classes, k), means over each class's images
    classes                      (classes,) int64
    variance_share               (k,) share of the variance each coordinate holds; empty for raw outputs, whose
                                 coordinates are the output units
    """

    layer: int
    before: Array
    after: Array
    labels: NDArray[np.int64]
    class_before: Array
    class_after: Array
    classes: NDArray[np.int64]
    variance_share: Array


def class_ordered_pca(
    before_acts: Sequence[Tensor],
    after_acts: Sequence[Tensor],
    labels: Tensor,
    components: int = 10,
    per_class: int = 1000,
    fit_per_class: int = 200,
) -> list[OrderedPca]:
    """What sleep moved, layer by layer, in the coordinates of one PCA fitted on before and after together.

    before_acts, after_acts   L tensors (images, n_l) of one network on the same images, see `activations`
    components                coordinates kept; the output layer comes raw, with all of its units
    per_class                 images of a class in the result, evenly spaced
    fit_per_class             of these, how many the PCA is fitted on, evenly spaced
    """
    check_same_layers(before_acts, after_acts, "activations")
    check_activations(before_acts, labels)
    shown = _concatenated(rows_of_classes(labels, per_class))
    fitted = _concatenated(rows_of_classes(labels[shown], fit_per_class))
    ordered = labels[shown].numpy().astype(np.int64)
    classes = np.unique(ordered)
    results = []
    for layer, pair in enumerate(zip(before_acts, after_acts, strict=True), start=1):
        states: list[Array] = [acts[shown].numpy() for acts in pair]
        share: Array = np.empty(0)
        if layer < len(before_acts):
            states, share = _common_coordinates(states, fitted.numpy(), components)
        means = [np.stack([state[ordered == class_].mean(axis=0) for class_ in classes]) for state in states]
        results.append(OrderedPca(layer, states[0], states[1], ordered, means[0], means[1], classes, share))
    return results


def _images_of_tasks(labels: Tensor, tasks: Tasks, per_class: int) -> tuple[Tensor, list[Tensor]]:
    """Rows of the images to use, and each task's places among them."""
    rows = _concatenated(rows_of_classes(labels, per_class))
    rows = rows[torch.cat(rows_of_tasks(labels[rows], tasks))]
    return rows, rows_of_tasks(labels[rows], tasks)


def _concatenated(rows: dict[int, Tensor]) -> Tensor:
    return torch.cat(list(rows.values()) or [torch.empty(0, dtype=torch.int64)])


def _shares(x: Array, own: Sequence[Tensor], components: int) -> Array:
    """(tasks, k + 1): shares along the leading components, and in the last column along all others."""
    centred = x - x.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", centred, centred)
    leading = _leading(x, components)
    if not len(leading):
        return np.full((len(own), 1), np.nan)
    along = (centred @ leading.T.astype(np.float64)) ** 2
    listed = np.stack([along[task.numpy()].sum(axis=0) for task in own])
    everything = np.array([squares[task.numpy()].sum() for task in own])
    rest = np.clip(everything - listed.sum(axis=1), 0, None)
    shares: Array = np.column_stack([listed, rest]) / squares.sum()
    return shares


def _leading(x: Array, components: int) -> Array:
    """(k, units): the leading principal components of x (n, units) that are more than rounding noise, none if constant."""
    if not np.ptp(x, axis=0).any():
        return np.empty((0, x.shape[1]))
    pca = _fit(x, components)
    clear = pca.singular_values_ > NEGLIGIBLE * pca.singular_values_[0]
    leading: Array = pca.components_[clear]
    return leading


def _common_coordinates(states: Sequence[Array], fitted: NDArray[np.int64], components: int) -> tuple[list[Array], Array]:
    """Both states in the coordinates of their common components, and the share of variance that each holds."""
    joint = np.concatenate([state[fitted] for state in states])
    if not np.ptp(joint, axis=0).any():
        return [np.zeros((len(state), 1), state.dtype) for state in states], np.full(1, np.nan)
    pca = _fit(joint, components)
    return [pca.transform(state) for state in states], pca.explained_variance_ratio_


def _fit(x: Array, components: int) -> PCA:
    return PCA(n_components=min(components, *x.shape), random_state=0).fit(x)
