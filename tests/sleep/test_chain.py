"""Which PyTorch modules can sleep, in which order their layers are found, and what is refused by name."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from src_lab.models import LowRankLinear, ModelConfig, StraightThroughReLU, build_model
from src_lab.settings import ConfigError
from src_lab.sleep.chain import find_layers


def linear(n_in: int, n_out: int, **options: Any) -> nn.Linear:
    return nn.Linear(n_in, n_out, bias=False, **options)


def mlp(rank: int | None = None, output: Any = "linear", dropout_scaling: Any = "train", **options: Any) -> nn.Module:
    names = {"name": "test", "widths": [8, 6], "bias": False, "dropout": 0.25, "init_range": None} | options
    config = ModelConfig(rank=rank, output=output, dropout_scaling=dropout_scaling, **names)
    return build_model(config, 12, 4, seed=0)


class TwoLayers(nn.Module):
    """Registers its layers in the reverse of the order in which they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.second = linear(8, 4)
        self.first = linear(12, 8)


class Functional(TwoLayers):
    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(torch.flatten(x, 1)))
        return self.second(functional.dropout(x, 0.25, training=self.training))


class Methods(TwoLayers):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.flatten(1)).relu_())


class ViewBySize(TwoLayers):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x.view(x.size(0), -1))))


class ReshapeByShape(TwoLayers):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x.reshape(x.shape[0], -1))))


