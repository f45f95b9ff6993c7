"""Training: its losses, its order of images, its momentum. The paper's recorded steps are in sleep/test_golden.py."""

from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src_lab.data import Split
from src_lab.training import DivergedError, TrainConfig, Trainer, half_squared_error


def config(**changes: Any) -> TrainConfig:
    plain = {"name": "test", "learning_rate": 0.1, "momentum": 0.5, "batch_size": 4, "epochs": 2}
    return TrainConfig(**{**plain, "loss": "cross_entropy", "keep_momentum": False, **changes})


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Dropout(dropout), nn.Linear(5, 2, bias=False))


def data(count: int = 10) -> Split:
    draw = torch.Generator().manual_seed(1)
    return Split(torch.rand(count, 3, generator=draw), torch.arange(count) % 2)


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def trained(settings: TrainConfig, seed: int = 0, *purpose: str | int, dropout: float = 0.5) -> Tensor:
    model = network(dropout)
    Trainer(model, settings, seed).fit(data(), *purpose)
    return weights_of(model)


class Watched(nn.Linear):
    """Notes the images that it is shown."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.batches: list[list[float]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert self.training
        self.batches.append(x[:, 0].tolist())
        return super().forward(x)


def test_half_squared_error_by_hand() -> None:
    """Targets (0, 1) and (1, 0): half of ((1 + 1) + (4 + 0)) over two images."""
    outputs = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    assert half_squared_error(outputs, torch.tensor([1, 0])).item() == 1.5
    assert half_squared_error(outputs.double(), torch.tensor([1, 0])).dtype == torch.float64


@pytest.mark.parametrize("loss", ["cross_entropy", "half_squared_error"])
def test_a_step_is_momentum_gradient_descent_by_hand(loss: Any) -> None:
    """v = m v + g, w = w - lr v, over three steps, for the gradients that autograd gives."""
    model = network()
    trainer = Trainer(model, config(loss=loss), seed=0)
    velocity, split = torch.zeros(25), data()
    for _ in range(3):
        before = weights_of(model)
        outputs = model(split.images)
        expected = half_squared_error(outputs, split.labels)
        if loss == "cross_entropy":
            expected = -outputs.log_softmax(dim=1)[torch.arange(10), split.labels].mean()
        gradients = torch.autograd.grad(expected, list(model.parameters()))
        velocity = 0.5 * velocity + torch.cat([g.flatten() for g in gradients])
        step_loss = trainer.step(split.images, split.labels)
        torch.testing.assert_close(step_loss, expected.detach())
        assert not step_loss.requires_grad
        torch.testing.assert_close(weights_of(model), before - 0.1 * velocity)


def test_an_epoch_shows_every_image_once_in_a_new_order() -> None:
    model, split = Watched(), data()
    Trainer(model, config(epochs=3), seed=0).fit(split, "task", 0)
    assert [len(batch) for batch in model.batches] == [4, 4, 2] * 3
    epochs = [list(chain(*model.batches[i : i + 3])) for i in (0, 3, 6)]
    assert all(sorted(epoch) == sorted(split.images[:, 0].tolist()) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, split.images[:, 0].tolist()]}) == 4


def test_order_and_dropout_depend_on_seed_and_purpose_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    model = network(0.5)
    torch.set_rng_state(state)
    Trainer(model, config(), 0).fit(data(), "task", 0)
    assert torch.equal(torch.get_rng_state(), state)
    first = weights_of(model)
    assert torch.equal(trained(config(), 0, "task", 0), first)
    for other in (trained(config(), 1, "task", 0), trained(config(), 0, "task", 1)):
        assert not torch.equal(other, first)


def test_a_task_is_learned_the_same_whatever_was_learned_before() -> None:
    """Nothing of the random streams carries over from one fit to the next; without `keep_momentum` nothing at all."""
    model = network(0.5)
    trainer = Trainer(model, config(), 0)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    trainer.fit(data(), "task", 0)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), start, strict=True):
            parameter.copy_(value)
    trainer.fit(data(), "task", 1)
    assert torch.equal(weights_of(model), trained(config(), 0, "task", 1))


@pytest.mark.parametrize("keep_momentum", [True, False])
def test_momentum_is_carried_from_fit_to_fit_only_when_asked(keep_momentum: bool) -> None:
    """With one image that gives no gradient the second fit moves the weights by the old velocity, or not at all."""
    model = network()
    trainer = Trainer(model, config(keep_momentum=keep_momentum, epochs=1, batch_size=10), 0)
    before = weights_of(model)
    trainer.fit(data(), 0)
    moved = weights_of(model) - before
    nothing = Split(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long))
    trainer.fit(nothing, 1)
    expected = 0.5 * moved if keep_momentum else torch.zeros_like(moved)
    torch.testing.assert_close(weights_of(model) - before - moved, expected, rtol=1e-4, atol=1e-7)


def test_it_learns() -> None:
    """Two separable classes: accuracy from chance to certainty."""
    images = torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    split = Split(images, (images[:, 0] > images[:, 1]).long())
    model = network()
    Trainer(model, config(epochs=15, batch_size=20, learning_rate=0.5), 0).fit(split)
    assert not any(module.training for module in model.modules())
    with torch.no_grad():
        assert (model(images).argmax(dim=1) == split.labels).double().mean() > 0.95


@pytest.mark.parametrize(("epochs", "count"), [(0, 10), (2, 0)])
def test_no_epochs_or_no_images_change_nothing(epochs: int, count: int) -> None:
    model = network()
    before = weights_of(model)
    Trainer(model, config(epochs=epochs), 0).fit(data(count))
    assert torch.equal(weights_of(model), before)
    assert not model.training


def test_a_diverging_loss_stops_the_training_in_one_line() -> None:
    with pytest.raises(DivergedError) as caught:
        Trainer(network(), config(learning_rate=1e30), 0).fit(data())
    message = str(caught.value)
    assert "the training loss is" in message
    assert "after epoch 1 with train.learning_rate=1e+30" in message
    assert "train.learning_rate=1e+29" in message
    assert "\n" not in message
