"""Evaluation: decisions by hand, no random numbers, the network left as it was."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from src_lab.data import Split
from src_lab.evaluation import evaluate, predict


def echo() -> nn.Module:
    """A network whose outputs are its inputs."""
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4))
    return layer


def test_class_incremental_and_task_aware_decisions() -> None:
    outputs = torch.tensor([[9.0, 1, 0, 0], [0, 1, 9, 0], [2, 1, 9, 0], [0, 1, 9, 0]])
    split = Split(outputs, torch.tensor([0, 1, 1, 0]))
    (measured,) = evaluate(echo(), [(split, (0, 1))])
    assert measured.accuracy == 0.25, "only the first image's highest output of all is its label"
    assert measured.task_aware == 0.5, "the second is right among the classes 0 and 1"
    assert measured.n_test == 4


def test_adjust_changes_the_outputs_before_both_decisions() -> None:
    split = Split(torch.tensor([[1.0, 0, 9, 0]]), torch.tensor([0]))
    (measured,) = evaluate(echo(), [(split, (0, 1))], lambda out, _: out.index_fill(1, torch.tensor([2]), -torch.inf))
    assert measured.accuracy == 1


def test_a_task_without_images_is_not_measured() -> None:
    (measured,) = evaluate(echo(), [(Split(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)), (0,))])
    assert math.isnan(measured.accuracy)
    assert math.isnan(measured.task_aware)


def test_predicting_draws_nothing_and_restores_training_mode() -> None:
    model = nn.Sequential(echo(), nn.Dropout(0.5)).train()
    state = torch.get_rng_state()
    images = torch.rand(2500, 4)
    torch.set_rng_state(state)
    assert torch.equal(predict(model, images), images), "no dropout in evaluation"
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 60))
def test_knowing_the_task_never_hurts(seed: int, n: int) -> None:
    """Aimed at index mistakes: the right answer among all classes is right among the task's."""
    torch.manual_seed(seed)
    split = Split(torch.randn(n, 4), torch.randint(1, 3, (n,)))
    (measured,) = evaluate(echo(), [(split, (1, 2))])
    assert measured.task_aware >= measured.accuracy