class Nested(nn.Module):
    """Layers in Sequentials in modules, with a list between."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear(6, 4)
        self.blocks = nn.ModuleList([self.block(12, 8), self.block(8, 6)])

    def block(self, n_in: int, n_out: int) -> nn.Sequential:
        return nn.Sequential(nn.Sequential(linear(n_in, n_out), nn.ReLU(inplace=True)), nn.Dropout(0.5), nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (linear(12, 4), ["0"]),
        (nn.Sequential(linear(12, 4)), ["0"]),
        (nn.Sequential(nn.ReLU(), linear(12, 8), nn.Identity(), nn.ReLU(), linear(8, 4), nn.ReLU()), ["1", "4"]),
        (nn.Sequential(linear(12, 8, dtype=torch.float64), nn.ReLU(), linear(8, 4, dtype=torch.float64)), ["0", "2"]),
        (nn.Sequential(linear(12, 8), StraightThroughReLU(), LowRankLinear(8, 4, 2, bias=False)), ["0", "2"]),
        (nn.Sequential(linear(12, 8), nn.ReLU(), nn.ReLU(), linear(8, 4)), ["0", "3"]),
        (LowRankLinear(12, 4, 2, bias=False), ["0"]),
        (Functional(), ["first", "second"]),
        (Methods(), ["first", "second"]),
        (ViewBySize(), ["first", "second"]),
        (ReshapeByShape(), ["first", "second"]),
        (Nested(), ["blocks.0.0.0", "blocks.1.0.0", "head"]),
        (mlp(), ["1", "4", "7"]),
        (mlp(rank=3), ["1", "4", "7"]),
        (mlp(output="relu", dropout_scaling="test", init_range=0.01), ["1", "4", "7"]),
        (mlp(widths=[], dropout=0.0), ["1"]),
        (mlp(bias=True), ["1", "4", "7"]),
        (nn.Linear(12, 4), ["0"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
@pytest.mark.parametrize("training", [True, False])
def test_layers_are_found_in_the_order_of_the_forward(model: nn.Module, names: list[str], training: bool) -> None:
    flags = [module.training for module in model.train(training).modules()]
    layers = find_layers(model)
    assert [layer.name for layer in layers] == names
    sizes = [layer.shape for layer in layers]
    assert sizes[0][1] == 12
    assert sizes[-1][0] == 4
    assert [tuple(layer.weight().shape) for layer in layers] == sizes
    assert [module.training for module in model.modules()] == flags


def test_the_weights_found_compute_the_models_function() -> None:
    """A dense, a nested and a low-rank model, against their matrices multiplied by hand."""
    x = torch.rand(5, 12, generator=torch.Generator().manual_seed(0))
    for model in (mlp(), Nested(), mlp(rank=3), ViewBySize(), mlp(bias=True), mlp(bias=True, rank=3)):
        by_hand = x
        for index, layer in enumerate(find_layers(model)):
            by_hand = (by_hand.relu() if index else by_hand) @ layer.weight().T
            bias = layer.bias()
            by_hand = by_hand if bias is None else by_hand + bias
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(x), by_hand)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = linear(12, 12), linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        return self.second(x) + x


class TwoHeads(Residual):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.first(x))
        return self.second(x), self.first(x)


class Twice(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(functional.relu(self.first(x)))


class DataDependent(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) if x.sum() > 0 else self.second(x)


class Scaled(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.first(x)) * 0.5)


class Tanh(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class TwoInputs(Residual):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.first(x + y)


class BareParameter(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(functional.relu(self.first(x)), self.second.weight)


class Sliced(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.first(x[:, :12])


def tied() -> nn.Sequential:
    model = nn.Sequential(linear(12, 12), nn.ReLU(), linear(12, 12))
    model[2].weight = model[0].weight
    return model


def pruned() -> nn.Sequential:
    model = nn.Sequential(linear(12, 4))
    prune.random_unstructured(model[0], "weight", amount=0.5)
    return model


def pruned_bias() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(12, 4))
    prune.random_unstructured(model[0], "bias", amount=0.5)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), linear(12, 4)), "module 0 is a Conv1d"),
        (nn.Sequential(linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), linear(8, 4)), "module 1 is a BatchNorm1d"),
        (nn.Sequential(linear(12, 8), nn.LeakyReLU(), linear(8, 4)), "module 1 is a LeakyReLU"),
        (nn.Sequential(linear(12, 4), nn.Softmax(1)), "module 1 is a Softmax"),
        (nn.Sequential(linear(12, 8), linear(8, 4)), "layers 0 and 1 have no ReLU between them"),
        (nn.Sequential(linear(12, 8), nn.Dropout(), linear(8, 4)), "layers 0 and 2 have no ReLU between them"),
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "Sequential has no Linear layer"),
        (nn.Sequential(linear(12, 4, dtype=torch.float16)), "layer 0 is torch.float16"),
        (nn.Sequential(linear(12, 4, dtype=torch.bfloat16)), "layer 0 is torch.bfloat16"),
        (
            nn.Sequential(linear(12, 8), nn.ReLU(), linear(8, 4, dtype=torch.float64)),
            "layer 2 is torch.float64 but 0 is torch.float32",
        ),
        (nn.Sequential(linear(12, 8), nn.ReLU(), linear(4, 4)), "layer 2 has 4 inputs but 0 has 8 outputs"),
        (Twice(), "the weights of layer first are used twice"),
        (tied(), "the weights of layer 2 are used twice"),
        (pruned(), "layer 0 computes its weight"),
        (nn.Sequential(parametrizations.weight_norm(linear(12, 4))), "layer 0 computes its weight"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)), "layer 0 is a Conv2d with groups=2 and padding_mode=zeros"),
        (nn.Sequential(nn.Conv2d(1, 2, 3, padding_mode="circular")), "layer 0 is a Conv2d with groups=1"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), nn.ReLU()), "pooling 1 comes before the ReLU of layer 0"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2)), "a pooling follows the last layer of weights, 0"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)), "module 2 is a MaxPool2d"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2)), "batch normalisation 2 does not follow a Conv2d"),
        (nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3)), "batch normalisation 0 does not follow a Conv2d"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False)),
            "batch normalisation 1 cannot be folded",
        ),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(3, 2, 3)), "layer 2 has 3 inputs but 0 has 2 outputs"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), linear(9, 2)), "layer 3 has 9 inputs but 0 has 2"),
        (pruned_bias(), "layer 0 computes its bias"),
        (Residual(), "the forward of Residual branches at"),
        (TwoHeads(), "the forward of TwoHeads branches at"),
        (Sliced(), "the forward of Sliced branches at"),
        (BareParameter(), "the forward of BareParameter branches at"),
        (DataDependent(), "the forward of DataDependent cannot be read"),
        (TwoInputs(), "the forward of TwoInputs takes 2 inputs"),
        (Scaled(), "the model's forward calls mul"),
        (Tanh(), "the model's forward calls tanh"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_anything_else_is_refused_by_name_in_one_line(model: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_layers(model)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layer", [nn.Linear(5, 3), LowRankLinear(5, 3, 2, bias=True)], ids=["dense", "low-rank"])
def test_biases_are_copies_too_and_stay_unless_given(layer: nn.Linear | LowRankLinear) -> None:
    (found,) = find_layers(nn.Sequential(layer))
    weight, bias = found.weight(), found.bias()
    assert bias is not None
    found.write(weight)
    assert torch.equal(layer.bias, bias)
    found.write(weight, bias + 1)
    assert torch.equal(layer.bias, bias + 1)
    assert isinstance(layer.bias, nn.Parameter)


@pytest.mark.parametrize("layer", [linear(5, 3), LowRankLinear(5, 3, 2, bias=False)], ids=["dense", "low-rank"])
def test_a_layer_hands_out_a_copy_and_takes_new_weights_in_place(layer: nn.Module) -> None:
    (found,) = find_layers(nn.Sequential(layer))
    parameters = {id(parameter) for parameter in layer.parameters()}
    before = found.weight()
    found.weight().zero_()
    assert torch.equal(found.weight(), before)
    assert found.weight().is_contiguous()
    assert not found.weight().requires_grad
    found.write(before + 1)
    torch.testing.assert_close(found.weight(), before + 1)
    assert {id(parameter) for parameter in layer.parameters()} == parameters
    x = torch.rand(4, 5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), x @ (before + 1).T)


def test_a_low_rank_layer_says_that_it_sleeps_on_its_product(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="src_lab.sleep"):
        find_layers(mlp(rank=3))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"layer {name} is low-rank" for name in (1, 4, 7)
    ]
