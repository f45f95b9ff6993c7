"""Training images kept for later tasks: which, how many, and what is drawn from them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from src_lab.data import Split
from src_lab.training import part

Order = Callable[[Tensor], Tensor]
"""From images (n, features) of one class to the indices of those worth keeping, (m,) with m <= n, most important first."""


class Memory:
    """Exemplars, on the CPU: one set for each class of each task, most important images first.

    A class that several tasks have gets a set from each, so that no task of a stream with shared classes is left out.
    """

    def __init__(self) -> None:
        self._sets: list[Split] = []

    def __len__(self) -> int:
        """How many images are kept."""
        return sum(len(kept) for kept in self._sets)

    def add(self, new: Split, order: Order) -> None:
        """Keep of each class of `new` the images that `order` names."""
        for label in sorted(set(new.labels.tolist())):
            rows = (new.labels == label).nonzero().squeeze(1)
            rows = rows[order(new.images[rows])]
            self._sets.append(Split(new.images[rows], new.labels[rows]))

    def reduce(self, budget: int) -> None:
        """Keep at most `budget` images in total, as many of each set (one more of the first where they do not divide).

        A set drops its least important images (iCaRL's algorithm 5); what a small set leaves unused stays unused.
        """
        share, rest = divmod(budget, max(1, len(self._sets)))
        quotas = [share + (index < rest) for index in range(len(self._sets))]
        self._sets = [
            Split(kept.images[:quota].clone(), kept.labels[:quota].clone())  # a view would hold on to the others
            for kept, quota in zip(self._sets, quotas, strict=True)
        ]

    def all(self) -> Split:
        """Every image kept. The memory must hold a set."""
        return Split(torch.cat([kept.images for kept in self._sets]), torch.cat([kept.labels for kept in self._sets]))

    def joined(self, new: Split) -> Split:
        """`new`, and behind it every image kept."""
        kept = [Split(new.images, new.labels), *self._sets]
        return Split(torch.cat([split.images for split in kept]), torch.cat([split.labels for split in kept]))

    def state(self) -> dict[str, Tensor]:
        """What `load_state` restores: images (n, features), labels (n,) and the sizes of the sets."""
        if not self._sets:
            return {}
        kept = self.all()
        sizes = torch.tensor([len(each) for each in self._sets])
        return {"memory.images": kept.images, "memory.labels": kept.labels, "memory.sizes": sizes}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        held = part(state, "memory.")
        sizes = held["sizes"].tolist() if held else []
        images, labels = (torch.split(held[name], sizes) if held else () for name in ("images", "labels"))
        self._sets = [Split(*both) for both in zip(images, labels, strict=True)]


class Draws:
    """Draws minibatches of `kept`, uniformly and with replacement: a memory smaller than a minibatch fills one too."""

    def __init__(self, kept: Split, generator: torch.Generator, device: torch.device) -> None:
        self._images, self._labels = kept.images.to(device), kept.labels.to(device)
        self._generator = generator

    def __call__(self, count: int) -> tuple[Tensor, Tensor]:
        """Images (count, features) and their labels (count,)."""
        rows = torch.randint(len(self._labels), (count,), generator=self._generator).to(self._labels.device)
        return self._images[rows], self._labels[rows]


def herding(features: Tensor) -> Tensor:
    """All rows of `features` (n, d), in the order in which iCaRL's algorithm 4 takes them (Rebuffi et al. 2017).

        p_k = argmin_x || mu - (phi(x) + sum_{j<k} phi(p_j)) / k ||,   mu = mean_x phi(x),   x not among the earlier p_j

    Returns indices (n,). The norm's square is |phi|^2/k^2 - 2/k phi.(mu - S/k) and a constant, S the sum of those taken:
    products of rows, made once, are all that the choice needs. Memory O(n^2).
    """
    products = features @ features.T
    toward_mean = products.mean(dim=1)
    own = products.diagonal() / 2
    taken = torch.zeros_like(toward_mean)
    order = torch.empty(len(features), dtype=torch.int64)
    for k in range(1, len(features) + 1):
        chosen = int((k * toward_mean - taken - own).argmax())
        order[k - 1] = chosen
        taken += products[chosen]
        own[chosen] = torch.inf
    return order
