"""Surrogates of what sleep learned: changes like it that know less of it.

Whatever a network gains from a surrogate as well, it does not owe to WHICH synapses, or which of a unit's, sleep changed.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Surrogate = Literal["shuffled", "noise", "per_unit", "rank_one"]


def surrogates(
    before: Sequence[Tensor], after: Sequence[Tensor], kind: Surrogate, generator: torch.Generator
) -> list[Tensor]:
    """The weights `before` plus a surrogate of D = after - before, drawn for each layer from the CPU `generator`.

    shuffled  the entries of D in random order: the same in every moment
    noise     N(mean(D), var(D)), independently for every weight
    per_unit  the mean of each unit's row of D in all of the row: one number per unit, and nothing is drawn
    rank_one  the nearest matrix of rank one, u_i v_j: how much unit i changes times how much input j is changed, as if the
              spikes of both came independently of each other (the mean field of sleep), and nothing is drawn
    """
    draw = {"shuffled": _shuffled, "noise": _noise, "per_unit": _per_unit, "rank_one": _rank_one}[kind]
    return [old + draw(new - old, generator).to(old) for old, new in zip(before, after, strict=True)]


def bias_surrogates(
    before: Sequence[Tensor | None], after: Sequence[Tensor | None], kind: Surrogate, generator: torch.Generator
) -> list[Tensor | None]:
    """The same for biases that learned: `shuffled` over the units of a layer, `noise` drawn for each, and with `per_unit`
    and `rank_one` what they learned, being one number per unit already."""
    if kind in ("per_unit", "rank_one"):
        return list(after)
    draw = {"shuffled": _shuffled, "noise": _noise}[kind]
    return [
        old if old is None or new is None else old + draw(new - old, generator).to(old)
        for old, new in zip(before, after, strict=True)
    ]


def _shuffled(change: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(change.numel(), generator=generator).to(change.device)
    return change.flatten()[order].view_as(change)


def _per_unit(change: Tensor, _: torch.Generator) -> Tensor:
    return change.mean(dim=tuple(range(1, change.ndim)), keepdim=True).expand_as(change)


def _rank_one(change: Tensor, _: torch.Generator) -> Tensor:
    from sklearn.utils.extmath import randomized_svd  # type: ignore[import-untyped]  # slow to load, and ships no types

    matrix = change.flatten(1).double().cpu().numpy()
    units, size, inputs = randomized_svd(matrix, n_components=1, n_iter=20, random_state=0)
    return torch.from_numpy(size * units @ inputs).view_as(change)


def _noise(change: Tensor, generator: torch.Generator) -> Tensor:
    sd, mean = torch.std_mean(change.double(), correction=0)
    return torch.randn(change.shape, generator=generator).to(sd) * sd + mean
