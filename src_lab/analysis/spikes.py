"""Who fires in sleep: firing rates of units, and whether those that stand for a class are replayed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from pandas import DataFrame
from torch import Tensor

from src_lab.analysis.activations import check_activations
from src_lab.analysis.selection import rows_of_classes
from src_lab.settings import ConfigError


def rate_histogram(counts: Sequence[Tensor], steps: int, dt_s: float, bins: int = 50) -> DataFrame:
    """Columns layer, left_hz, right_hz, units: how many units of a layer fire at left_hz <= rate < right_hz.

    counts   L tensors (n_l,), spikes of each unit in a sleep of `steps` steps of `dt_s` seconds, see `replay`
    bins     per layer, at most this many

    All bins of a layer are as wide and span whole numbers of spikes, so that no bin is empty for want of a rate in it.
    """
    _check_sleep(steps, dt_s)
    tables = []
    for layer, spikes in enumerate(counts, start=1):
        highest = int(spikes.max())
        width = -(-(highest + 1) // bins)
        edges = np.arange(0, highest + width + 1, width)
        units = np.histogram(spikes.numpy(), bins=edges)[0]
        hz = edges / (steps * dt_s)
        tables.append(DataFrame({"layer": layer, "left_hz": hz[:-1], "right_hz": hz[1:], "units": units}))
    return pd.concat(tables, ignore_index=True)


def reactivation(
    counts: Sequence[Tensor], steps: int, dt_s: float, acts: Sequence[Tensor], labels: Tensor, top: int = 100
) -> DataFrame:
    """Columns layer, class_, top, top_rate_hz, other_rate_hz, ratio, overlap: are a class's units replayed in sleep?

    counts   L tensors (n_l,), spikes of each unit in a sleep of `steps` steps of `dt_s` seconds, see `replay`
    acts     L tensors (images, n_l) of the network BEFORE that sleep, see `activations`
    top      a class's units: those with the highest mean activation on its images, this many but at most a tenth of a
             layer (at least one); the column tells how many

    Mean firing rates of a class's units and of all other units of the layer; ratio is NaN where the others are silent.
    overlap is the share of a class's units that are also among the `top` most active of the sleep (top / n_l by chance);
    units that never fired are not active.
    """
    _check_sleep(steps, dt_s)
    check_activations(acts, labels)
    if [len(spikes) for spikes in counts] != [states.shape[1] for states in acts]:
        raise ConfigError("counts and activations have other units: give those of one network, layer by layer")
    rows = []
    for layer, (spikes, states) in enumerate(zip(counts, acts, strict=True), start=1):
        rates = spikes.double() / (steps * dt_s)
        chosen = min(top, max(1, len(rates) // 10))
        firing = _highest(rates, chosen)
        firing &= rates > 0
        for class_, own in rows_of_classes(labels).items():
            mine = _highest(states[own].mean(dim=0, dtype=torch.float64), chosen)
            rate, other = rates[mine].mean().item(), rates[~mine].mean().item()
            overlap = int((mine & firing).sum()) / chosen
            rows.append((layer, class_, chosen, rate, other, rate / other if other else float("nan"), overlap))
    return DataFrame(rows, columns=["layer", "class_", "top", "top_rate_hz", "other_rate_hz", "ratio", "overlap"])


def _highest(values: Tensor, count: int) -> Tensor:
    """(n,) bool, the `count` highest values, the first ones among equals."""
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[values.argsort(descending=True, stable=True)[:count]] = True
    return mask


def _check_sleep(steps: int, dt_s: float) -> None:
    if steps < 1 or not dt_s > 0:
        raise ConfigError(f"steps={steps} dt_s={dt_s} is no time slept: firing rates need at least one step")
