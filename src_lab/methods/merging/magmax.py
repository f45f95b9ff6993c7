"""MagMax: of all tasks' changes to a weight, keep the largest (Marczak et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, Stored
from src_lab.methods.merging.task_networks import Weights, weights_of
from src_lab.methods.merging.task_vectors import TaskVectorConfig, TaskVectors
from src_lab.settings import Range, setting
from src_lab.training import part


@dataclass(frozen=True)
class MagMaxConfig(TaskVectorConfig):
    scale: float = setting(0.4, within=Range(0, 100), source="lambda of Marczak et al. 2024; its value is ours")
    chain: bool = setting(True, source="Marczak et al. 2024: sequential fine-tuning")
    """Whether task k is trained from the network of task k-1, as the paper has it, or from theta_0 as in other merges."""


class MagMax(TaskVectors):
    """Maximum-magnitude selection (Marczak et al. 2024, arXiv 2407.06322).

        tau = tau_j with j = argmax_k |tau_k|, weight by weight;    theta = theta_0 + scale * tau

    with tau_k = theta_k - theta_0 also where theta_k was trained from theta_{k-1} (`chain`). Carries the largest change so
    far and, for the chain, the network trained last. A sleep is carried on by neither: the chain is trained on as it was
    left by training, and the next merge is made from what is carried.
    """

    config = MagMaxConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        assert isinstance(config, MagMaxConfig)
        super().__init__(context, config)
        self._chain = context.new_trainer(context.new_network()) if config.chain else None

    @property
    def label(self) -> str:
        return "MagMax (independent)" if self._chain is None else "MagMax"

    def state(self) -> dict[str, Tensor]:
        chain = {} if self._chain is None else self._chain.state()
        return super().state() | {f"chain.{name}": tensor for name, tensor in chain.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        if self._chain is not None:
            self._chain.load_state(part(state, "chain."))

    def stored(self) -> Stored:
        stored = super().stored()
        if self._chain is None or not self.met:
            return stored
        size = sum(weight.numel() for weight in weights_of(self._chain.model).values())
        return replace(stored, floats=stored.floats + size, models=stored.models + 1)

    def _train(self, task: Task) -> nn.Sequential:
        if self._chain is None:
            return super()._train(task)
        self._chain.fit(task.train, task.index)
        assert isinstance(self._chain.model, nn.Sequential)
        return self._chain.model

    def _take_in_vector(self, task: Task, vector: Weights) -> None:  # noqa: ARG002
        largest = self.carried.get("largest", vector)
        self.carried["largest"] = {
            name: torch.where(change.abs() > largest[name].abs(), change, largest[name]) for name, change in vector.items()
        }

    def _merge_vectors(self) -> Weights:
        return self.carried["largest"]
