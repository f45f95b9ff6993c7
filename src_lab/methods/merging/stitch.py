"""Head stitching: every class is answered by the output row of the network that learned it, on an averaged body."""

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import MethodConfig, require_dense
from src_lab.methods.merging.task_networks import TaskNetworks, Weights, weights_of
from src_lab.models import ModelConfig


class Stitch(TaskNetworks):
    """The mean of the task networks, with output rows from the networks that know their class (ours).

        theta_body = 1/k sum_i theta_i,    row c of the last layer = mean of the rows c of the networks whose task has c

    Rows of classes that no task had are averaged as the body is. Carries the sums of the networks and of the known rows.
    A sleep is not carried on: the next merge is made from these.
    """

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        require_dense(config, model)

    @property
    def label(self) -> str:
        return "Stitch"

    def _take_in(self, task: Task, expert: nn.Sequential, initial: Weights) -> None:  # noqa: ARG002
        head = [name for name, module in expert.named_children() if isinstance(module, nn.Linear)][-1]
        weights = weights_of(expert)
        self._add("sum", weights)
        known = torch.zeros(self._context.stream.num_classes, device=self._context.device)
        known[list(task.classes)] = 1
        rows = {name: weight for name, weight in weights.items() if name.startswith(f"{head}.")}
        self._add("rows", {name: _by_row(known, weight) * weight for name, weight in rows.items()})
        self._add("known", dict.fromkeys(rows, known))

    def _merge(self, initial: Weights) -> Weights:  # noqa: ARG002
        merged = {name: total / self.met for name, total in self.carried["sum"].items()}
        for name, rows in self.carried["rows"].items():
            known = _by_row(self.carried["known"][name], rows)
            merged[name] = torch.where(known > 0, rows / known.clamp(min=1), merged[name])
        return merged


def _by_row(numbers: Tensor, of: Tensor) -> Tensor:
    """One number a row, in a shape that goes with `of`."""
    return numbers.view(-1, *[1] * (of.ndim - 1))
