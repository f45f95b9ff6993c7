"""A-GEM: no step may, to first order, raise the loss on the memory (Chaudhry et al. 2019)."""

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.memory.base import Budgeted
from src_lab.methods.memory.exemplars import Draws
from src_lab.training import LOSSES, PLAIN, Extra


class AveragedGem(Budgeted):
    """Averaged gradient episodic memory (arXiv 1812.00420): where the gradient conflicts with the memory's, it is projected.

        g <- g - (g.r / r.r) r   if g.r < 0,   r = gradient of the loss on a minibatch of the memory

    r is of as many images as the step's minibatch, drawn afresh at each step. With momentum the step goes along an average
    of projected gradients. A sleep changes the network that goes on learning, and no image.
    """

    @property
    def label(self) -> str:
        return "A-GEM (herding)" if self._herds else "A-GEM"

    def learn(self, task: Task) -> None:
        extra = _Projection(self.network, self._context.train.loss, self._draws(task)) if len(self._memory) else PLAIN
        self._trainer.fit(task.train, task.index, extra=extra)
        self._remember(task)


class _Projection(Extra):
    def __init__(self, network: nn.Module, loss: str, draws: Draws) -> None:
        self._network = network
        self._loss = LOSSES[loss]
        self._draws = draws
        self._count = 0

    def batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._count = len(labels)
        return images, labels

    def before_update(self) -> None:
        images, labels = self._draws(self._count)
        parameters = list(self._network.parameters())
        references = torch.autograd.grad(self._loss(self._network(images), labels), parameters)
        project([parameter.grad for parameter in parameters if parameter.grad is not None], references)


def project(gradients: list[Tensor], references: tuple[Tensor, ...]) -> None:
    """Take from `gradients`, in place, their part against `references`, if they conflict: all tensors as one vector."""
    along = sum(torch.dot(g.flatten(), r.flatten()) for g, r in zip(gradients, references, strict=True))
    if along < 0:
        square = sum(r.square().sum() for r in references)
        for gradient, reference in zip(gradients, references, strict=True):
            gradient.sub_(reference * (along / square))
