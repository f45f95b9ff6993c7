"""What images, shown to a network awake, feed its layers with."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from src_lab.evaluation import evaluating
from src_lab.sleep.layers import SleepingLayer

BATCH = 1000
"""Images per forward pass."""


def feeds_of(
    model: nn.Module, layers: Sequence[SleepingLayer], images: Tensor, *, with_outputs: bool = False
) -> Iterator[list[Tensor]]:
    """What every layer is fed by a batch of `images`, in evaluation mode, and at the end the outputs if wanted."""
    seen: list[Tensor] = []
    hooks = [layer.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for layer in layers]
    first = layers[0].weight()
    try:
        with evaluating(model), torch.inference_mode():
            for batch in torch.split(images, BATCH):
                seen.clear()
                outputs = model(batch.to(first.device, first.dtype))
                yield [*seen, outputs] if with_outputs else list(seen)
    finally:
        for hook in hooks:
            hook.remove()
