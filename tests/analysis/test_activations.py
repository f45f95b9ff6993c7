"""Activations by hand, of every kind of network, and the network left as it was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from src_lab.analysis import activations
from src_lab.analysis.selection import evenly, rows_of_classes, rows_of_tasks
from src_lab.models import ModelConfig, build_model
from src_lab.settings import ConfigError
from src_lab.sleep.chain import find_layers

IMAGES = torch.rand(7, 2, 3, generator=torch.Generator().manual_seed(0))


def network(**options: object) -> nn.Sequential:
    settings = {"name": "t", "widths": [5, 4], "bias": False, "dropout": 0.0, "output": "linear", "rank": None}
    config = ModelConfig(**{**settings, "dropout_scaling": "train", "init_range": 1.0, **options})  # type: ignore[arg-type]
    return build_model(config, 6, 3, seed=4)


def test_a_layer_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [0, -1]]))
        model[2].weight.copy_(torch.tensor([[2.0, 1]]))
        model[2].bias.fill_(-5)
    hidden, output = activations(model, torch.tensor([[1.0, 3], [2, -4]]))
    assert hidden.tolist() == [[1, 0], [2, 4]], "after the ReLU"
    assert output.tolist() == [[-3], [3]], "raw, with the bias"


@pytest.mark.parametrize("output", ["linear", "relu"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_last_is_the_output_and_each_feeds_the_next(output: str, dropout: float) -> None:
    model = network(output=output, dropout=dropout, dropout_scaling="test").eval()
    found = activations(model, IMAGES)
    layers = [layer.weight() for layer in find_layers(model)]
    torch.testing.assert_close(found[2], model(IMAGES).detach())
    torch.testing.assert_close(found[1], (found[0] @ layers[1].T).relu() * (1 - dropout))
    torch.testing.assert_close(found[0], (IMAGES.flatten(1) @ layers[0].T).relu() * (1 - dropout))


@pytest.mark.parametrize("options", [{"rank": 2}, {"bias": True}, {"widths": []}, {"widths": [5], "rank": 2, "bias": True}])
def test_low_rank_biased_and_shallow_networks(options: dict[str, object]) -> None:
    model = network(**options).eval()
    found = activations(model, IMAGES)
    assert [states.shape for states in found] == [(7, w) for w in (*options.get("widths", [5, 4]), 3)]  # type: ignore[misc]
    torch.testing.assert_close(found[-1], model(IMAGES).detach())


def test_layers_in_the_order_of_the_forward_not_of_the_names() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(5, 3), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x.flatten(1)).relu())

    assert [states.shape[1] for states in activations(Backwards(), IMAGES)] == [5, 3]


@pytest.mark.parametrize("n", [0, 1, 1000, 2001])
def test_batches_do_not_show(n: int) -> None:
    model, images = network(), torch.rand(n, 6)
    whole = activations(model, images)
    assert [states.shape for states in whole] == [(n, 5), (n, 4), (n, 3)]
    assert all(states.dtype == torch.float32 for states in whole)
    torch.testing.assert_close(whole[-1], model(images).detach())


def test_double_precision_networks_give_float32() -> None:
    model = network().double()
    found = activations(model, IMAGES)
    assert {states.dtype for states in found} == {torch.float32}
    assert next(model.parameters()).dtype == torch.float64


def test_leaves_everything_as_it_was() -> None:
    model = network(dropout=0.5).train()
    model[2].eval()
    flags = [module.training for module in model.modules()]
    weights, images = copy.deepcopy(model.state_dict()), IMAGES.clone()
    random = torch.get_rng_state()
    first, again = activations(model, images), activations(model, images)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert [module.training for module in model.modules()] == flags
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(images, IMAGES)
    assert torch.equal(torch.get_rng_state(), random)
    first[0].add_(1)


def test_a_failing_forward_leaves_no_hooks_and_flags() -> None:
    model = network().train()
    with pytest.raises(RuntimeError):
        activations(model, torch.rand(3, 5))
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_network_that_is_none_or_has_diverged() -> None:
    with pytest.raises(ConfigError, match="has no Linear layer"):
        activations(nn.ReLU(), IMAGES)
    model = network()
    with torch.no_grad():
        model[3].weight.fill_(float("nan"))
    with pytest.raises(ConfigError, match="layer 2 are not finite"):
        activations(model, IMAGES)


def test_rows_of_classes_and_tasks() -> None:
    labels = torch.tensor([3, 1, 3, 0, 1, 3])
    assert {c: rows.tolist() for c, rows in rows_of_classes(labels).items()} == {0: [3], 1: [1, 4], 3: [0, 2, 5]}
    assert {c: rows.tolist() for c, rows in rows_of_classes(labels, 1).items()} == {0: [3], 1: [1], 3: [0]}
    assert [rows.tolist() for rows in rows_of_tasks(labels, ((0, 1), (2, 3)))] == [[1, 3, 4], [0, 2, 5]]
    assert evenly(torch.arange(10), 4).tolist() == [0, 2, 5, 7]


@pytest.mark.parametrize(
    ("tasks", "message"), [(((0, 1), (1, 3)), "class 1 is in several tasks"), (((0, 1), (7,)), "task 1 has no images")]
)
def test_tasks_that_cannot_be_told_apart(tasks: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rows_of_tasks(torch.tensor([0, 1, 3]), tasks)
