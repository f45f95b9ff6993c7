"""How few units of a layer answer to an image."""

from collections.abc import Sequence

import pandas as pd
import torch
from pandas import DataFrame, Series
from torch import Tensor

from src_lab.analysis.activations import check_activations
from src_lab.evaluation import BATCH

MEASURES = ["active_share", "treves_rolls", "hoyer"]


def sparseness(acts: Sequence[Tensor], labels: Tensor) -> DataFrame:
    """Columns layer, class_, active_share, treves_rolls, hoyer, n: means over a class's n images, per layer.

    With r the activations of a layer's N units on one image, negative outputs taken as 0 (a silent unit):

        active_share   share of units with r > 0
        treves_rolls   a = (sum r / N)^2 / (sum r^2 / N), 1/N (one unit) to 1 (all alike): LOW is sparse.
                       Treves & Rolls 1991, doi 10.1088/0954-898X_2_4_004
        hoyer          (sqrt(N) - sum r / sqrt(sum r^2)) / (sqrt(N) - 1), 0 to 1: HIGH is sparse. Hoyer 2004, JMLR 5:1457

    An image that leaves the layer silent has neither of the last two: it is left out of their means, which are NaN where
    no image is left (and hoyer in a layer of one unit).
    """
    check_activations(acts, labels)
    tables = []
    for layer, states in enumerate(acts, start=1):
        images = torch.cat([_measures(batch.clamp(min=0)) for batch in torch.split(states, BATCH)])
        classes = DataFrame(images, columns=MEASURES).groupby(Series(labels, name="class_"))
        tables.append(classes.mean().assign(n=classes.size(), layer=layer).reset_index())
    return pd.concat(tables, ignore_index=True)[["layer", "class_", *MEASURES, "n"]]


def _measures(r: Tensor) -> Tensor:
    """(images, 3): the measures of `sparseness` of each row of r >= 0, 0/0 making NaN of those of a silent one."""
    units = r.shape[1]
    a = r.sum(dim=1).double() ** 2 / (units * r.norm(dim=1).double() ** 2)
    root = units**0.5
    hoyer = root * (1 - a.sqrt()) / (root - 1) if units > 1 else a * float("nan")
    return torch.stack([r.sign().sum(dim=1).double() / units, a, hoyer], dim=1)
