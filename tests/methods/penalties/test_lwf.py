"""Learning without forgetting, and weight aligning, which builds on it."""

import math

import pytest
import torch
from torch import nn

from src_lab.evaluation import predict
from src_lab.methods.penalties.lwf import Distillation, LwFConfig, earlier_classes
from src_lab.methods.penalties.weight_aligning import align
from tests.methods.test_methods import learn_all, weights


def given_teacher(outputs: list[float]) -> nn.Module:
    """A network that answers `outputs` to the image [1.0]."""
    teacher = nn.Linear(1, len(outputs), bias=False)
    teacher.weight.data = torch.tensor(outputs).unsqueeze(1)
    return teacher


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_on_hand_made_outputs(temperature: float) -> None:
    """Old classes 0 and 2; the teacher is sure of neither, 3 to 1, at temperature 1."""
    settings = LwFConfig(name="lwf", sleep_after="never", strength=5.0, temperature=temperature)
    teacher = given_teacher([math.log(3), 99.0, 0.0, -99.0])
    extra = Distillation(teacher, [0, 2], settings, "cross_entropy")
    outputs = torch.tensor([[0.0, 7.0, 0.0, -7.0]])
    images, labels = torch.ones(1, 1), torch.tensor([1])
    assert extra.loss(torch.tensor(0.5), images, labels, outputs).item() == pytest.approx(0.5 + 5 * math.log(2), rel=1e-6)
    sure = 3 ** (1 / temperature) / (3 ** (1 / temperature) + 1)
    tilted = torch.tensor([[temperature * math.log(4), 7.0, 0.0, -7.0]])
    expected = 0.5 - 5 * (sure * math.log(0.8) + (1 - sure) * math.log(0.2))
    assert extra.loss(torch.tensor(0.5), images, labels, tilted).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "half_squared_error"])
def test_it_asks_nothing_of_unchanged_outputs_and_of_new_classes(loss: str) -> None:
    settings = LwFConfig(name="lwf", sleep_after="never")
    network = given_teacher([1.0, 2.0, 3.0, 4.0])
    extra = Distillation(network, [0, 2], settings, loss)
    for change, pulls in ((0.0, False), (1.0, True)):
        outputs = (network(torch.ones(1, 1)) + torch.tensor([change, 5.0, 0.0, -5.0])).detach().requires_grad_()
        extra.loss(torch.tensor(0.0), torch.ones(1, 1), torch.tensor([1]), outputs).backward()
        assert torch.equal(outputs.grad[0, [1, 3]], torch.zeros(2))
        assert (outputs.grad[0, [0, 2]].abs().max().item() > 1e-3) == pulls
        assert pulls or outputs.grad.abs().max() < 1e-6


def test_the_teacher_stays_as_the_network_was() -> None:
    network = given_teacher([1.0, 0.0])
    extra = Distillation(network, [0, 1], LwFConfig(name="lwf", sleep_after="never"), "half_squared_error")
    outputs = network(torch.ones(1, 1)).detach()
    network.weight.data.fill_(9.0)
    assert extra.loss(torch.tensor(0.0), torch.ones(1, 1), torch.tensor([0]), outputs).item() == 0


def test_old_outputs_drift_less_than_in_plain_training(make, stream) -> None:
    def drift(name: str, **settings: float) -> float:
        method = make(name, **settings)
        method.learn(stream.tasks[0])
        images = stream.tasks[1].train.images
        before = predict(method.network, images)[:, :2].softmax(dim=1)
        method.learn(stream.tasks[1])
        return (predict(method.network, images)[:, :2].softmax(dim=1) - before).abs().mean().item()

    assert drift("lwf", strength=10.0) < 0.5 * drift("sequential")


def test_the_old_classes_are_those_of_all_earlier_tasks(stream, permuted) -> None:
    assert [earlier_classes(task, stream.tasks) for task in stream.tasks] == [[], [0, 1]]
    assert [earlier_classes(task, permuted.tasks) for task in permuted.tasks] == [[], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_aligning_hand_made_rows() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 5, bias=False))
    rows = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 12.0], [30.0, 40.0], [7.0, 7.0]])  # norms 5, 1, 12, 50
    network[2].weight.data = rows.clone()
    align(network, old=[0, 1], new=[2, 3])
    gamma = 3 / 31
    torch.testing.assert_close(network[2].weight.data, torch.cat([rows[:2], gamma * rows[2:4], rows[4:]]))


def test_weight_aligning_is_lwf_but_for_the_size_of_the_new_rows(make) -> None:
    lwf, aligned = (weights(learn_all(make(name, strength=2.0)).network) for name in ("lwf", "weight_aligning"))
    assert all(torch.equal(a, b) for a, b in zip(lwf[:-1], aligned[:-1], strict=True))
    assert torch.equal(lwf[-1][:2], aligned[-1][:2])
    torch.testing.assert_close(nn.functional.normalize(lwf[-1]), nn.functional.normalize(aligned[-1]))
    norms = aligned[-1].norm(dim=1)
    assert norms[:2].mean().item() == pytest.approx(norms[2:].mean().item(), rel=1e-5)
