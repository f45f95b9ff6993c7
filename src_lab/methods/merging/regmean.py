"""RegMean: the layers that answer, in the sense of least squares, as each task's own layers do (Jin et al. 2023)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, require_dense
from src_lab.methods.merging.task_networks import TaskNetworks, Weights, weights_of
from src_lab.models import ModelConfig
from src_lab.settings import UNIT_INTERVAL, setting

BATCH = 1000
"""Images per forward pass."""
RIDGE = 1e-6
"""Share of the mean squared input that is added to each, for inputs that were never active: they get the mean."""


@dataclass(frozen=True)
class RegMeanConfig(MethodConfig):
    off_diagonal: float = setting(0.9, within=UNIT_INTERVAL, source="alpha of Jin et al. 2023: 0.9 for most models")
    """Factor of the Gram matrices' off-diagonal entries: 1 is plain least squares, 0 weighs by squared inputs alone."""


class RegMean(TaskNetworks):
    """Regression mean, in closed form for each Linear layer (Jin et al. 2023, arXiv 2212.09849).

        W = (sum_k W_k G_k) (sum_k G_k)^-1,    G_k = X_k^T X_k, its off-diagonal entries times `off_diagonal`

    the minimum of sum_k || X_k W^T - X_k W_k^T ||^2 (where off_diagonal = 1), X_k (n, n_in) being the inputs of the layer in
    network k on its own training images. Biases are averaged. Carries both sums, the second being (n_in, n_in) for each
    layer. A sleep is not carried on: the next merge is made from these.
    """

    config = RegMeanConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, RegMeanConfig)
        super().__init__(context, config)
        self._off_diagonal = config.off_diagonal

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_dense(config, model)

    @property
    def label(self) -> str:
        return "RegMean"

    def _take_in(self, task: Task, expert: nn.Sequential, initial: Weights) -> None:  # noqa: ARG002
        grams = {name: shrink(gram, self._off_diagonal) for name, gram in input_grams(expert, task.train.images).items()}
        self._add("gram", grams)
        weights = weights_of(expert)
        self._add("sum", {name: weight @ grams[name] if name in grams else weight for name, weight in weights.items()})

    def _merge(self, initial: Weights) -> Weights:  # noqa: ARG002
        grams = self.carried["gram"]
        return {
            name: solve(total, grams[name]) if name in grams else total / self.met
            for name, total in self.carried["sum"].items()
        }


def input_grams(network: nn.Sequential, images: Tensor) -> Weights:
    """X^T X (n_in, n_in) of the inputs of every Linear layer on `images`, by the name of the layer's weights."""
    device = next(network.parameters()).device
    grams: Weights = {}
    for batch in torch.split(images, BATCH):
        states = batch.to(device)
        for name, module in network.named_children():
            if isinstance(module, nn.Linear):
                gram = states.T @ states
                grams[f"{name}.weight"] = gram.add_(grams.get(f"{name}.weight", 0))
            states = module(states)
    return grams


def shrink(gram: Tensor, off_diagonal: float) -> Tensor:
    """`gram` with its off-diagonal entries times `off_diagonal`, and a ridge that keeps it regular."""
    diagonal = gram.diagonal()
    return off_diagonal * gram + torch.diag((1 - off_diagonal) * diagonal + RIDGE * diagonal.mean())


def solve(total: Tensor, gram: Tensor) -> Tensor:
    """W (n_out, n_in) with W gram = total, in float64: a Gram matrix squares whatever the inputs' spread is."""
    return torch.cholesky_solve(total.double().T, torch.linalg.cholesky(gram.double())).T.to(total.dtype)
