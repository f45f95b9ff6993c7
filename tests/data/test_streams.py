"""Task streams: which image goes where."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.datasets import MNIST

from src_lab.data import DATASETS, DatasetConfig, Split, Stream, load_stream
from src_lab.data.sources import Images, Source
from src_lab.data.streams import pixel_permutation

Setting = int | str | float | list[int] | list[float] | None


def mnist(root: Path, seed: int = 0, **settings: Setting) -> Stream:
    settings = {"name": "mnist", "num_tasks": 5, "classes_per_task": 2, "samples_per_task": 300} | settings
    return load_stream(DatasetConfig(**settings, root=str(root)), seed)


def permuted(root: Path, seed: int = 0, **settings: Setting) -> Stream:
    return mnist(root, seed, name="permuted_mnist", classes_per_task=10, samples_per_task=50, **settings)


def same(a: Split, b: Split) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


def splits(stream: Stream) -> list[Split]:
    return [split for task in stream.tasks for split in (task.train, task.validation, task.test)]


def test_tasks_hold_the_first_images_of_their_classes_in_file_order(root: Path) -> None:
    files = MNIST(root, train=True)
    for number, task in enumerate(mnist(root, samples_per_task=5000).tasks):
        rows = (files.targets // 2 == number).nonzero().squeeze(1)
        assert task.classes == (2 * number, 2 * number + 1)
        assert torch.equal(task.train.labels, files.targets[rows[:5000]])
        assert torch.equal(task.train.images, files.data[rows[:5000]].flatten(1) / 255)
        assert torch.equal(task.validation.images, files.data[rows[-1000:]].flatten(1) / 255)


def test_all_images_are_used_once_when_all_are_asked_for(root: Path) -> None:
    stream = mnist(root, samples_per_task=None)
    assert sum(len(task.train) for task in stream.tasks) == 60_000
    assert sum(len(task.test) for task in stream.tasks) == 10_000
    assert [task.validation.images.shape for task in stream.tasks] == [(0, 784)] * 5


@pytest.mark.parametrize("name", ["mnist", "digits", "fashion_mnist"])
def test_images_are_float_in_unit_interval_and_labels_of_the_tasks_classes(name: str, root: Path) -> None:
    stream = mnist(root, name=name, samples_per_task=200)
    for split in splits(stream):
        assert split.images.dtype == torch.float32
        assert split.labels.dtype == torch.int64
        assert split.images.shape == (len(split), stream.image_shape[0] * stream.image_shape[1])
        assert split.images.min() == 0
        assert split.images.max() == 1
    for task in stream.tasks:
        for split in (task.train, task.validation, task.test):
            assert set(split.labels.tolist()) == set(task.classes)


def test_no_image_is_in_two_splits(root: Path) -> None:
    images = [row.tobytes() for split in splits(mnist(root, samples_per_task=5000)) for row in split.images.numpy()]
    assert len(images) == 40_000
    assert len(set(images)) == len(images)


def numbered(count: int) -> Source:
    """Images of one pixel whose value is their row, classes 0 to 9 in turn."""
    images = Images(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1), torch.arange(count) % 10)
    return Source(images, images, white=1)


def rows(images: Tensor) -> list[int]:
    return images.squeeze(1).int().tolist()


@pytest.mark.parametrize(
    ("samples", "validation", "train_rows", "validation_rows"),
    [
        pytest.param(3, None, [3, 13, 23], [33, 43, 53], id="automatic takes what is left over"),
        pytest.param(6, None, [3, 13, 23, 33, 43, 53], [], id="automatic never takes from training"),
        pytest.param(None, None, [3, 13, 23, 33, 43, 53], [], id="all to training"),
        pytest.param(3, 2, [3, 13, 23], [43, 53], id="from the images left over"),
        pytest.param(3, 3, [3, 13, 23], [33, 43, 53], id="exactly what is left over"),
        pytest.param(None, 2, [3, 13, 23, 33], [43, 53], id="held out from the end"),
        pytest.param(None, 5, [3], [13, 23, 33, 43, 53], id="one left to train on"),
        pytest.param(3, 0, [3, 13, 23], [], id="none wanted, some left"),
        pytest.param(None, 0, [3, 13, 23, 33, 43, 53], [], id="none wanted"),
    ],
)
def test_division_into_training_and_validation(
    samples: int | None,
    validation: int | None,
    train_rows: list[int],
    validation_rows: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(DATASETS, "digits", lambda *_: numbered(60))
    config = DatasetConfig("digits", 10, 1, samples_per_task=samples, validation_per_task=validation)
    task = load_stream(config, seed=0).tasks[3]
    assert rows(task.train.images) == train_rows
    assert rows(task.validation.images) == validation_rows


def test_task_order_moves_whole_tasks_and_keeps_their_labels(root: Path) -> None:
    natural, ordered = mnist(root), mnist(root, task_order=[3, 0, 4, 2, 1])
    assert [task.index for task in ordered.tasks] == [0, 1, 2, 3, 4]
    for task, original in zip(ordered.tasks, (3, 0, 4, 2, 1), strict=True):
        assert task.classes == natural.tasks[original].classes
        assert same(task.train, natural.tasks[original].train)
        assert same(task.test, natural.tasks[original].test)
        assert same(task.validation, natural.tasks[original].validation)


def test_random_order_is_drawn_from_the_seed(root: Path) -> None:
    def order(seed: int) -> tuple[tuple[int, ...], ...]:
        return tuple(task.classes for task in mnist(root, seed, samples_per_task=1, task_order="random").tasks)

    assert order(5) == order(5)
    assert all(sorted(order(seed)) == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)] for seed in range(5))
    assert len({order(seed) for seed in range(5)}) > 1


def test_only_order_and_permutations_depend_on_the_seed(root: Path) -> None:
    assert all(map(same, splits(mnist(root, seed=1)), splits(mnist(root, seed=2))))
    one, again, two = (permuted(root, seed=seed, num_tasks=3) for seed in (1, 1, 2))
    assert all(map(same, splits(one), splits(again)))
    assert same(one.tasks[0].test, two.tasks[0].test)
    assert not same(one.tasks[1].test, two.tasks[1].test)


def test_permuted_tasks_are_mnist_again_once_the_permutation_is_undone(root: Path) -> None:
    stream = permuted(root, seed=3, num_tasks=3)
    original = mnist(root, num_tasks=1, classes_per_task=10, samples_per_task=50).tasks[0]
    assert same(stream.tasks[0].test, original.test)
    for number, task in enumerate(stream.tasks):
        undo = pixel_permutation(3, number, 784).argsort()
        assert task.classes == tuple(range(10))
        for split, plain in (
            (task.train, original.train),
            (task.validation, original.validation),
            (task.test, original.test),
        ):
            assert torch.equal(split.images[:, undo], plain.images)
            assert torch.equal(split.labels, plain.labels)
    assert not torch.equal(stream.tasks[1].test.images, stream.tasks[2].test.images)


def test_a_task_keeps_its_permutation_when_tasks_are_added_or_reordered(root: Path) -> None:
    few, more = permuted(root, num_tasks=2), permuted(root, num_tasks=4, task_order=[2, 3, 0, 1])
    assert same(few.tasks[1].train, more.tasks[3].train)
    assert same(few.tasks[0].train, more.tasks[2].train)


def test_changing_a_task_in_place_does_not_change_the_next_stream(root: Path) -> None:
    before = mnist(root).tasks[0].train.images.clone()
    for stream in (mnist(root), permuted(root, num_tasks=1)):
        stream.tasks[0].train.images.fill_(0.5)
        stream.tasks[0].train.labels.fill_(7)
    after = mnist(root).tasks[0].train
    assert torch.equal(after.images, before)
    assert after.labels.max() == 1


def test_cross_modal_is_mnist_and_then_fashion_mnist_on_the_same_outputs(root: Path) -> None:
    stream = mnist(root, name="cross_modal", num_tasks=2, classes_per_task=10, validation_per_task=40)
    assert stream.num_classes == 10
    for task, name in zip(stream.tasks, ("mnist", "fashion_mnist"), strict=True):
        whole = mnist(root, name=name, num_tasks=1, classes_per_task=10, validation_per_task=40).tasks[0]
        assert task.classes == whole.classes == tuple(range(10))
        assert same(task.train, whole.train)
        assert same(task.validation, whole.validation)
        assert same(task.test, whole.test)
    turned = mnist(root, name="cross_modal", num_tasks=2, classes_per_task=10, task_order=[1, 0])
    assert same(turned.tasks[0].test, stream.tasks[1].test)


def test_samples_per_task_follow_the_order_of_learning(root: Path) -> None:
    stream = mnist(root, samples_per_task=[1, 2, 3, 4, 5], task_order=[4, 3, 2, 1, 0])
    assert [len(task.train) for task in stream.tasks] == [1, 2, 3, 4, 5]
    assert stream.tasks[0].classes == (8, 9)


@pytest.mark.parametrize(
    ("imbalance", "counts"),
    [
        pytest.param(None, [6] * 10, id="as they come"),
        pytest.param(1.0, [6] * 10, id="a tail that is no tail"),
        pytest.param(512.0, [6, 3, 2, 1, 1, 1, 1, 1, 1, 1], id="every class half as frequent as the last, one at least"),
        pytest.param([1, 1, 0.5, 1, 1, 1, 1, 1, 1, 0.01], [6, 6, 3, 6, 6, 6, 6, 6, 6, 1], id="a share of each"),
    ],
)
def test_imbalance_keeps_the_first_images_of_each_class(
    imbalance: float | list[float] | None, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "digits", lambda *_: numbered(100))
    config = DatasetConfig("digits", 1, 10, samples_per_task=60, imbalance=imbalance)
    (task,) = load_stream(config, seed=0).tasks
    assert task.train.labels.bincount().tolist() == counts
    assert rows(task.train.images) == [row for row in range(60) if row // 10 < counts[row % 10]]
    assert rows(task.validation.images) == list(range(60, 100)), "validation stays as balanced as it was"
    assert len(task.test) == 100


def test_imbalance_of_a_class_reaches_the_task_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "digits", lambda *_: numbered(100))
    config = DatasetConfig("digits", 5, 2, imbalance=[1, 1, 1, 1, 1, 1, 1, 0.2, 1, 1])
    assert [len(task.train) for task in load_stream(config, seed=0).tasks] == [20, 20, 20, 12, 20]
