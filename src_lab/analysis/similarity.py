"""How alike states are: before and after a sleep, and between classes."""

from collections.abc import Sequence

import pandas as pd
import torch
from pandas import DataFrame
from torch import Tensor

from src_lab.analysis.activations import check_activations, check_same_layers
from src_lab.analysis.selection import rows_of_classes
from src_lab.evaluation import BATCH


def hidden_difference(before_acts: Sequence[Tensor], after_acts: Sequence[Tensor], labels: Tensor) -> DataFrame:
    """Columns layer, class_, difference, n: mean over a class's images of 1 - cos(before, after), per layer.

    before_acts, after_acts   L tensors (images, n_l) of one network on the same images, see `activations`

    0 is the same direction, 1 orthogonal, 2 opposite. A state of zeros has no direction: an image whose state is zero
    before or after is left out, `n` counts the others, and the difference is NaN where there is none.
    """
    check_same_layers(before_acts, after_acts, "activations")
    check_activations(before_acts, labels)
    tables = []
    for layer, layers in enumerate(zip(before_acts, after_acts, strict=True), start=1):
        batches = zip(*(torch.split(states, BATCH) for states in layers), strict=True)
        difference = torch.cat([_one_minus_cosine(before, after) for before, after in batches])
        images = DataFrame({"class_": labels, "difference": difference})
        table = images.groupby("class_")["difference"].agg(["mean", "count"]).reset_index()
        tables.append(table.rename(columns={"mean": "difference", "count": "n"}).assign(layer=layer))
    return pd.concat(tables, ignore_index=True)[["layer", "class_", "difference", "n"]]


def class_correlation(acts: Sequence[Tensor], labels: Tensor) -> DataFrame:
    """Columns layer, class_a, class_b, correlation: Pearson's, over units, of two classes' mean activations.

    All ordered pairs, the diagonal included. NaN where all units of a class's mean are alike.
    """
    check_activations(acts, labels)
    tables = []
    for layer, states in enumerate(acts, start=1):
        means = DataFrame({c: states[own].mean(dim=0, dtype=torch.float64) for c, own in rows_of_classes(labels).items()})
        square = means.corr().rename_axis(index="class_b", columns="class_a").reset_index()
        table = square.melt(id_vars="class_b", value_name="correlation").astype({"class_a": "int64"})
        tables.append(table.assign(layer=layer)[["layer", "class_a", "class_b", "correlation"]])
    return pd.concat(tables, ignore_index=True)


def _one_minus_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Row by row, summed in float64; 0/0 makes NaN of a row of zeros."""
    ab, aa, bb = ((x * y).double().sum(dim=1) for x, y in ((a, b), (a, a), (b, b)))
    return 1 - ab / (aa * bb).sqrt()
