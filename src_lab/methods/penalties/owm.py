"""Orthogonal weights modification: a layer changes only where its old inputs do not notice."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, Stored, require_dense
from src_lab.methods.penalties.quadratic import prefixed, restored
from src_lab.methods.sequential import Sequential
from src_lab.models import ModelConfig
from src_lab.settings import Range, setting
from src_lab.training import PLAIN, Extra

BLOCK = 500
"""Inputs that one update of a projector takes in: the larger, the fewer passes over it, and the larger the system solved."""


@dataclass(frozen=True)
class OWMConfig(MethodConfig):
    alpha: float = setting(1.0, within=Range(1e-6), source="alpha of Zeng et al. 2019")
    """How large the old inputs must be along a direction to close it: the smaller, the more is protected."""
    images_per_mean: int = setting(10, within=Range(1), unit="images", source="Zeng et al. 2019: a batch")
    """Images whose mean input is one input of the projectors; 1 takes in every image."""


class OWM(Sequential):
    """The gradient of each layer is multiplied by a projector (Zeng et al. 2019, doi 10.1038/s42256-019-0080-x)

        dW <- dW P,    P = (I + 1/alpha sum_n x_n x_n^T)^-1

    with x_n, of shape (n_in,), what the layer was fed in the tasks before: dW x is small for x among them. P follows from
    P = I by the recursion of least squares, for one x after another

        P <- P - k k^T / (alpha + x^T k),    k = P x

    which is done here for blocks of inputs at a time, the same in exact arithmetic. As in the paper's algorithm P changes
    when a task is learned, by the mean inputs of its batches under the weights of that moment, without dropout; the
    authors' program does it at every training step. The bias counts as the weight of one more input that is always 1.

    Stores one (n_in, n_in) matrix a layer. A sleep changes the weights and with them what deeper layers are fed: the
    projectors go on protecting the inputs of before it.
    """

    config = OWMConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, OWMConfig)
        super().__init__(context, config)
        self._settings = config
        self._projectors: dict[str, Tensor] = {}

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_dense(config, model)

    @property
    def label(self) -> str:
        return "OWM"

    def learn(self, task: Task) -> None:
        if self._projectors:
            with projecting(self.network, self._projectors) as extra:
                self._trainer.fit(task.train, task.index, extra=extra)
        else:
            self._trainer.fit(task.train, task.index, extra=PLAIN)
        self._close(task.train.images)

    def state(self) -> dict[str, Tensor]:
        return super().state() | prefixed("projector.", self._projectors)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._projectors = restored(state, "projector.", self.network)

    def stored(self) -> Stored:
        return Stored(floats=sum(projector.numel() for projector in self._projectors.values()))

    @torch.no_grad()
    def _close(self, images: Tensor) -> None:
        """Close the directions of each layer's inputs for these images."""
        size = self._settings.images_per_mean
        x = images.to(next(self.network.parameters()).device)
        for name, module in self.network.named_children():
            if isinstance(module, nn.Linear):
                inputs = _with_ones(module, torch.stack([batch.mean(dim=0) for batch in torch.split(x, size)]))
                projector = self._projectors.get(name)
                if projector is None:
                    projector = torch.eye(inputs.shape[1], dtype=torch.float64, device=x.device)
                self._projectors[name] = recursive_least_squares(projector, inputs, self._settings.alpha)
            x = module(x)


def recursive_least_squares(projector: Tensor, inputs: Tensor, alpha: float) -> Tensor:
    """The projector (d, d) after all `inputs` (n, d), one by one: P - P X^T (alpha I + X P X^T)^-1 X P (Woodbury).

    In the projector's dtype: in float32 X P X^T may lose to rounding what alpha must keep positive.
    """
    for block in torch.split(inputs.to(projector.dtype), BLOCK):
        seen = block @ projector
        system = seen @ block.T
        system.diagonal().add_(alpha)
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(system), seen, upper=False)
        projector = projector - half.T @ half
    return projector


class Projecting(Extra):
    """Replaces each layer's gradient dW by dW P.

    A batch's gradient is sum_n d_n x_n^T over its images, so that dW P = sum_n d_n (P x_n)^T: projecting the n inputs of
    the batch instead of the n_out rows of the gradient is less work by far.
    """

    def __init__(self, projectors: Mapping[nn.Linear, Tensor]) -> None:
        self._projectors = projectors
        self._fed: dict[nn.Module, Tensor] = {}
        self._answers: dict[nn.Module, Tensor] = {}

    def note(self, layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        """As a forward hook: keep what the layer was fed, and have the gradient of its answer kept."""
        answer.retain_grad()
        self._fed[layer], self._answers[layer] = given[0].detach(), answer

    def before_update(self) -> None:
        for layer, projector in self._projectors.items():
            gradient = self._answers[layer].grad
            assert gradient is not None
            assert layer.weight.grad is not None
            projected = gradient.T @ (_with_ones(layer, self._fed[layer]) @ projector)
            layer.weight.grad.copy_(projected[:, : layer.in_features])
            if layer.bias is not None:
                layer.bias.grad = projected[:, -1].clone()


@contextmanager
def projecting(network: nn.Module, projectors: Mapping[str, Tensor]) -> Iterator[Projecting]:
    """Watches the Linear layers of `network` and gives what projects their gradients; `projectors` are by layer name."""
    layers = {
        layer: projectors[name].to(layer.weight.dtype)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    }
    extra = Projecting(layers)
    handles = [layer.register_forward_hook(extra.note) for layer in layers]
    try:
        yield extra
    finally:
        for handle in handles:
            handle.remove()


def _with_ones(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """The inputs (n, n_in), and 1 as the input of the bias where the layer has one."""
    return inputs if layer.bias is None else nn.functional.pad(inputs, (0, 1), value=1.0)
