"""Ideas for a better sleep that have no switch, each beside the calibrated sleep (docs/best_sleep.md), seed by seed.

    python scripts/sleep_prototypes.py --seeds 20 25 --record docs/results/best_sleep/prototypes.csv
    python scripts/sleep_prototypes.py --record tried.csv --ideas base,frozen --datasets mnist sleep.summary=10

784-1000-1000-10, the settings of scripts/sleep_ideas.sh. An idea that pays belongs into the sleep itself, as a switch. What
the record has is not run again; take rows out to have them made again. About 15 seconds of CPU time a run.
"""

import argparse
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from math import ceil
from pathlib import Path

import torch
from pandas import Series
from torch import Tensor, nn
from tqdm import tqdm

from src_lab.aggregate import with_interval
from src_lab.config import RunConfig, cache_of, composed, device_of
from src_lab.data import Stream, Task, load_stream
from src_lab.evaluation import evaluate, evaluating, overall
from src_lab.ledger import Ledger, number
from src_lab.methods.base import Context
from src_lab.methods.merging.running_average import RunningAverageConfig
from src_lab.results import git_commit
from src_lab.rng import generator
from src_lab.runtime import prepare
from src_lab.settings import ConfigError
from src_lab.sleep import SleepResult, Summary, sleep
from src_lab.sleep.backend import Record
from src_lab.sleep.chain import find_layers
from src_lab.sleep.feeds import feeds_of
from src_lab.sleep.homeostasis import HOMEOSTASIS_STEPS, as_images, level_outputs
from src_lab.sleep.preparation import copied_generator, dissimilarities, first_steps
from src_lab.sleep.summary import samples
from src_lab.sleeper import Night, Sleeper
from src_lab.training import PLAIN, Extra, Trainer

BASE = [
    "method=src",
    "sleep=target_rate",
    "sleep.dissimilarity=1",
    "sleep.dec=2",
    "sleep.stimulus.spikes=25",
    "model.widths=[1000,1000]",
    "threads=1",
]
METHODS = ("src", "running_average")
COLUMNS = ("run", "idea", "dataset", "seed", "validation_accuracy", "test_accuracy", "commit")


class Idea:
    """The sleep as it is, after every task. An idea overrides the moment at which it differs."""

    def __init__(self, network: nn.Sequential, config: RunConfig) -> None:
        self.network = network
        self.config = config
        self.layers = find_layers(network)

    def learn(self, trainer: Trainer, task: Task, sleeper: Sleeper) -> None:  # noqa: ARG002  # for ideas that use it
        trainer.fit(task.train, task.index)

    def sleep(self, night: Night) -> None:
        self.asleep(night)

    def asleep(self, night: Night, observe: Callable[[Record], None] | None = None) -> SleepResult:
        """One sleep as `run.py` has it."""
        return sleep(
            self.network,
            night.images,
            night.config,
            generator=night.generator,
            mean_image=night.mean_image,
            outputs=night.outputs,
            summaries=night.summaries,
            observe=observe,
        )

    def spikes_of(self, night: Night) -> list[Tensor]:
        """One sleep, and how often each unit of each layer spiked in it."""
        counts = [torch.zeros(layer.shape[0]) for layer in self.layers]

        def count(seen: Record) -> None:
            for total, spikes in zip(counts, seen.spikes, strict=True):
                total += spikes.sum(dim=0)

        self.asleep(night, count)
        return counts

    def further(self, night: Night) -> Night:
        """The same night with other noise, for a sleep besides the one after the task."""
        return replace(night, generator=generator(self.config.seed, "further sleep", len(night.outputs)))

    def level(self, night: Night, shown: Tensor | None = None) -> None:
        """Level the outputs after an `unlevelled` sleep, on what they would have been, summaries or noise, or on `shown`."""
        config, taught = night.config, [summary.outputs for summary in night.summaries if shown is None]
        if shown is None:
            shown = self.noise(night)
            if night.summaries:
                drawn = samples(night.summaries, config.summary_images, copied_generator(night.generator))
                shown = drawn.view(-1, *night.images.shape[1:])
        level_outputs(
            self.network,
            self.layers[-1],
            shown,
            night.outputs,
            config.decorrelation,
            taught,
            config.discriminant,
            config.discriminant_ridge,
        )

    def noise(self, night: Night) -> Tensor:
        """The noise of the sleep as images; draws nothing from the night's own generator."""
        steps = first_steps(HOMEOSTASIS_STEPS, night.images, night.config, copied_generator(night.generator), None)
        return as_images(steps, night.images, self.layers[0].weight())


