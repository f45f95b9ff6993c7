"""How much each weight matters for what a network has learned: the diagonal of its Fisher information."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from src_lab.evaluation import evaluating
from src_lab.settings import ConfigError

BATCH = 1000
"""Images per pass: 16 MB per layer of 4000 units."""


def diagonal_fisher(
    network: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    loss: Literal["cross_entropy", "half_squared_error"] = "cross_entropy",
    generator: torch.Generator | None = None,
    batch_size: int = BATCH,
) -> dict[str, Tensor]:
    """The mean over the images of each parameter's squared gradient of the log-likelihood, by the parameter's name.

        F_i = 1/N sum_n (d log p(y_n | x_n) / d theta_i)^2

    with y_n drawn from the network's own p(y | x_n), one draw an image (the Fisher information), or the true label (the
    "empirical" Fisher; Kunstner et al. 2019, arXiv 1905.12558, on the difference). The gradients are those of single
    images, exactly: of a Linear layer z = W a + b they are g a^T and g with g = dL/dz, so that
    sum_n (g_n a_n^T)^2 = (G o G)^T (A o A).

    network     a chain in which every parameter is a Linear layer's; evaluated without dropout and left as it was
    images      (N, features)
    labels      (N,) int64 for the empirical Fisher; None draws them, for which a CPU `generator` is needed
    loss        whose likelihood: softmax, or a Gaussian of unit variance round the outputs, as one-hot targets have it

    Returns tensors of the parameters' shapes, on their device. Raises ConfigError for a network with other parameters.
    """
    layers = _linear_layers(network)
    fisher = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    device = next(network.parameters()).device
    with evaluating(network), _watched(layers) as (inputs, outputs), torch.enable_grad():
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            answers = network(images[rows].to(device))
            nll = _summed_loss(answers, None if labels is None else labels[rows], loss, generator)
            gradients = torch.autograd.grad(nll, [outputs[name] for name in layers])
            for (name, layer), gradient in zip(layers.items(), gradients, strict=True):
                squares = gradient.square()
                fisher[_join(name, "weight")].addmm_(squares.T, inputs[name].square(), alpha=1 / len(images))
                if layer.bias is not None:
                    fisher[_join(name, "bias")].add_(squares.sum(dim=0), alpha=1 / len(images))
    return fisher


def _linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    covered = {_join(name, own) for name, layer in layers.items() for own, _ in layer.named_parameters()}
    for name, _ in network.named_parameters():
        if name not in covered:
            raise ConfigError(f"parameter {name} is not a Linear layer's, of which alone the Fisher is known: use model=mlp")
    return layers


def _summed_loss(outputs: Tensor, labels: Tensor | None, loss: str, generator: torch.Generator | None) -> Tensor:
    """-sum_n log p(y_n | x_n) up to a constant; the sum keeps each image's gradient its own."""
    if labels is None and generator is None:
        raise ValueError("labels are drawn by a generator: give one, or the true labels")
    given = outputs.detach().cpu()
    if loss == "cross_entropy":
        if labels is None:
            labels = torch.multinomial(given.softmax(dim=1), 1, generator=generator).squeeze(1)
        return nn.functional.cross_entropy(outputs, labels.to(outputs.device), reduction="sum")
    if labels is None:
        targets = given + torch.randn(given.shape, generator=generator, dtype=given.dtype)
    else:
        targets = nn.functional.one_hot(labels, outputs.shape[1]).to(given.dtype)
    return (outputs - targets.to(outputs.device)).square().sum() / 2


@contextmanager
def _watched(layers: dict[str, nn.Linear]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Two tables that each forward pass fills by layer: its inputs (n, n_in), detached, and its outputs (n, n_out)."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
            inputs[name], outputs[name] = given[0].detach(), answer

        return layer.register_forward_hook(note)

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        yield inputs, outputs
    finally:
        for handle in handles:
            handle.remove()


def _join(module: str, parameter: str) -> str:
    return f"{module}.{parameter}" if module else parameter
