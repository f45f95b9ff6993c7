"""Penalty methods on the toy stream under any model and training, and streams of other shapes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from src_lab.data import Split, Stream, Task
from src_lab.methods import METHODS, Method
from src_lab.settings import build

Make = Callable[..., Method]
NOTHING: dict[str, object] = {}


@pytest.fixture
def make(make_method, stream: Stream) -> Make:
    """`make("ewc", strength=0, train={"epochs": 2}, model={"bias": True})`: `make_method` with more of the toy changed."""
    toy = make_method("ewc")._context

    def make(name: str, *, stream: Stream = stream, model: dict = NOTHING, train: dict = NOTHING, **settings) -> Method:
        context = replace(toy, stream=stream, model=replace(toy.model, **model), train=replace(toy.train, **train))
        config = build(METHODS[name].config, {"name": name, "sleep_after": "never", **settings}, "method")
        METHODS[name].check(config, context.model)
        return METHODS[name](context, config)

    return make


@pytest.fixture
def permuted(stream: Stream) -> Stream:
    """Three tasks with the same four classes, each under its own order of the pixels."""
    splits = zip(*((task.train, task.test, task.validation) for task in stream.tasks), strict=True)
    pooled = [Split(torch.cat([s.images for s in each]), torch.cat([s.labels for s in each])) for each in splits]
    tasks = []
    for index in range(3):
        order = torch.randperm(pooled[0].images.shape[1], generator=torch.Generator().manual_seed(index))
        train, test, validation = (Split(split.images[:, order], split.labels) for split in pooled)
        tasks.append(Task(index, (0, 1, 2, 3), train, test, validation))
    return replace(stream, tasks=tuple(tasks))
