"""A toy stream on which every method runs in a blink: four separable classes, two tasks, 6 x 6 images."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tests run side by side, where threads that spin cost most

import pytest
import torch

from src_lab.data import Split, Stream, Task
from src_lab.methods import METHODS, Context, Method
from src_lab.models import ModelConfig
from src_lab.settings import build
from src_lab.training import TrainConfig

SIDE = 6


def toy_split(classes: tuple[int, ...], per_class: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    images, labels = [], []
    for label in classes:
        image = torch.zeros(SIDE, SIDE)
        image[label] = 1
        noise = 0.2 * torch.rand(per_class, SIDE, SIDE, generator=draw)
        images.append((0.8 * image + noise).flatten(1))
        labels.append(torch.full((per_class,), label))
    shuffled = torch.randperm(per_class * len(classes), generator=draw)
    return Split(torch.cat(images)[shuffled], torch.cat(labels)[shuffled])


@pytest.fixture
def stream() -> Stream:
    tasks = tuple(
        Task(
            index,
            classes,
            toy_split(classes, 40, index),
            toy_split(classes, 20, 10 + index),
            toy_split(classes, 10, 20),
        )
        for index, classes in enumerate([(0, 1), (2, 3)])
    )
    return Stream("toy", tasks, num_classes=4, image_shape=(SIDE, SIDE))


@pytest.fixture
def make_method(stream: Stream):
    """Build a method on the toy stream: `make_method("merge", seed=1, rank=2, bias=True, combine="concat")`."""

    def make(
        name: str,
        *,
        seed: int = 0,
        rank: int | None = None,
        bias: bool = False,
        model: dict[str, object] | None = None,
        stream: Stream = stream,
        device: str = "cpu",
        **settings: object,
    ) -> Method:
        rank = 3 if name == "lowrank_merge" and rank is None else rank
        options = {"name": "toy", "widths": [16, 16], "bias": bias, "dropout": 0.25, "dropout_scaling": "train"}
        options |= {"output": "linear", "init_range": None, "rank": rank}
        network = ModelConfig(**options | (model or {}))
        train = TrainConfig(
            name="toy",
            learning_rate=0.2,
            momentum=0.5,
            batch_size=10,
            epochs=15,
            loss="cross_entropy",
            keep_momentum=False,
        )
        config = build(METHODS[name].config, {"name": name, "sleep_after": "never", **settings}, "method")
        METHODS[name].check(config, network)
        return METHODS[name](Context(network, train, stream, seed, torch.device(device)), config)

    return make
