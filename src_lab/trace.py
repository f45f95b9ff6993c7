"""Watches a network while it sleeps: accuracy, spikes and weight change against sleep steps, and the best moment."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.evaluation import Adjust, evaluate, overall
from src_lab.sleep import SleepState, load_weights


@dataclass
class SleepTrace:
    """The rows of `sleep_trace.csv`, one per recorded step of every sleep of a run. Test accuracy is recorded, never used.

    Columns: trained_task, sleep_step, Task 0 .., Task All (test accuracy in [0, 1]), validation, and per layer l (1 is the
    first): spikes_l since sleep began, grown_l and shrunk_l, the norms of `SleepState.change_norms`.
    """

    tasks: tuple[Task, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def watch(
        self,
        network: nn.Module,
        trained_task: int,
        adjust: Adjust | None,
        classifier: Callable[[nn.Module], nn.Module],
    ) -> "Watch":
        """A callback for one sleep of `network`; `classifier` is what the method asks in a network's place."""
        return Watch(self, copy.deepcopy(network), trained_task, adjust, classifier)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


@dataclass(frozen=True)
class Best:
    """What a network was at one moment of a sleep, as `load_weights` takes it."""

    weights: list[Tensor]
    biases: list[Tensor | None] | None


@dataclass
class Watch:
    """Callback of one sleep; afterwards `best` is the moment of the highest validation accuracy met."""

    trace: SleepTrace
    twin: nn.Module
    trained_task: int
    adjust: Adjust | None
    classifier: Callable[[nn.Module], nn.Module]
    best_validation: float = -1.0
    best: "Best | None" = None

    def __call__(self, step: int, state: SleepState) -> None:
        load_weights(self.twin, state.weights, state.biases)
        tests, test_all = self._accuracies("test")
        _, validation = self._accuracies("validation")
        row: dict[str, Any] = {"trained_task": self.trained_task, "sleep_step": step}
        row |= {f"Task {index}": value for index, value in enumerate(tests)}
        row |= {"Task All": test_all, "validation": validation}
        norms = state.change_norms()
        for layer, (spikes, (grown, shrunk)) in enumerate(zip(state.spike_counts.tolist(), norms, strict=True), 1):
            row |= {f"spikes_{layer}": spikes, f"grown_{layer}": grown, f"shrunk_{layer}": shrunk}
        self.trace.rows.append(row)
        if validation > self.best_validation:
            self.best_validation, self.best = validation, Best(state.weights, state.biases)

    def _accuracies(self, split: str) -> tuple[list[float], float]:
        splits = [(getattr(task, split), task.classes) for task in self.trace.tasks]
        measured = evaluate(self.classifier(self.twin), splits, self.adjust)
        return [m.accuracy for m in measured], overall(measured)
