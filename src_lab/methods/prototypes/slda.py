"""Streaming linear discriminant analysis: nearest class mean by the distance that the features' covariance gives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.prototypes.prototypes import PrototypeConfig, Prototypes, batch_means
from src_lab.settings import Range, setting


@dataclass(frozen=True)
class SldaConfig(PrototypeConfig):
    shrinkage: float = setting(1e-4, within=Range(0, 1, above=True), source="epsilon of Hayes & Kanan 2020")
    """Share of the identity in the covariance that is inverted."""


class Slda(Prototypes):
    """Streaming LDA (Hayes & Kanan 2020, arXiv 1909.01520).

        P = ((1 - shrinkage) S / n + shrinkage I)^-1
        argmax_c  mu_c^T P z - 1/2 mu_c^T P mu_c

    with mu_c the mean of the features z of class c so far, n the number of all images and S = sum (z - mu_y)(z - mu_y)^T.
    The paper updates mean and S with each image, around the mean as it was before; here S is kept exact (Chan et al. 1983,
    doi 10.1080/00031305.1983.10483115), so that neither the order of the images nor of the tasks matters. Stores means,
    numbers of images, and S.
    """

    config = SldaConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, SldaConfig)
        super().__init__(context, config)
        self._shrinkage = config.shrinkage
        width = self.statistics["means"].shape[1]
        self.statistics["scatter"] = torch.zeros(width, width, device=context.device)

    @property
    def label(self) -> str:
        return "SLDA" if self._learns else "SLDA (inputs)"

    def _take_in(self, features: Tensor, labels: Tensor) -> None:
        old, before = self.statistics["counts"], self.statistics["means"]
        new, means = batch_means(features, labels, len(old))
        centred = features - means[labels]
        moved = (means - before) * (old * new / (old + new).clamp(min=1)).sqrt().unsqueeze(1)
        self.statistics["scatter"] += centred.T @ centred + moved.T @ moved
        super()._take_in(features, labels)

    def _read_out(self) -> tuple[Tensor, Tensor]:
        scatter, means = self.statistics["scatter"].double(), self.statistics["means"].double()
        covariance = (1 - self._shrinkage) * scatter / self.statistics["counts"].sum()
        covariance.diagonal().add_(self._shrinkage)
        weights = torch.cholesky_solve(means.T, torch.linalg.cholesky(covariance)).T
        return weights, -(weights * means).sum(dim=1) / 2
