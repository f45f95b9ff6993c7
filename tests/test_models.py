"""The lab's networks: their layers, their initial weights, and the modules that PyTorch does not have."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from src_lab.models import LowRankLinear, ModelConfig, StraightThroughReLU, UnscaledDropout, build_model
from src_lab.rng import seed_for


def config(**changes: Any) -> ModelConfig:
    plain = {"name": "test", "widths": [8, 6], "bias": False, "dropout": 0.25, "dropout_scaling": "train"}
    return ModelConfig(**{**plain, "output": "linear", "init_range": None, "rank": None, **changes})


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, "Flatten Linear ReLU Dropout Linear ReLU Dropout Linear"),
        ({"dropout": 0.0}, "Flatten Linear ReLU Linear ReLU Linear"),
        ({"widths": []}, "Flatten Linear"),
        ({"widths": [], "output": "relu"}, "Flatten Linear StraightThroughReLU"),
        ({"widths": [5], "dropout_scaling": "test"}, "Flatten Linear ReLU UnscaledDropout Linear"),
        ({"widths": [5], "rank": 2}, "Flatten LowRankLinear ReLU Dropout LowRankLinear"),
    ],
)
def test_a_model_is_a_chain_of(changes: dict[str, Any], kinds: str) -> None:
    assert " ".join(type(layer).__name__ for layer in build_model(config(**changes), 12, 4, seed=0)) == kinds


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [None, 3])
def test_sizes_and_biases(rank: int | None, bias: bool) -> None:
    model = build_model(config(rank=rank, bias=bias), 12, 4, seed=0)
    shapes = [tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim == 2]
    assert shapes == ([(8, 12), (6, 8), (4, 6)] if rank is None else [(3, 12), (8, 3), (3, 8), (6, 3), (3, 6), (4, 3)])
    assert [len(p) for p in model.parameters() if p.ndim == 1] == ([8, 6, 4] if bias else [])
    assert model(torch.rand(5, 3, 4)).shape == (5, 4)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("rank", [None, 3])
class TestInitialWeights:
    def weights(self, rank: int | None, seed: int = 0, *purpose: str | int, **changes: Any) -> torch.Tensor:
        model = build_model(config(rank=rank, **changes), 12, 4, seed, *purpose)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    def test_depend_on_seed_and_purpose_alone(self, rank: int | None) -> None:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = self.weights(rank)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert torch.equal(self.weights(rank), first)
        assert torch.equal(self.weights(rank, dropout=0.0), first)
        for other in (self.weights(rank, 1), self.weights(rank, 0, "task", 1)):
            assert not torch.equal(other, first)

    def test_fill_the_range_asked_for(self, rank: int | None) -> None:
        weights = self.weights(rank, init_range=0.01, widths=[200, 100])
        assert 0.0099 < weights.abs().max() <= 0.01
        assert abs(weights.mean()) < 5 * 0.01 / (3 * len(weights)) ** 0.5

    def test_are_pytorchs_where_no_range_is_asked_for(self, rank: int | None) -> None:
        """Each matrix uniform within 1 / sqrt of its inputs, as `nn.Linear` draws it."""
        model = build_model(config(rank=rank and 50, widths=[300]), 200, 100, seed=0)
        for weight in model.parameters():
            bound = weight.shape[1] ** -0.5
            assert 0.97 * bound < weight.abs().max() <= bound
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_a_dense_model_starts_as_pytorchs_layers_do() -> None:
    """The same draws in the same order as plain `nn.Linear` layers under the same seed."""
    model = build_model(config(bias=True), 12, 4, 7, "task", 2)
    torch.manual_seed(seed_for(7, "init", "task", 2))
    plain = nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 6), nn.Linear(6, 4))
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)


class TestLowRankLinear:
    def layer(self, bias: bool = False) -> LowRankLinear:
        torch.manual_seed(0)
        return LowRankLinear(6, 5, 2, bias)

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("slept", [True, False])
    def test_computes_with_its_product(self, bias: bool, slept: bool) -> None:
        layer, x = self.layer(bias), torch.rand(7, 6)
        if slept:
            with torch.no_grad():
                layer.set_product(torch.rand(5, 6))
        shift = layer.bias if layer.bias is not None else 0
        torch.testing.assert_close(layer(x), x @ layer.product().T + shift)

    def test_its_product_has_its_rank(self) -> None:
        assert torch.linalg.matrix_rank(self.layer().product()) == 2

    def test_takes_any_product_and_keeps_its_factors(self) -> None:
        layer, weights = self.layer(), torch.rand(5, 6)
        factors = (layer.A.detach().clone(), layer.B.detach().clone())
        for wanted in (weights, weights * 2):
            with torch.no_grad():
                layer.set_product(wanted)
            torch.testing.assert_close(layer.product(), wanted)
        assert torch.equal(layer.A, factors[0])
        assert torch.equal(layer.B, factors[1])

    def test_its_factors_can_be_trained_after_sleep_and_its_offset_is_not(self) -> None:
        layer = self.layer()
        with torch.no_grad():
            layer.set_product(torch.rand(5, 6))
        layer(torch.rand(7, 6)).sum().backward()
        assert layer.A.grad is not None
        assert layer.B.grad is not None
        assert layer.offset is not None
        assert not layer.offset.requires_grad
        assert [name for name, _ in layer.named_parameters()] == ["B", "A"]

    def test_a_fresh_layer_loads_the_state_of_one_that_slept_and_of_one_that_did_not(self) -> None:
        slept, fresh = LowRankLinear(5, 4, 2, bias=False), LowRankLinear(5, 4, 2, bias=False)
        slept.set_product(torch.rand(4, 5))
        awake = copy.deepcopy(fresh)
        fresh.load_state_dict(slept.state_dict())
        assert torch.equal(fresh.product(), slept.product())
        fresh.load_state_dict(awake.state_dict())
        assert fresh.offset is None
        assert torch.equal(fresh.product(), awake.product())

    def test_its_offset_moves_with_it(self) -> None:
        layer = self.layer()
        with torch.no_grad():
            layer.set_product(torch.rand(5, 6))
        assert layer.double().product().dtype == torch.float64


class TestUnscaledDropout:
    def test_in_training_a_unit_is_kept_whole_or_lost(self) -> None:
        torch.manual_seed(0)
        x = torch.full((200, 500), 2.0)
        y = UnscaledDropout(0.25).train()(x)
        assert set(y.unique().tolist()) == {0.0, 2.0}
        assert abs((y == 0).double().mean() - 0.25) < 5 * (0.25 * 0.75 / x.numel()) ** 0.5

    def test_in_testing_every_unit_is_weakened(self) -> None:
        x = torch.rand(4, 5)
        assert torch.equal(UnscaledDropout(0.25).eval()(x), 0.75 * x)

    def test_a_lost_unit_has_no_gradient(self) -> None:
        torch.manual_seed(0)
        x = torch.ones(100, requires_grad=True)
        y = UnscaledDropout(0.5).train()(x)
        y.sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, y.detach())


def test_a_straight_through_relu_rectifies_forward_and_passes_gradients_unchanged() -> None:
    x = torch.tensor([-2.0, -1e-8, 0.0, 1e-8, 0.1, 3.0], requires_grad=True)
    y = StraightThroughReLU()(x)
    assert torch.equal(y, x.relu())
    (y * torch.arange(6)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
