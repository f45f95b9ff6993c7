"""When a run's network sleeps, and on whose images: what the experiment puts between `sleep` and its tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from src_lab.config import RunConfig
from src_lab.data import Stream, Task
from src_lab.methods.base import Stored
from src_lab.rng import generator
from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, SleepResult, SleepState, Summary, restore_levelled, sleep
from src_lab.sleep.homeostasis import Readout
from src_lab.sleep.stimulus import image_sides
from src_lab.sleep.summary import require_enough

Phase = Literal["train", "sleep"]


@dataclass(frozen=True)
class Night:
    """The arguments of one sleep: see `src_lab.sleep.sleep`."""

    images: Tensor
    config: SleepConfig
    generator: torch.Generator
    mean_image: Tensor | None
    outputs: list[int]
    summaries: list[Summary]


class Sleeper:
    """Carries what sleep may know of the past: all images seen, the first task's, or one running mean image; summaries; and
    the outputs that the next task is learned with, where these are not those that answer (`sleep.discriminant_lasts`).

    Raises ConfigError at once when the run will sleep and its images do not fit the stimulus, are too few for
    `sleep.summary`, or lack the validation part that `sleep.keep_best` chooses by.
    """

    def __init__(self, config: RunConfig, stream: Stream, stages: int) -> None:
        self._config = config
        self._stages = stages
        self._shape = stream.image_shape
        self._images: Tensor | None = None
        self._mean: Tensor | None = None
        self._seen = 0
        self._classes: set[int] = set()
        self._summaries: list[Summary] = []
        self._levelled: Readout | None = None
        if config.sleeps:
            if config.sleep.keep_best and not all(len(task.validation) for task in stream.tasks):
                raise ConfigError(
                    "sleep.keep_best=true needs validation images in every task: set dataset.validation_per_task, e.g. "
                    "dataset.validation_per_task=100"
                )
            if config.sleep.summary is not None:
                for task in stream.tasks:
                    require_enough(config.sleep.summary, *task.train.images.flatten(1).shape)
            image_sides(stream.tasks[0].train.images[:1].view(-1, *self._shape), config.sleep.stimulus)

    def see(self, task: Task) -> None:
        """Take in the training images of a stage, as far as `sleep.stimulus.images` lets the stimulus use them."""
        new, policy = task.train.images, self._config.sleep.stimulus.images
        if self._images is None or policy in ("current", "running_mean"):
            self._images = new
        elif policy == "seen":
            self._images = torch.cat([self._images, new])
        if policy == "running_mean":
            old = torch.zeros(new.shape[1]) if self._mean is None else self._mean
            self._mean = old + (new.mean(dim=0) - old) * (len(new) / (self._seen + len(new)))
        self._seen += len(new)
        kept = self._config.sleep
        if self._config.sleeps and kept.summary is not None:
            self._summaries.append(Summary.of(new, kept.summary, task.classes, residual=kept.summary_residual))
        self._classes |= set(task.classes)

    def stored(self) -> Stored:
        """What is carried to the next task now, beside the network: nothing where only the current task's images count."""
        if not self._config.sleeps or self._images is None:
            return Stored()
        kept = sum(summary.numbers for summary in self._summaries)
        if self._mean is not None:
            kept += self._mean.numel()
        kept += sum(tensor.numel() for tensor in self.state().values())
        images = len(self._images) if self._config.sleep.stimulus.images in ("seen", "first") else 0
        return Stored(floats=kept, images=images)

    def due(self, stage: int) -> bool:
        """Whether the network sleeps after stage `stage` (0 is the first), as `method.sleep_after` says."""
        after = self._config.method.sleep_after
        last = stage == self._stages - 1
        if isinstance(after, int):
            return last or (stage + 1) % after == 0
        return after == "each_task" or (after == "last_task" and last)

    def plan(self) -> list[tuple[int, Phase]]:
        """What the run does, in order: (stage, train) and, where it is due, (stage, sleep)."""
        return [
            (stage, phase)
            for stage in range(self._stages)
            for phase in (("train", "sleep") if self.due(stage) else ("train",))
        ]

    def ends_stage(self, stage: int, phase: Phase) -> bool:
        return phase == "sleep" or not self.due(stage)

    def steps(self, stage: int) -> int:
        return self._config.sleep.steps(stage)

    def night(self, stage: int) -> "Night":
        """Everything that the sleep after stage `stage` depends on, beside the network, given what has been seen so far."""
        assert self._images is not None
        return Night(
            images=self._images.view(-1, *self._shape),
            config=self._config.sleep.after(stage),
            generator=generator(self._config.seed, "sleep", stage),
            mean_image=self._mean,
            outputs=sorted(self._classes),
            summaries=self._summaries,
        )

    def sleep(
        self, network: nn.Module, stage: int, callback: Callable[[int, SleepState], None] | None = None
    ) -> SleepResult:
        """Let `network` sleep, in place, on what has been seen so far."""
        night = self.night(stage)
        result = sleep(
            network,
            night.images,
            night.config,
            generator=night.generator,
            backend=night.config.backend,
            callback=callback,
            mean_image=night.mean_image,
            outputs=night.outputs,
            summaries=night.summaries,
        )
        if not night.config.discriminant_lasts:
            self._levelled = result.levelled
        return result

    def wake(self, network: nn.Module) -> None:
        """Take out of `network`, which has slept and is to learn, what its outputs have got only to answer with."""
        restore_levelled(network, self._levelled)
        self.forget()

    def forget(self) -> None:
        """The network is not what the last sleep left: there is nothing to take out."""
        self._levelled = None

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold of it; the rest is seen again."""
        if self._levelled is None:
            return {}
        found = {"sleep.levelled.weight": self._levelled.weight}
        return found if self._levelled.bias is None else found | {"sleep.levelled.bias": self._levelled.bias}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        weight = state.get("sleep.levelled.weight")
        self._levelled = None if weight is None else Readout(weight, state.get("sleep.levelled.bias"))
