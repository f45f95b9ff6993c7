"""Goes through the networks of a run, in order, and notes what the analyses say of each, and of each sleep."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas import DataFrame
from torch import Tensor, nn

from src_lab import analysis
from src_lab.analysis import OrderedPca, Replay
from src_lab.analysis.selection import rows_of_classes
from src_lab.config import RunConfig
from src_lab.data import Stream, Task, load_stream
from src_lab.methods import METHODS, Context, Method
from src_lab.models import LowRankLinear
from src_lab.networks import Moment, kept
from src_lab.results import stage_name
from src_lab.settings import ConfigError
from src_lab.sleep.chain import WEIGHTS
from src_lab.sleeper import Sleeper

Array = NDArray[np.floating]


@dataclass
class Findings:
    """What the analyses found.

    tables    by name, a row per network or sleep and whatever the analysis tells apart, tidy
    sleeps    by trained task, activity before and after its sleep, a layer each
    activity  by name of a network ("Task 0", "Merged", ..), activity of networks that did not sleep, a layer each
    replays   by trained task
    """

    of: str
    shape: tuple[int, int]
    tables: dict[str, DataFrame] = field(default_factory=dict)
    sleeps: dict[int, list[OrderedPca]] = field(default_factory=dict)
    activity: dict[str, list[OrderedPca]] = field(default_factory=dict)
    replays: dict[int, Replay] = field(default_factory=dict)


FEW = 500
"""Test images of a class, evenly spaced, that the tables are made from, whatever else is looked at."""
MANY = 2 * FEW
"""Test images of a class in the pictures of activity, the tables' among them; their forward passes are half of the work."""


@dataclass
class Seen:
    """One network of the run, and what it answers to test images: to `few` of them, which are rows of `images`."""

    moment: Moment
    network: nn.Module
    images: Tensor
    few: Tensor

    @cached_property
    def all_acts(self) -> list[Tensor]:
        return analysis.activations(self.network, self.images)

    @cached_property
    def acts(self) -> list[Tensor]:
        if len(self.few) == len(self.images):
            return self.all_acts
        return [states[self.few] for states in self.all_acts]

    @cached_property
    def weights(self) -> list[Tensor]:
        """Matrices, a row for each unit; of a convolution (channels out, channels in x height x width)."""
        layers = (module for module in self.network.modules() if isinstance(module, WEIGHTS))
        return [
            layer.product() if isinstance(layer, LowRankLinear) else layer.weight.detach().flatten(1) for layer in layers
        ]


def find(config: RunConfig, folder: Path, names: Iterable[str]) -> Findings:
    """The analyses `names` of the run in `folder`, from the networks kept there.

    Raises ConfigError when networks are missing.
    """
    stream = load_stream(config.dataset, config.seed)
    context = Context(config.model, config.train, stream, config.seed, torch.device("cpu"))
    method = METHODS[config.method.name](context, config.method)
    return _Survey(config, stream, context, method, frozenset(names)).through(folder)


