"""The penalty that EWC, online EWC and SI share: a spring on every weight, as stiff as the weight is important."""

from collections.abc import Mapping

from torch import Tensor, nn

from src_lab.training import Extra, TrainConfig, part


class QuadraticPenalty(Extra):
    """Adds strength/2 sum_i importance_i (theta_i - anchor_i)^2 to what training goes down on.

    Its step is implicit: after each step on the loss theta <- (theta + a anchor) / (1 + a), with a = strength importance
    learning_rate / (1 - momentum). Training comes to rest where it does with the gradient of the sum, dL/dtheta + strength
    importance (theta - anchor) = 0, but no strength makes it diverge, as learning_rate strength importance > 2 would.

    importance, anchor   by parameter name; a parameter that neither names is free
    step                 learning_rate / (1 - momentum), what `step_size` gives
    """

    def __init__(
        self,
        network: nn.Module,
        importance: Mapping[str, Tensor],
        anchor: Mapping[str, Tensor],
        strength: float,
        step: float,
    ) -> None:
        stiffness = {name: strength * step * tensor for name, tensor in importance.items()}
        pulls = {name: a / (1 + a) for name, a in stiffness.items()}
        self._springs = [(p, anchor[name], pulls[name]) for name, p in network.named_parameters() if name in pulls]

    def after_update(self) -> None:
        for parameter, anchor, pull in self._springs:
            parameter.detach().lerp_(anchor, pull)


def step_size(train: TrainConfig, task: int) -> float:
    """How far one step moves a weight along a gradient that stays the same, per unit of it, once momentum has settled."""
    return train.pace(task).learning_rate / (1 - train.momentum)


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter, by name."""
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under longer names, as a checkpoint holds them."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def restored(state: Mapping[str, Tensor], prefix: str, network: nn.Module) -> dict[str, Tensor]:
    """What `prefixed` put into `state`, on the device of `network`."""
    device = next(network.parameters()).device
    return {name: tensor.to(device, copy=True) for name, tensor in part(state, prefix).items()}
