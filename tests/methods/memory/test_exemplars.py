"""The memory: never more than its budget, the same of each class, the most important first."""

import pytest
import torch

from src_lab.data import Split
from src_lab.methods.memory.exemplars import Draws, Memory, herding


def split(labels: list[int], start: int = 0) -> Split:
    """One-pixel images numbered from `start`."""
    return Split(torch.arange(start, start + len(labels)).float().unsqueeze(1), torch.tensor(labels))


def in_order(images: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(images))


def backwards(images: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(images)).flip(0)


def algorithm_4(features: torch.Tensor) -> list[int]:
    """iCaRL's algorithm 4, word by word, without taking an image twice."""
    taken: list[int] = []
    for k in range(1, len(features) + 1):
        norms = [
            torch.inf if row in taken else (features.mean(0) - (features[row] + features[taken].sum(0)) / k).norm().item()
            for row in range(len(features))
        ]
        taken.append(norms.index(min(norms)))
    return taken


@pytest.mark.parametrize("normalised", [True, False])
def test_herding_is_algorithm_4(normalised: bool) -> None:
    features = torch.rand(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if normalised:
        features = torch.nn.functional.normalize(features)
    assert herding(features).tolist() == algorithm_4(features)


def test_herded_means_are_nearer_than_random_ones() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.rand(200, 20, generator=draw))
    order = herding(features)
    for size in (1, 5, 20):
        herded = (features[order[:size]].mean(0) - features.mean(0)).norm()
        at_random = min(
            (features[torch.randperm(200, generator=draw)[:size]].mean(0) - features.mean(0)).norm() for _ in range(20)
        )
        assert herded < at_random


@pytest.mark.parametrize("features", [torch.zeros(5, 3), torch.ones(4, 2), torch.eye(3), torch.ones(1, 3)])
def test_herding_takes_every_row_once_whatever_they_are(features: torch.Tensor) -> None:
    assert sorted(herding(features).tolist()) == list(range(len(features)))


@pytest.mark.parametrize(
    ("budget", "sizes"),
    [(100, [4, 3, 5]), (9, [3, 3, 3]), (8, [3, 3, 2]), (4, [2, 1, 1]), (2, [1, 1, 0]), (0, [0, 0, 0])],
)
def test_a_budget_is_shared_equally_and_kept(budget: int, sizes: list[int]) -> None:
    memory = Memory()
    memory.add(split([0] * 4 + [1] * 3 + [2] * 5), in_order)
    memory.reduce(budget)
    assert memory.state()["memory.sizes"].tolist() == sizes
    assert len(memory) == sum(sizes) <= budget


def test_what_goes_is_what_the_order_named_last() -> None:
    memory = Memory()
    memory.add(split([0, 1, 0, 1, 0, 1]), backwards)
    memory.reduce(4)
    assert memory.all().images.flatten().tolist() == [4, 2, 5, 3]
    memory.add(split([2, 2, 2], start=10), backwards)
    memory.reduce(4)
    assert memory.all().images.flatten().tolist() == [4, 2, 5, 12]
    assert memory.all().labels.tolist() == [0, 0, 1, 2]


def test_classes_met_again_get_a_set_from_each_task() -> None:
    memory = Memory()
    for start in (0, 10):
        memory.add(split([0, 1, 0, 1], start), in_order)
        memory.reduce(4)
    assert memory.all().images.flatten().tolist() == [0, 1, 10, 11]


def test_dropped_images_are_let_go() -> None:
    memory = Memory()
    memory.add(split([0] * 1000), in_order)
    memory.reduce(1)
    assert all(len(kept.images.untyped_storage()) == 4 for kept in memory._sets)


@pytest.mark.parametrize("budget", [None, 5, 1])
def test_state_brings_a_memory_back(budget: int | None) -> None:
    memory, again = Memory(), Memory()
    if budget is not None:
        memory.add(split([0, 1, 0, 1, 1, 1]), backwards)
        memory.reduce(budget)
    again.load_state({"network.0.weight": torch.zeros(1), **memory.state()})
    for each in (memory, again):
        each.add(split([2, 2, 2], start=10), in_order)
        each.reduce(4)
    assert all(torch.equal(memory.state()[name], again.state()[name]) for name in again.state())
    assert memory.state().keys() == again.state().keys()


def test_draws_are_of_the_memory_with_their_labels_and_fill_any_minibatch() -> None:
    kept = split([0, 1, 2])
    draws = Draws(kept, torch.Generator().manual_seed(0), torch.device("cpu"))
    images, labels = draws(300)
    assert torch.equal(images.flatten(), labels.float())
    assert (labels.bincount() > 60).all()
    assert not torch.equal(draws(300)[1], labels)
