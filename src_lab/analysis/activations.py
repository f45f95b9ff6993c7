"""What each layer of a network answers to images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from src_lab.evaluation import BATCH, evaluating
from src_lab.settings import ConfigError
from src_lab.sleep.chain import WEIGHTS


def activations(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Activations of every layer on `images` (n, ...): L tensors (n, n_l), float32, on the CPU, in evaluation mode.

    The activation of layer l < L is what the layer of weights l+1 receives (after the ReLU, and a pooling), that of layer
    L the network's raw output. Any chain of layers of weights will do, with biases too; the network is left as it was and
    nothing is drawn. A network of 784-4000-4000-10 needs 320 MB per 10,000 images.

    Raises ConfigError for a network without a layer of weights and when an activation is not finite.
    """
    layers = [module for module in network.modules() if isinstance(module, WEIGHTS)]
    if not layers:
        raise ConfigError(f"{type(network).__name__} has no Linear layer: there are no activations to look at")
    like = next(network.parameters())
    kept: list[Tensor] = []
    with evaluating(network), _received(layers) as received, torch.inference_mode():
        for start, batch in _batches(images):
            received.clear()
            outputs = network(batch.to(like.device, like.dtype))
            states = [state.flatten(1) for state in (*received[1:], outputs)]
            if not start:
                with torch.inference_mode(mode=False):  # else the results could never be changed in place
                    kept = [torch.empty(len(images), state.shape[1]) for state in states]
            for whole, part in zip(kept, states, strict=True):
                whole[start : start + len(batch)] = part
    _check_finite(kept)
    return kept


def check_activations(acts: Sequence[Tensor], labels: Tensor) -> None:
    """Raise ConfigError unless every layer has one row per label, all finite."""
    if labels.ndim != 1 or labels.is_floating_point():
        raise ConfigError(f"labels is {labels.dtype} of shape {tuple(labels.shape)}: give whole numbers of shape (n,)")
    for layer, states in enumerate(acts, start=1):
        if states.ndim != 2 or len(states) != len(labels):
            raise ConfigError(
                f"activations of layer {layer} have shape {tuple(states.shape)}: give ({len(labels)}, units), a row each"
            )
    _check_finite(acts)


def check_same_layers(before: Sequence[Tensor], after: Sequence[Tensor], what: str) -> None:
    """Raise ConfigError unless `before` and `after` have the same shapes layer by layer; `what` names them."""
    shapes = [[tuple(part.shape) for part in parts] for parts in (before, after)]
    if shapes[0] != shapes[1]:
        raise ConfigError(f"{what} have shapes {shapes[0]} before and {shapes[1]} after: give those of one network")


def _check_finite(acts: Sequence[Tensor]) -> None:
    for layer, states in enumerate(acts, start=1):
        if not torch.isfinite(states.sum()):  # much faster than asking every number
            raise ConfigError(f"activations of layer {layer} are not finite: look at an earlier stage of this network")


def _batches(images: Tensor) -> Iterator[tuple[int, Tensor]]:
    return zip(range(0, len(images) or 1, BATCH), torch.split(images, BATCH), strict=True)


@contextmanager
def _received(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that takes the inputs of the layers of weights in the order of the forward."""
    inputs: list[Tensor] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0])

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
