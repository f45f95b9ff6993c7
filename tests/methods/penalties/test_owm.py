"""Orthogonal weights modification."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from src_lab.data import Split
from src_lab.evaluation import predict
from src_lab.methods.penalties import owm
from src_lab.methods.penalties.owm import projecting, recursive_least_squares
from tests.methods.test_methods import accuracies, learn_all, weights


def one_by_one(inputs: torch.Tensor, alpha: float) -> torch.Tensor:
    """The recursion as the paper writes it."""
    projector = torch.eye(inputs.shape[1], dtype=inputs.dtype)
    for x in inputs:
        k = projector @ x
        projector = projector - torch.outer(k, k) / (alpha + x @ k)
    return projector


@pytest.mark.parametrize("block", [1, 3, 100])
def test_the_projector_is_that_of_the_recursion_and_of_its_closed_form(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owm, "BLOCK", block)
    inputs = torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    projector = recursive_least_squares(torch.eye(6, dtype=torch.float64), inputs, 0.3)
    torch.testing.assert_close(projector, one_by_one(inputs, 0.3), rtol=1e-6, atol=1e-7)
    closed = torch.linalg.inv(torch.eye(6, dtype=torch.float64) + inputs.T @ inputs / 0.3)
    torch.testing.assert_close(projector, closed, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bias", [False, True])
def test_the_gradient_of_every_layer_is_multiplied_by_its_projector(bias: bool) -> None:
    network = nn.Sequential(nn.Linear(5, 4, bias=bias), nn.ReLU(), nn.Linear(4, 3, bias=bias))
    images, labels = torch.randn(7, 5), torch.randint(3, (7,))
    draw = torch.Generator().manual_seed(0)
    projectors = {name: torch.randn(n + bias, n + bias, generator=draw) for name, n in (("0", 5), ("2", 4))}
    projectors = {name: p + p.T for name, p in projectors.items()}

    def backward() -> None:
        network.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()

    def gradient(layer: nn.Linear) -> torch.Tensor:
        parts = [layer.weight.grad] + ([layer.bias.grad.unsqueeze(1)] if bias else [])
        return torch.cat(parts, dim=1).clone()

    backward()
    plain = {name: gradient(network[int(name)]) for name in projectors}
    with projecting(network, projectors) as extra:
        backward()
        extra.before_update()
        for name, projector in projectors.items():
            torch.testing.assert_close(gradient(network[int(name)]), plain[name] @ projector, rtol=1e-4, atol=1e-6)
    backward()
    assert all(torch.equal(gradient(network[int(name)]), plain[name]) for name in projectors), "it stops watching"


@pytest.mark.parametrize("bias", [False, True])
def test_learning_leaves_the_answers_to_old_images_as_they_are(bias: bool, make, stream) -> None:
    """Six old images, of 36 pixels and 16 units, all of them protected: there is room left, and the new task is learned."""
    first = stream.tasks[0]
    few = replace(first, train=Split(first.train.images[:6], first.train.labels[:6]))

    def changes(name: str, **settings: object) -> tuple[torch.Tensor, torch.Tensor]:
        method = make(name, model={"bias": bias}, **settings)
        method.learn(few)
        old, new = predict(method.network, few.train.images), predict(method.network, stream.tasks[1].train.images)
        method.learn(stream.tasks[1])
        return (
            predict(method.network, few.train.images) - old,
            predict(method.network, stream.tasks[1].train.images) - new,
        )

    protected, moved = changes("owm", alpha=1e-6, images_per_mean=1)
    assert protected.abs().max() < 1e-2
    assert moved.abs().mean() > 1
    assert changes("sequential")[0].abs().mean() > 1


def test_nothing_is_protected_with_a_vast_alpha(make) -> None:
    free, plain = (weights(learn_all(make(*a, train={"epochs": 2})).network) for a in (["owm"], ["sequential"]))
    assert not all(torch.allclose(a, b, atol=1e-5) for a, b in zip(free, plain, strict=True))
    free = weights(learn_all(make("owm", alpha=1e12, train={"epochs": 2})).network)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(free, plain, strict=True))


def test_old_classes_are_forgotten_less(make, stream) -> None:
    plain, protected = (accuracies(learn_all(make(name)), stream) for name in ("sequential", "owm"))
    assert protected[0] > plain[0] + 0.2
    assert protected[1] > 0.8


def test_means_of_more_images_are_fewer_inputs(make, stream) -> None:
    """80 images as one mean each leave less room than as two means."""
    traces = []
    for images_per_mean in (1, 40):
        method = make("owm", images_per_mean=images_per_mean)
        method.learn(stream.tasks[0])
        traces.append(method.state()["projector.1"].trace().item())
    assert traces[0] < traces[1]
    assert 33.9 < traces[1] < 36