def unlevelled(night: Night) -> Night:
    """The night without what levels outputs when it is over."""
    plain = replace(
        night.config, homeostasis="none", summary=None, summary_residual=False, decorrelation=0.0, discriminant=0.0
    )
    return replace(night, config=plain)


class EveryEpoch(Idea):
    """It sleeps inside tasks as well: after every epoch, each time with `share` of the strength."""

    def __init__(self, network: nn.Sequential, config: RunConfig, share: float = 1.0) -> None:
        super().__init__(network, config)
        self.share = share

    def learn(self, trainer: Trainer, task: Task, sleeper: Sleeper) -> None:
        epochs = trainer.config.pace(task.index).epochs
        steps = ceil(len(task.train) / trainer.config.batch_size)
        trainer.fit(task.train, task.index, extra=_EveryEpoch(self, self.further(sleeper.night(task.index)), epochs, steps))

    def sleep(self, night: Night) -> None:
        assert isinstance(night.config.dec, float | int)
        super().sleep(replace(night, config=replace(night.config, dec=night.config.dec * self.share)))


class _EveryEpoch(Extra):
    def __init__(self, idea: Idea, night: Night, epochs: int, steps: int) -> None:
        self.idea, self.night, self.steps, self.left = idea, night, steps, epochs * steps

    def after_update(self) -> None:
        self.left -= 1
        if self.left and self.left % self.steps == 0:
            with torch.no_grad():
                self.idea.sleep(self.night)


class BeforeTask(Idea):
    """It sleeps before each task as well, to noise that is shaped like what comes."""

    def learn(self, trainer: Trainer, task: Task, sleeper: Sleeper) -> None:
        if task.index:
            self.sleep(self.further(sleeper.night(task.index)))
        super().learn(trainer, task, sleeper)


class Frozen(Idea):
    """What old tasks use is frozen: units that spiked most in a sleep keep their incoming weights in all trainings to come.

    As PackNet freezes the weights of old tasks (Mallya and Lazebnik 2018, arXiv 1711.05769), but by spikes. Source: ours.

    share    of the units of each layer, anew in every sleep
    layers   how many, from the first up
    ordered  by spikes; false: at random, the control
    """

    def __init__(
        self, network: nn.Sequential, config: RunConfig, share: float = 0.1, layers: int = 1, ordered: bool = True
    ) -> None:
        super().__init__(network, config)
        self.share, self.ordered = share, ordered
        self.chance = torch.Generator().manual_seed(config.seed)
        self.frozen = [torch.zeros(layer.shape[0], dtype=torch.bool) for layer in self.layers[:layers]]

    def learn(self, trainer: Trainer, task: Task, sleeper: Sleeper) -> None:  # noqa: ARG002  # as above
        trainer.fit(task.train, task.index, extra=_Frozen(self) if task.index else PLAIN)

    def sleep(self, night: Night) -> None:
        for frozen, total in zip(self.frozen, self.spikes_of(night), strict=False):
            order = total if self.ordered else torch.rand(len(total), generator=self.chance)
            frozen[order.topk(round(self.share * len(total))).indices] = True


class _Frozen(Extra):
    def __init__(self, idea: Frozen) -> None:
        self.idea = idea

    def before_update(self) -> None:
        for layer, frozen in zip(self.idea.layers, self.idea.frozen, strict=False):
            gradient = layer.module.weight.grad
            assert isinstance(gradient, Tensor)
            gradient[frozen] = 0


