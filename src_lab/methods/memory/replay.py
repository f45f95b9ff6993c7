"""Experience replay: old images in every step (Rolnick et al. 2019; Chaudhry et al. 2019)."""

import torch
from torch import Tensor

from src_lab.data import Task
from src_lab.methods.memory.base import Budgeted
from src_lab.methods.memory.exemplars import Draws
from src_lab.training import PLAIN, Extra


class Replay(Budgeted):
    """Each step's minibatch is joined by an equally large one from memory (arXiv 1811.11682, 1902.10486).

        L = ( mean_{new minibatch} l(x, y) + mean_{memory minibatch} l(x, y) ) / 2

    The papers fill the memory while they learn, from streams without boundaries; here, where tasks are known, it is filled
    after each. A sleep changes the network that goes on learning, and no image.
    """

    @property
    def label(self) -> str:
        return "Experience replay (herding)" if self._herds else "Experience replay"

    def learn(self, task: Task) -> None:
        self._trainer.fit(task.train, task.index, extra=_Joined(self._draws(task)) if len(self._memory) else PLAIN)
        self._remember(task)


class _Joined(Extra):
    def __init__(self, draws: Draws) -> None:
        self._draws = draws

    def batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        old_images, old_labels = self._draws(len(labels))
        return torch.cat([images, old_images]), torch.cat([labels, old_labels])
