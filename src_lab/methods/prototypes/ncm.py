"""Nearest class mean: an image is of the class whose mean is nearest."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from src_lab.methods.prototypes.prototypes import PrototypeConfig, Prototypes
from src_lab.settings import setting


@dataclass(frozen=True)
class NcmConfig(PrototypeConfig):
    features: Literal["input", "first_task"] = setting("input", source="ours, by validation accuracy on MNIST")


class Ncm(Prototypes):
    """Nearest class mean (Mensink et al. 2013, doi 10.1109/TPAMI.2013.83).

        argmin_c || z - mu_c ||^2 = argmax_c  mu_c . z - 1/2 || mu_c ||^2

    with mu_c the mean of the features z of all images of class c so far. Stores the means and numbers of images.
    """

    config = NcmConfig

    @property
    def label(self) -> str:
        return "NCM" if self._learns else "NCM (inputs)"

    def _read_out(self) -> tuple[Tensor, Tensor]:
        means = self.statistics["means"]
        return means, -means.square().sum(dim=1) / 2