class HiddenRestored(Idea):
    """Homeostasis of every layer: a hidden unit's incoming weights are scaled until its answers to the task's images have
    the root mean square that they had before the sleep (synaptic scaling, Turrigiano et al. 1998, doi 10.1038/36103)."""

    def sleep(self, night: Night) -> None:
        shown = self.shown(night)
        before = [self.answers(shown, index) for index in range(len(self.layers) - 1)]
        self.asleep(unlevelled(night))
        for index, wanted in enumerate(before):
            self.scale(index, self.factors(self.answers(shown, index), wanted))
        self.level(night)

    def shown(self, night: Night) -> Tensor:
        return night.images[:: max(1, len(night.images) // HOMEOSTASIS_STEPS)]

    def answers(self, shown: Tensor, index: int) -> Tensor:
        """Of the units of layer `index`, what the next is fed by `shown`: (n, units)."""
        return torch.cat([feeds[index + 1].flatten(1) for feeds in feeds_of(self.network, self.layers, shown)])

    def factors(self, now: Tensor, before: Tensor) -> Tensor:
        had, has = (answers.square().mean(dim=0).sqrt() for answers in (before, now))
        return torch.where(has > 0, had / has, torch.ones_like(has))

    def scale(self, index: int, factors: Tensor) -> None:
        layer = self.layers[index]
        layer.write(layer.weight() * factors[:, None])


class HiddenLevelled(HiddenRestored):
    """Homeostasis of every layer, as of the outputs: scaled until all units of a layer have one spread on the noise."""

    def shown(self, night: Night) -> Tensor:
        return self.noise(night)

    def factors(self, now: Tensor, before: Tensor) -> Tensor:  # noqa: ARG002  # what was does not count
        spread = now.std(dim=0)
        active = spread > 0
        return torch.where(active, spread[active].mean() / spread.where(active, torch.ones_like(spread)), 1.0)


class Gated(Idea):
    """Plasticity gated by rate: of what a unit learns asleep it keeps its spikes' share of those of its layer's mean unit,
    at most all."""

    def sleep(self, night: Night) -> None:
        before = [layer.weight() for layer in self.layers]
        counts = self.spikes_of(unlevelled(night))
        for layer, old, total in zip(self.layers[:-1], before, counts, strict=False):
            gate = (total / total.mean().clamp(min=1e-9)).clamp(max=1)
            layer.write(old + gate[:, None] * (layer.weight() - old))
        self.level(night)


class MeanField(Idea):
    """Nothing is simulated: what a sleep takes away to first order, at once, along the mean activity h in its noise.

        w_k -= share_l max(0, w_k . h) h / (h . h)

    for the hidden layers from the first up, with share_l as `sleep.dissimilarity` has it.
    """

    def sleep(self, night: Night) -> None:
        assert isinstance(night.config.dec, float | int)
        shown = self.noise(night)
        apart = dissimilarities(self.network, self.layers, night.images)
        for index, layer in enumerate(self.layers[:-1]):
            feeds = [feeds[index].flatten(1) for feeds in feeds_of(self.network, self.layers, shown)]
            mean = torch.cat(feeds).double().mean(dim=0)
            weight = layer.weight().double()
            share = min(1.0, night.config.dec * apart[index] ** night.config.dissimilarity)
            taken = share * (weight @ mean).clamp(min=0)
            layer.write((weight - torch.outer(taken, mean) / mean.dot(mean).clamp(min=1e-12)).to(layer.weight()))
        self.level(night)


class Imagined(Idea, ABC):
    """Images of all tasks are imagined, and shape the noise instead of the newest task's. With `levels` the newest task's
    shape it, and the outputs are levelled on what is imagined."""

    def __init__(self, network: nn.Sequential, config: RunConfig, levels: bool = False) -> None:
        super().__init__(network, config)
        self.levels = levels

    def learn(self, trainer: Trainer, task: Task, sleeper: Sleeper) -> None:
        self.keep(task.train.images)
        super().learn(trainer, task, sleeper)

    def sleep(self, night: Night) -> None:
        drawn = self.imagine(night, generator(self.config.seed, "imagine", len(night.outputs)))
        drawn = drawn.clamp(0, 1).view(-1, *night.images.shape[1:]).to(night.images)
        if self.levels:
            self.asleep(unlevelled(night))
            self.level(night, drawn)
        else:
            self.asleep(replace(night, images=drawn))

    def keep(self, images: Tensor) -> None:
        """Carry something of the new task's images."""

    @abstractmethod
    def imagine(self, night: Night, chance: torch.Generator) -> Tensor:
        """About 1000 images (n, n_0)."""


class RunningCovariance(Imagined):
    """… drawn from the mean and the covariance of all images seen, carried along."""

    def __init__(self, network: nn.Sequential, config: RunConfig, levels: bool = False) -> None:
        super().__init__(network, config, levels)
        self.count, self.sum, self.products = 0, torch.zeros(()), torch.zeros(())

    def keep(self, images: Tensor) -> None:
        flat = images.flatten(1).double()
        self.count += len(flat)
        self.sum, self.products = self.sum + flat.sum(dim=0), self.products + flat.T @ flat

    def imagine(self, night: Night, chance: torch.Generator) -> Tensor:  # noqa: ARG002  # knows images
        mean = self.sum / self.count
        values, vectors = torch.linalg.eigh(self.products / self.count - torch.outer(mean, mean))
        strengths = torch.randn(HOMEOSTASIS_STEPS, len(values), generator=chance, dtype=values.dtype)
        drawn: Tensor = mean + (strengths * values.clamp(min=0).sqrt()) @ vectors.T
        return drawn


class Summaries(Imagined):
    """… drawn from a mean and three components of each task (levelled on: `sleep.summary`)."""

    def __init__(self, network: nn.Sequential, config: RunConfig) -> None:
        super().__init__(network, config)
        self.summaries: list[Summary] = []

    def keep(self, images: Tensor) -> None:
        self.summaries.append(Summary.of(images, 3))

    def imagine(self, night: Night, chance: torch.Generator) -> Tensor:  # noqa: ARG002  # knows images
        return samples(self.summaries, HOMEOSTASIS_STEPS, chance)


class Inverted(Imagined):
    """… by the network's own inversion: noise that is changed until each class's output wins (as Yin et al. 2020,
    arXiv 1912.08795, without their priors). It stores nothing."""

    STEPS = 30
    PER_CLASS = 50

    def imagine(self, night: Night, chance: torch.Generator) -> Tensor:
        classes = torch.tensor(night.outputs)
        wanted = classes.repeat(self.PER_CLASS)
        noise = self.noise(night).flatten(1)
        with evaluating(self.network), torch.enable_grad():
            images = noise[torch.randperm(len(noise), generator=chance)[: len(wanted)]].clone().requires_grad_()
            optimizer = torch.optim.Adam([images], lr=0.05)
            for _ in range(self.STEPS):
                optimizer.zero_grad()
                outputs = self.network(images.view(-1, *night.images.shape[1:]))[:, classes]
                loss = nn.functional.cross_entropy(outputs, torch.arange(len(classes)).repeat(self.PER_CLASS))
                (images.grad,) = torch.autograd.grad(loss, [images])
                optimizer.step()
                with torch.no_grad():
                    images.clamp_(0, 1)
        return images.detach()


@dataclass(frozen=True)
class Run:
    """An idea on a data set with a seed."""

    idea: str
    dataset: str
    config: RunConfig

    @property
    def key(self) -> str:
        return f"{self.idea}-{self.config.run_id}"


@dataclass(frozen=True)
class Tried:
    """An idea and the settings that it changes."""

    make: Callable[[nn.Sequential, RunConfig], Idea]
    overrides: tuple[str, ...] = ()


IDEAS = {
    "base": Tried(Idea),
    "every_epoch": Tried(EveryEpoch),
    "every_epoch_half": Tried(partial(EveryEpoch, share=0.5)),
    "before_task": Tried(BeforeTask),
    "hebbian_0.1": Tried(Idea, ("sleep.inc=0.1",)),
    "hebbian_0.3": Tried(Idea, ("sleep.inc=0.3",)),
    "hebbian_0.3_gated": Tried(Gated, ("sleep.inc=0.3",)),
    "gated": Tried(Gated),
    "mean_field": Tried(MeanField),
    "hidden_restored": Tried(HiddenRestored),
    "hidden_levelled": Tried(HiddenLevelled),
    "frozen": Tried(Frozen),
    "frozen_at_random": Tried(partial(Frozen, ordered=False)),
    "frozen_both_layers": Tried(partial(Frozen, layers=2)),
    "covariance_noise": Tried(RunningCovariance),
    "covariance_levelled": Tried(partial(RunningCovariance, levels=True)),
    "summaries_noise": Tried(Summaries),
    "inverted_noise": Tried(Inverted),
    "inverted_levelled": Tried(partial(Inverted, levels=True)),
}


def runs(ideas: Sequence[str], datasets: Sequence[str], seeds: Iterable[int], overrides: Sequence[str]) -> Iterator[Run]:
    """Every run asked for. Raises ConfigError for settings that are not possible."""
    configured = cache(lambda dataset, own: composed([*BASE, f"dataset={dataset}", *overrides, *own]))
    for idea, dataset in product(ideas, datasets):
        config = configured(dataset, IDEAS[idea].overrides)
        if config.method.name not in METHODS:
            raise ConfigError(f"method={config.method.name} has no prototypes: use method={' or '.join(METHODS)}")
        if not config.sleep.discriminant_lasts:
            raise ConfigError(
                "sleep.discriminant_lasts=false has no prototypes, which learn on what a sleep leaves: use "
                "sleep.discriminant_lasts=true"
            )
        yield from (Run(idea, dataset, replace(config, seed=seed)) for seed in seeds)


def measure(idea: Tried, config: RunConfig) -> tuple[float, float]:
    """Validation and test accuracy after all tasks, shares: of SRC, or with merging as `method.power` has it."""
    prepare(config.threads)
    stream = load_stream(config.dataset, config.seed)
    network, trainer = network_of(config, stream)
    sleeper = Sleeper(config, stream, len(stream.tasks))
    tried = idea.make(network, config)
    power = config.method.power if isinstance(config.method, RunningAverageConfig) else 0.0
    for met, task in enumerate(stream.tasks, start=1):
        sleeper.see(task)
        before = [parameter.detach().clone() for parameter in network.parameters()]
        tried.learn(trainer, task, sleeper)
        with torch.no_grad():
            for parameter, old in zip(network.parameters(), before, strict=True):
                parameter.copy_(old.lerp(parameter, met**-power))
        tried.sleep(sleeper.night(task.index))
    splits = ([(getattr(task, split), task.classes) for task in stream.tasks] for split in ("validation", "test"))
    validation, test = (overall(evaluate(network, tasks)) for tasks in splits)
    return validation, test


def network_of(config: RunConfig, stream: Stream) -> tuple[nn.Sequential, Trainer]:
    """A new network as `config` has it, and what trains it."""
    context = Context(config.model, config.train, stream, config.seed, device_of(config), cache_of(config), config.sleep)
    network = context.new_network()
    return network, context.new_trainer(network)


def compared(record: Ledger, wanted: Sequence[Run], ideas: Sequence[str], datasets: Sequence[str]) -> str:
    """A row per idea: validation accuracy in percent, mean ± sd (n), and its paired difference to `base`, 95 % interval."""
    rows = record.rows()
    found: dict[tuple[str, str], dict[int, float]] = {}
    for run in wanted:
        if run.key in rows:
            measured = 100 * number(rows[run.key], "validation_accuracy")
            found.setdefault((run.idea, run.dataset), {})[run.config.seed] = measured
    lines = [
        "| |" + "|".join(f" {name} | more than base " for name in datasets) + "|",
        "|---" * (1 + 2 * len(datasets)) + "|",
    ]
    for idea in ideas:
        cells = [idea]
        for dataset in datasets:
            own, base = (found.get((name, dataset), {}) for name in (idea, "base"))
            cells += [moments(list(own.values())), difference([own[seed] - base[seed] for seed in own if seed in base])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def moments(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = torch.tensor(values).double()
    return f"{spread.mean():.1f} ± {spread.std():.1f} ({len(values)})" if len(values) > 1 else f"{values[0]:.1f} (1)"


def difference(values: Sequence[float]) -> str:
    if len(values) < 2 or not any(values):
        return ""
    paired = with_interval(Series(values).agg(["mean", "std", "count"]).to_frame().T, "d").iloc[0]
    return f"{paired['d_mean']:+.1f} ({paired['d_low']:.1f} to {paired['d_high']:.1f})"


def main() -> int:
    """Exit status: 0 when all is measured, 2 for arguments that cannot be used."""
    arguments = parse_arguments()
    record = Ledger(arguments.record, "run", COLUMNS, COLUMNS[:-1], COLUMNS[3:-1])
    try:
        wanted = list(runs(arguments.ideas, arguments.datasets, arguments.seeds, arguments.overrides))
        done = set(record.rows())
        for run in tqdm([run for run in wanted if run.key not in done], disable=None):
            accuracies = measure(IDEAS[run.idea], run.config)
            cells = (run.key, run.idea, run.dataset, run.config.seed, *accuracies, git_commit())
            record.add([dict(zip(COLUMNS, cells, strict=True))])
        print(compared(record, wanted, arguments.ideas, arguments.datasets))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, nargs=2, default=[20, 25], metavar=("FROM", "TO"), help="the first, and after the last"
    )
    parser.add_argument(
        "--ideas", type=_names(list(IDEAS)), default=list(IDEAS), metavar="NAMES", help=f"of {', '.join(IDEAS)}"
    )
    datasets = ["mnist", "fashion_mnist"]
    parser.add_argument("--datasets", type=lambda text: text.split(","), default=datasets, metavar="NAMES")
    parser.add_argument(
        "--record", type=Path, required=True, metavar="FILE", help="CSV file, a row per run, that is added to"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="settings of every run, e.g. model.widths=[100,100]"
    )
    arguments = parser.parse_args()
    arguments.seeds = range(*arguments.seeds)
    return arguments


def _names(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    def named(text: str) -> list[str]:
        given = text.split(",")
        for name in given:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name} is none: allowed are {', '.join(allowed)}")
        return given

    return named


if __name__ == "__main__":
    sys.exit(main())
