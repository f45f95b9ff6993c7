"""Prototype classifiers against the decisions they are defined by, computed from all images at once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from src_lab.data import Split, Stream
from src_lab.methods import Method
from src_lab.methods.prototypes.prototypes import UNSEEN
from src_lab.tensor_files import load_tensors, save_tensors
from tests.test_config import SMALL, refuse

VARIANTS = [(name, features) for name in ("ncm", "slda") for features in ("input", "first_task")]


def learn(method: Method, *tasks: int) -> Method:
    for index in tasks or range(len(method.stages())):
        method.learn(method.stages()[index])
    return method


def everything(stream: Stream) -> Split:
    splits = [task.train for task in stream.tasks]
    return Split(torch.cat([split.images for split in splits]), torch.cat([split.labels for split in splits]))


def answers(method: Method, images: Tensor) -> Tensor:
    with torch.no_grad():
        return method.network(images)


def features_of(method: Method, images: Tensor) -> Tensor:
    with torch.no_grad():
        return method.network[:-1](images).double()


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([features[labels == label].mean(dim=0) for label in range(4)])


@pytest.mark.parametrize("features", ["input", "first_task"])
def test_ncm_answers_the_nearest_mean(features: str, make_method, stream: Stream) -> None:
    method, data = learn(make_method("ncm", features=features)), everything(stream)
    seen = features_of(method, data.images)
    distances = torch.cdist(seen, class_means(seen, data.labels))
    found = answers(method, data.images)
    assert torch.equal(found.argmax(dim=1), distances.argmin(dim=1))
    gaps = (distances.square() - distances.square()[:, :1]) / -2
    torch.testing.assert_close(found - found[:, :1], gaps.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("features", ["input", "first_task"])
def test_slda_answers_the_nearest_mean_by_the_shared_covariance(features: str, make_method, stream: Stream) -> None:
    method, data = learn(make_method("slda", features=features, shrinkage=0.01)), everything(stream)
    seen = features_of(method, data.images)
    means = class_means(seen, data.labels)
    centred = seen - means[data.labels]
    covariance = 0.99 * centred.T @ centred / len(seen) + 0.01 * torch.eye(seen.shape[1])
    gap = seen[:, None] - means
    distances = torch.einsum("ncd,de,nce->nc", gap, torch.linalg.inv(covariance), gap)
    found = answers(method, data.images)
    assert torch.equal(found.argmax(dim=1), distances.argmin(dim=1))
    wanted = (distances - distances[:, :1]) / -2
    torch.testing.assert_close(found - found[:, :1], wanted.float(), rtol=1e-3, atol=1e-2)


def test_slda_is_the_same_whatever_the_order_and_the_tasks(make_method, stream: Stream) -> None:
    """The images of all classes in three tasks, each of which has some of every class, against two tasks of two classes."""
    data = everything(stream)
    third = torch.arange(len(data)) % 3
    mixed = tuple(
        replace(stream.tasks[0], index=part, train=Split(data.images[third == part], data.labels[third == part]))
        for part in range(3)
    )
    apart = learn(make_method("slda", features="input"))
    together = learn(make_method("slda", features="input", stream=replace(stream, tasks=mixed)))
    for name, tensor in apart.statistics.items():
        torch.testing.assert_close(tensor, together.statistics[name], rtol=1e-4, atol=1e-4)


def test_with_the_identity_alone_slda_is_ncm(make_method) -> None:
    slda, ncm = learn(make_method("slda", features="input", shrinkage=1.0)), learn(make_method("ncm"))
    torch.testing.assert_close(slda.network[-1].weight, ncm.network[-1].weight)
    torch.testing.assert_close(slda.network[-1].bias, ncm.network[-1].bias)


@pytest.mark.parametrize(("name", "features"), VARIANTS)
def test_classes_never_seen_are_never_answered(name: str, features: str, make_method, stream: Stream) -> None:
    method, images = make_method(name, features=features), everything(stream).images
    assert (answers(method, images) == UNSEEN).all()
    learn(method, 1)
    found = answers(method, 100 * images)
    assert (found[:, :2] == UNSEEN).all()
    assert set(found.argmax(dim=1).tolist()) <= {2, 3}


@pytest.mark.parametrize("name", ["ncm", "slda"])
def test_features_are_those_of_the_first_task_and_stay(name: str, make_method) -> None:
    method, sequential = learn(make_method(name, features="first_task")), learn(make_method("sequential"), 0)
    body = method.network[:-1].state_dict()
    assert set(body) == {"1.weight", "4.weight"}
    assert all(torch.equal(weight, sequential.network.state_dict()[name]) for name, weight in body.items())


@pytest.mark.parametrize(("name", "features"), VARIANTS)
def test_they_end_in_a_linear_layer_and_draw_nothing(name: str, features: str, make_method) -> None:
    before = torch.get_rng_state()
    method = make_method(name, features=features)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(method.network, nn.Sequential)
    assert isinstance(method.network[-1], nn.Linear)
    assert method.network[-1].bias is not None


@pytest.mark.parametrize(("name", "features"), VARIANTS)
def test_stopped_and_gone_on_they_end_the_same(name: str, features: str, make_method, tmp_path: Path) -> None:
    whole = learn(make_method(name, features=features))
    save_tensors(tmp_path / "state.safetensors", learn(make_method(name, features=features), 0).state(), {})
    second = make_method(name, features=features)
    second.load_state(load_tensors(tmp_path / "state.safetensors")[0])
    learn(second, 1)
    state = whole.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in second.state().items())
    assert len(state) == len(second.state())


@pytest.mark.parametrize(("name", "floats"), [("ncm", 4 + 4 * 36), ("slda", 4 + 4 * 36 + 36**2)])
def test_they_store_means_counts_and_covariance(name: str, floats: int, make_method) -> None:
    stored = learn(make_method(name, features="input")).stored()
    assert (stored.floats, stored.images, stored.models) == (floats, 0, 0)


@pytest.mark.parametrize("name", ["ncm", "slda"])
def test_low_rank_networks_give_features_too(name: str, make_method, stream: Stream) -> None:
    method = learn(make_method(name, features="first_task", rank=3))
    assert torch.isfinite(answers(method, stream.tasks[0].test.images)).all()


@pytest.mark.parametrize("name", ["ncm", "slda"])
def test_they_refuse_to_sleep(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = refuse(monkeypatch, tmp_path, *SMALL, f"method={name}", "method.sleep_after=each_task")
    assert "method.sleep_after=each_task is not possible" in message
    assert "use method.sleep_after=never" in message
    assert "\n" not in message
