"""What a sleep did to the weights: how many grew and shrank, by how much, and how they are distributed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from pandas import DataFrame
from torch import Tensor

from src_lab.analysis.activations import check_same_layers
from src_lab.analysis.ranks import stable_rank


def weight_changes(before: Sequence[Tensor], after: Sequence[Tensor]) -> DataFrame:
    """Columns layer, increased, decreased, unchanged, mean_change, l2_increase, l2_decrease, change_rank, uniform_share.

    before, after   L tensors (n_l, n_{l-1})

    A row per layer. With D = after - before: shares of the weights with D > 0, D < 0 and D = 0, the mean of D, and the
    Frobenius norms ||max(D, 0)|| and ||min(D, 0)||. change_rank is the stable rank of D. uniform_share = ||D e||^2 / ||D||^2
    with e = 1/sqrt(n_{l-1}) (1, .., 1) is the share of D's squares that moves all incoming weights of a unit alike: 1 for a
    change that is one number per unit, about 1 / n_{l-1} for an unrelated one. Both are NaN where nothing changed.
    """
    check_same_layers(before, after, "weights")
    rows = []
    for layer, (old, new) in enumerate(zip(before, after, strict=True), start=1):
        change = new.detach() - old.detach()
        grown, shrunk = (int(torch.count_nonzero(part)) for part in (change > 0, change < 0))
        shares = [count / change.numel() for count in (grown, shrunk, change.numel() - grown - shrunk)]
        norms = [part.norm(dtype=torch.float64).item() for part in (change.clamp(min=0), change.clamp(max=0))]
        shape = stable_rank(change), _uniform_share(change)
        rows.append((layer, *shares, change.mean(dtype=torch.float64).item(), *norms, *shape))
    columns = ["layer", "increased", "decreased", "unchanged", "mean_change", "l2_increase", "l2_decrease"]
    return DataFrame(rows, columns=[*columns, "change_rank", "uniform_share"])


def _uniform_share(change: Tensor) -> float:
    squares = change.double().square().sum().item()
    if not squares:
        return float("nan")
    return change.sum(dim=1, dtype=torch.float64).square().sum().item() / change.shape[1] / squares


def weight_histogram(before: Sequence[Tensor], after: Sequence[Tensor], bins: int = 101) -> DataFrame:
    """Columns layer, when ("before" | "after"), left, right, count: how many weights lie in each bin.

    The bins of a layer are of equal width, from its smallest to its largest weight of both; a bin holds left <= w < right,
    the last one its right edge too.
    """
    check_same_layers(before, after, "weights")
    tables = []
    for layer, pair in enumerate(zip(before, after, strict=True), start=1):
        flat = {when: w.detach().cpu().numpy().ravel() for when, w in zip(("before", "after"), pair, strict=True)}
        span = min(w.min() for w in flat.values()), max(w.max() for w in flat.values())
        for when, w in flat.items():
            count, edges = np.histogram(w, bins=bins, range=span)
            tables.append(DataFrame({"layer": layer, "when": when, "left": edges[:-1], "right": edges[1:], "count": count}))
    return pd.concat(tables, ignore_index=True)