class _Survey:
    def __init__(self, config: RunConfig, stream: Stream, context: Context, method: Method, names: frozenset[str]) -> None:
        self._config = config
        self._stream = stream
        self._context = context
        self._method = method
        self._names = names
        self._stages = method.stages()
        self._sleeper = Sleeper(config, stream, len(self._stages))
        images = torch.cat([task.test.images for task in stream.tasks])
        labels, self._tasks = _labels_by_task(stream)
        looked_at = _rows(labels, MANY if "activity" in names else FEW)
        self._images, self._all_labels = images[looked_at], labels[looked_at]
        few = torch.isin(looked_at, _rows(labels, FEW))
        self._few, self._labels = few.nonzero().squeeze(1), self._all_labels[few]
        self._rows: dict[str, list[DataFrame]] = defaultdict(list)
        self._found = Findings(f"{method.label}, {config.dataset.name}, seed {config.seed}", stream.image_shape)

    def through(self, folder: Path) -> Findings:
        """Look at every network kept in `folder`, and at every sleep between two of them."""
        plan = self._sleeper.plan()
        before: Seen | None = None
        looked = 0
        for moment in kept(folder):
            if moment.order != looked:
                break
            network = moment.load(copy.deepcopy(self._method.network))
            now = Seen(moment, network, self._images, self._few)
            self._look_at(now)
            if moment.order and plan[moment.order - 1][1] == "train":
                self._sleeper.see(self._stages[plan[moment.order - 1][0]])
            if moment.phase == "sleep" and before is not None:
                self._look_at_sleep(before, now, plan[moment.order - 1][0])
            elif moment.order and not self._config.sleeps:
                self._note_activity(now)
            before, looked = now, looked + 1
        if looked != len(plan) + 1:
            raise ConfigError(
                f"{folder} does not have the network of every stage: run it again with analysis=all force=true"
            )
        self._found.tables = {name: pd.concat(parts, ignore_index=True) for name, parts in self._rows.items()}
        return self._found

    def _look_at(self, now: Seen) -> None:
        moment = now.moment
        leading = {
            "stage": moment.order,
            "stage_name": stage_name(moment.phase, moment.task),
            "phase": moment.phase,
            "trained_task": moment.task,
        }
        tables: dict[str, DataFrame] = {}
        if "ranks" in self._names:
            tables["weight_ranks"] = analysis.weight_ranks(now.weights)
        if "effective_ranks" in self._names:
            tables["activation_ranks"] = analysis.activation_ranks(now.acts, self._labels, self._tasks)
        if "importance" in self._names:
            tables["pca_importance"] = analysis.pca_importance(now.acts, self._labels, self._tasks)
            tables["task_overlap"] = analysis.task_overlap(now.acts, self._labels, self._tasks)
        if "correlation" in self._names:
            tables["class_correlation"] = analysis.class_correlation(now.acts, self._labels)
        if "sparseness" in self._names:
            tables["sparseness"] = analysis.sparseness(now.acts, self._labels)
        self._note(tables, leading)

    def _look_at_sleep(self, before: Seen, after: Seen, stage: int) -> None:
        task = self._stages[stage].index
        tables: dict[str, DataFrame] = {}
        if "hidden_difference" in self._names:
            tables["hidden_difference"] = analysis.hidden_difference(before.acts, after.acts, self._labels)
        if "weights" in self._names:
            tables["weight_changes"] = analysis.weight_changes(before.weights, after.weights)
            tables["weight_histogram"] = analysis.weight_histogram(before.weights, after.weights)
        if "activity" in self._names:
            self._found.sleeps[task] = analysis.class_ordered_pca(
                before.all_acts, after.all_acts, self._all_labels, per_class=MANY
            )
        if self._names & {"spikes", "synapses"}:
            again = self._replayed(before, stage)
            if "spikes" in self._names:
                counted = (again.counts, again.steps, self._config.sleep.dt_s)
                tables["firing_rates"] = analysis.rate_histogram(*counted)
                tables["reactivation"] = analysis.reactivation(*counted, before.acts, self._labels)
            if "synapses" in self._names:
                self._found.replays[task] = again
        self._note(tables, {"trained_task": task})

    def _replayed(self, before: Seen, stage: int) -> Replay:
        night = self._sleeper.night(stage)
        return analysis.replay(
            before.network, night.images, night.config, generator=night.generator, mean_image=night.mean_image
        )

    def _note_activity(self, now: Seen) -> None:
        """Activity after a training that no sleep follows: of the task's own network, too, where there is one."""
        if "activity" not in self._names:
            return
        task = now.moment.task
        name = "All tasks" if task == -1 else f"Task {task}"
        expert = now.moment.expert
        if expert:
            network = self._context.new_network()
            network.load_state_dict(expert)
            acts = analysis.activations(network, self._images)
            self._found.activity[name] = self._ordered(acts)
            name = "Merged"  # the last one stays
        self._found.activity.pop(name, None)
        self._found.activity[name] = self._ordered(now.all_acts)

    def _ordered(self, acts: list[Tensor]) -> list[OrderedPca]:
        return analysis.class_ordered_pca(acts, acts, self._all_labels, per_class=MANY)

    def _note(self, tables: dict[str, DataFrame], leading: dict[str, Any]) -> None:
        for name, table in tables.items():
            columns = [*leading, *table.columns]
            self._rows[name].append(table.assign(**leading)[columns].astype({"trained_task": "Int64"}))


def _rows(labels: Tensor, per_class: int) -> Tensor:
    """At most `per_class` images of each class, in the order of the images."""
    return torch.cat(list(rows_of_classes(labels, per_class).values())).sort().values


def _labels_by_task(stream: Stream) -> tuple[Tensor, Sequence[Sequence[int]]]:
    """Labels of all test images, and the classes of each task; of tasks that share classes, numbered apart."""
    tasks: tuple[Task, ...] = stream.tasks
    classes = [class_ for task in tasks for class_ in task.classes]
    step = stream.num_classes if len(set(classes)) < len(classes) else 0
    labels = torch.cat([task.test.labels + step * task.index for task in tasks])
    return labels, [[class_ + step * task.index for class_ in task.classes] for task in tasks]
