"""The factor f(w) that scales every weight change of sleep; the published programs differ in it.

W[i, j] += inc * f(W[i, j])   where unit i spiked and its presynaptic unit j spiked
W[i, j] -= dec * f(W[i, j])   where unit i spiked and its presynaptic unit j did not
"""

from collections.abc import Callable

import torch
from torch import Tensor

TADROS_WIDTH = 0.001
"""Width of the `tadros` step in units of weight (MATLAB program of Tadros et al. 2022)."""


def tadros(w: Tensor) -> Tensor:
    """f(w) = 2 (1 - 1 / (1 + exp(-w / 0.001))): 2 below -0.02, 1 at 0, 0 above 0.02, so positive weights are frozen.

    Computed in exactly this form, whose rounding the original shares: exactly 0 above about 0.037 in float64.
    """
    return 2 * (1 - 1 / (1 + torch.exp(-w / TADROS_WIDTH)))


def sigmoid(w: Tensor) -> Tensor:
    """f(w) = 1 / (1 + exp(-w)): about 1/2 for the small weights of a trained network (Python program)."""
    return torch.sigmoid(w)


def proportional(w: Tensor) -> Tensor:
    """f(w) = w: changes in proportion to the weight, as the equation in the Python program's README has it."""
    return w


RULES: dict[str, Callable[[Tensor], Tensor]] = {"tadros": tadros, "sigmoid": sigmoid, "proportional": proportional}
