"""The diagonal Fisher against one gradient after another, image by image."""

import pytest
import torch
from torch import Tensor, nn

from src_lab.methods.fisher import diagonal_fisher
from src_lab.models import ModelConfig, build_model
from src_lab.settings import ConfigError
from src_lab.training import LOSSES

IMAGES = torch.rand(23, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(5, (23,), generator=torch.Generator().manual_seed(1))


def make_network(
    output: str = "linear", bias: bool = True, scaling: str = "train", rank: int | None = None
) -> nn.Sequential:
    model = ModelConfig(
        name="toy", widths=[9, 7], bias=bias, dropout=0.25, dropout_scaling=scaling, output=output, init_range=0.8, rank=rank
    )  # fmt: skip
    return build_model(model, 12, 5, 0)


def image_by_image(network: nn.Module, labels: Tensor, loss: str) -> dict[str, Tensor]:
    network.eval()
    total = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    for image, label in zip(IMAGES, labels, strict=True):
        network.zero_grad()
        LOSSES[loss](network(image[None]), label[None]).backward()
        for name, parameter in network.named_parameters():
            total[name] += parameter.grad.square() / len(IMAGES)
    return total


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("batch_size", [5, 23, 1000])
@pytest.mark.parametrize(("output", "bias", "scaling"), [("linear", True, "train"), ("relu", False, "test")])
def test_true_labels_give_the_mean_of_squared_gradients_of_single_images(loss, batch_size, output, bias, scaling) -> None:
    network = make_network(output, bias, scaling)
    found = diagonal_fisher(network, IMAGES, LABELS, loss=loss, batch_size=batch_size)
    wanted = image_by_image(network, LABELS, loss)
    assert found.keys() == wanted.keys()
    for name, fisher in found.items():
        torch.testing.assert_close(fisher, wanted[name])


def test_drawn_labels_average_to_the_expectation_over_the_networks_own_answers() -> None:
    network = make_network()
    network.eval()
    likely = network(IMAGES).softmax(dim=1).detach()
    expected = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    for label in range(5):
        network.zero_grad()
        for image, chance in zip(IMAGES, likely[:, label], strict=True):
            network.zero_grad()
            nn.functional.cross_entropy(network(image[None]), torch.tensor([label])).backward()
            for name, parameter in network.named_parameters():
                expected[name] += chance * parameter.grad.square() / len(IMAGES)
    many = IMAGES.repeat(4000, 1)
    found = diagonal_fisher(network, many, generator=torch.Generator().manual_seed(0), batch_size=10_000)
    for name, fisher in found.items():
        torch.testing.assert_close(fisher, expected[name], rtol=0.05, atol=0.002 * float(expected[name].max()))


def test_drawn_targets_of_squared_errors_have_unit_variance() -> None:
    """A network of one layer: the gradient of W_ij is e_i x_j with e ~ N(0, 1), so F_ij = mean x_j^2 whatever W."""
    network = nn.Sequential(nn.Linear(12, 5))
    many = IMAGES.repeat(4000, 1)
    found = diagonal_fisher(network, many, loss="half_squared_error", generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found["0.weight"], IMAGES.square().mean(dim=0).expand(5, -1), rtol=0.04, atol=0)
    torch.testing.assert_close(found["0.bias"], torch.ones(5), rtol=0.04, atol=0)


def test_the_network_and_the_global_random_state_are_left_as_they_were() -> None:
    network = make_network().train()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    diagonal_fisher(network, IMAGES, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_generators_draw_equal_labels_whatever_the_batches() -> None:
    network = make_network()
    first = diagonal_fisher(network, IMAGES, generator=torch.Generator().manual_seed(3), batch_size=1000)
    second = diagonal_fisher(network, IMAGES, generator=torch.Generator().manual_seed(3), batch_size=1000)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_low_rank_network_and_missing_generator_are_refused() -> None:
    with pytest.raises(ConfigError, match="model=mlp"):
        diagonal_fisher(make_network(rank=2), IMAGES, LABELS)
    with pytest.raises(ValueError, match="generator"):
        diagonal_fisher(make_network(), IMAGES)
