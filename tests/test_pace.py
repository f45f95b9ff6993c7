"""Epochs and learning rate of each task: a number for all, or a list."""

from dataclasses import replace

import pytest
import torch

from src_lab.data import Split
from src_lab.methods import METHODS, Context
from src_lab.settings import ConfigError
from src_lab.training import TrainConfig, Trainer
from tests.test_config import compose, refuse

CONFIG = TrainConfig("toy", 0.1, 0.0, 4, 1, "half_squared_error", keep_momentum=True)
DATA = Split(torch.eye(4), torch.arange(4))


def trained(config: TrainConfig, *tasks: int, keep: bool = True) -> torch.Tensor:
    network = torch.nn.Linear(4, 4, bias=False)
    torch.nn.init.zeros_(network.weight)
    trainer = Trainer(network, replace(config, keep_momentum=keep), seed=0)
    for task in tasks:
        trainer.fit(DATA, task)
    return network.weight.detach()


@pytest.mark.parametrize("keep", [True, False])
def test_each_task_has_its_own_epochs_and_learning_rate(keep: bool) -> None:
    paced = replace(CONFIG, epochs=[3, 1], learning_rate=[0.1, 0.4])
    # One step of full batches on one-hot images with W = 0: W = c I with c += rate / 4 (1 - c).
    expected = 0.0
    for rate in (0.1, 0.1, 0.1, 0.4):
        expected += rate / 4 * (1 - expected)
    torch.testing.assert_close(trained(paced, 0, 1, keep=keep), expected * torch.eye(4))
    torch.testing.assert_close(trained(paced, 1, keep=keep), 0.1 * torch.eye(4))


def test_a_list_of_equal_numbers_is_the_number() -> None:
    one, many = (
        replace(CONFIG, epochs=2, momentum=0.5),
        replace(CONFIG, epochs=[2, 2], learning_rate=[0.1, 0.1], momentum=0.5),
    )
    assert torch.equal(trained(one, 0, 1), trained(many, 0, 1))


@pytest.mark.parametrize("key", ["epochs", "learning_rate"])
def test_joint_training_wants_one_number(key: str, make_method) -> None:
    plain: Context = make_method("merge")._context
    context = replace(plain, train=replace(plain.train, **{key: [1, 2]}))
    with pytest.raises(
        ConfigError, match=rf"train\.{key}=\[1,2\] has one number per task, but here the tasks are learned at once"
    ):
        METHODS["parallel"](context, METHODS["parallel"].config("parallel", "never"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.epochs=[2,5]",
            "train.epochs=[2,5] has 2 values but the stream has 5 tasks: give one number, or one per task",
        ),
        ("train.learning_rate=[]", "train.learning_rate=[] has 0 values but the stream has 5 tasks"),
        ("train.epochs=[1,1,1,1,-1]", "train.epochs=[1,1,1,1,-1] is not allowed"),
    ],
)
def test_a_list_of_another_length_is_refused_before_any_work(override, message, tmp_path, monkeypatch) -> None:
    said = refuse(monkeypatch, tmp_path, "dataset=digits", override)
    assert message in said
    assert not list(tmp_path.iterdir())


def test_a_list_with_a_number_for_each_task_composes() -> None:
    assert compose("experiment=tadros_variable_task2").train.epochs == [2, 5]
    assert compose("dataset=digits", "train.epochs=[1,2,3,4,5]").hash != compose("dataset=digits", "train.epochs=2").hash
