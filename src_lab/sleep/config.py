"""Settings of the sleep phase: the schema behind `conf/sleep/` and the argument of `simulate` and `sleep`."""

from dataclasses import dataclass, field, replace
from typing import Literal

from src_lab.settings import FINITE, NON_NEGATIVE, POSITIVE, UNIT_INTERVAL, ConfigError, Range, check, setting

Rule = Literal["tadros", "sigmoid", "proportional"]
BackendName = Literal["auto", "reference", "event", "numba", "triton"]
Shape = Literal["mean", "shuffled", "uniform"]


@dataclass(frozen=True)
class StimulusConfig:
    """The noise that drives sleep: a mean image times a mask, drawn anew at every step.

    The first-named defaults are those of the Python program; the paper uses `images=seen samples_per_step=null
    mask=window` (Tadros et al. 2022, Methods).
    """

    images: Literal["current", "seen", "first", "running_mean"] = setting(
        "current", source="Python program: current task; paper: all seen; CIFAR: first task; running_mean: ours"
    )
    """Whose images shape the noise. `running_mean` carries one mean image along and stores no old data."""
    samples_per_step: int | None = setting(10, within=Range(1), unit="images", source="Python program: 10")
    """Images averaged afresh at each step, drawn with replacement; null averages all of them once."""
    mask: Literal["pixel", "window", "none"] = setting("pixel", source="Python program: pixel; paper: window")
    keep: float = setting(0.25, within=UNIT_INTERVAL, unit="probability", source="Python program")
    """Share of the pixels that a `pixel` mask keeps."""
    spikes: float | None = setting(
        None, within=POSITIVE, unit="input spikes per step", example="25", source="null: `keep` counts; ours", later=True
    )
    """How many input spikes a step has, on average: a `pixel` mask then keeps as many pixels as that takes, at most all, and
    `keep` has no effect."""
    window: int = setting(11, within=Range(1), unit="pixels", source="MATLAB program: 11 x 11")
    """Side of the square that a `window` mask keeps."""
    shape: Shape = setting("mean", source="both programs: mean; the others are controls, ours", later=True)
    """What the mean image becomes: itself, itself with its pixels in one random order per sleep, or its mean brightness
    in every pixel. The expected number of input spikes is the same."""

    def __post_init__(self) -> None:
        if self.spikes is not None and self.mask != "pixel":
            raise ConfigError(
                f"sleep.stimulus.spikes={self.spikes:g} needs a mask that can keep more or fewer pixels: use "
                f"sleep.stimulus.mask=pixel, not {self.mask}, or sleep.stimulus.spikes=null"
            )


@dataclass(frozen=True)
class SleepConfig:
    """How a network sleeps. The defaults are the preset `python_mnist`; `conf/sleep/` holds the published ones.

    Symbols in brackets are those of the equations in `src_lab.sleep.reference`.
    """

    name: str = setting("custom")
    iterations: int = setting(500, within=NON_NEGATIVE, unit="steps", source="Python program")
    """Steps of the first sleep."""
    bonus_iterations: int = setting(166, within=NON_NEGATIVE, unit="steps", source="Python program")
    """Steps added for every task learned before the current one."""
    rule: Rule = setting("sigmoid", source="Python program; MATLAB program: tadros")
    """Factor f(w) of the plasticity rule, see `src_lab.sleep.rules`."""
    inc: float | list[float] = setting(0.001, within=NON_NEGATIVE, unit="weight", source="Python program")
    dec: float | list[float] = setting(0.0001, within=NON_NEGATIVE, unit="weight", source="Python program")
    """Size of a change where the presynaptic unit spiked, and where it did not: one number, or one per layer."""
    decay: float = setting(0.999, within=UNIT_INTERVAL, unit="per step", source="both programs")
    """Share of the membrane potential kept from one step to the next; 0 is the memoryless form."""
    threshold: float = setting(1.0, within=FINITE, unit="potential", source="both programs")
    inhibition: float = setting(0.0, within=NON_NEGATIVE, unit="of the layer's mean input", source="both programs")
    dc: float = setting(0.0, within=FINITE, unit="potential per step", source="both programs")
    """Constant drive of the last layer."""
    plastic: Literal["all", "hidden", "output"] = setting(
        "all", source="both programs: all; the others are controls, ours", later=True
    )
    """Layers whose weights change: all, all but the last, the last. Spikes run through all of them."""
    change: Literal["learned", "shuffled", "noise", "per_unit", "rank_one"] = setting(
        "learned", source="both programs: learned; the others are controls, ours", later=True
    )
    """What each layer's weights change by: what they learned asleep, or a surrogate of it (`src_lab.sleep.surrogate`)."""
    bias: Literal["scaled", "adapt", "ignore"] = setting(
        "scaled", source="ours, after Rueckauer et al. 2017; both programs have no biases", later=True
    )
    """What the biases of a network that has them do asleep (`src_lab.sleep.bias`): drive its units, drive and learn, or
    nothing."""
    plasticity: Literal["absolute", "relative"] = setting(
        "absolute", source="both programs: absolute; relative: ours", later=True
    )
    """What `inc` and `dec` count: weight, or shares of a unit's mean input over the whole sleep, which mean the same in
    networks of any size (`src_lab.sleep.calibration`; needs `scaling=target_rate`)."""
    dissimilarity: float = setting(0.0, within=NON_NEGATIVE, source="ours; 0: shares are the same in all layers", later=True)
    """Such shares are multiplied by this power of 1 - c, c the mean cosine between what two images feed a layer with."""
    dissimilarity_unit: Literal["absolute", "input"] = setting("absolute", source="ours", later=True)
    """What that 1 - c is measured in: as it is, or in that of the images, so that the first layer has all of `dec`."""
    similarity: float = setting(0.0, within=NON_NEGATIVE, source="ours; 0: shares know nothing of it", later=True)
    """All shares are multiplied by this power of c of the images themselves: a sleep takes away what they have in common."""
    least_dissimilarity: float = setting(0.0, within=UNIT_INTERVAL, source="ours; 0: none", later=True)
    """Where less than this is left of 1 - c in what feeds the outputs, all shares fall with the root of what is."""
    growth: float = setting(
        1.0, within=POSITIVE, source="both programs: every sleep is as strong (1); others: ours", later=True
    )
    """Factor by which `inc` and `dec` grow from one sleep's task to the next: above 1, late sleeps are the stronger ones."""
    alpha: list[float] = setting(
        [14.983829, 253.17746, 7.770772], within=FINITE, unit="potential per weight", source="Python program"
    )
    """Input gain of each layer, used when `scaling=fixed`."""
    beta: list[float] = setting(
        [14.548273, 44.560317, 38.046326], within=FINITE, unit="thresholds", source="MATLAB program, MNIST"
    )
    """Threshold multiplier of each layer."""
    alpha_scale: float | list[float] = setting(1.0, within=FINITE, source="1 leaves the preset as it is")
    """Factor on the input gains: one number, or one per layer."""
    beta_scale: float | list[float] = setting(1.0, within=FINITE, source="1 leaves the preset as it is")
    """Factor on `beta`: one number, or one per layer."""
    scaling: Literal["fixed", "data", "target_rate"] = setting(
        "fixed", source="Python program: fixed; MATLAB program: data; target_rate: ours"
    )
    """Where the gains come from: `alpha`, the published data normalisation (`src_lab.sleep.scaling`), or the network itself,
    which is to spike at `target_rate` (`src_lab.sleep.calibration`; `alpha` and `beta` then have no effect)."""
    target_rate: float | list[float] = setting(
        0.01, within=Range(0, 0.5, above=True), unit="spikes per unit and step", source="ours", later=True
    )
    """Mean rate at which the units of a layer spike when sleep begins: one number, or one per layer."""
    homeostasis: Literal["none", "outputs"] = setting("none", source="both programs: none; outputs: ours", later=True)
    """What is levelled when the sleep is over: nothing, or the outputs' excitability (`src_lab.sleep.homeostasis`)."""
    decorrelation: float = setting(0.0, within=UNIT_INTERVAL, source="ours; 0: correlations stay", later=True)
    """How far levelled outputs are decorrelated: 1 makes them uncorrelated (`src_lab.sleep.homeostasis`)."""
    summary: int | None = setting(
        None, within=Range(1), unit="components", example="3", source="null: nothing is kept; ours", later=True
    )
    """Principal components that are kept of each task's images, with their mean, to level outputs on instead of on the
    noise (`src_lab.sleep.summary`)."""
    summary_residual: bool = setting(False, source="ours; false: nothing more is kept", later=True)
    """Whether a summary keeps, of each pixel, also the spread that its components leave."""
    summary_images: int = setting(1000, within=Range(1), source="ours", later=True)
    """Images that are drawn from the summaries, as many from each, to level outputs on."""
    discriminant: float = setting(0.0, within=NON_NEGATIVE, source="ours; 0: none", later=True)
    """How much levelled outputs are made to answer to what tells the summary of their task from the others'
    (`src_lab.sleep.homeostasis`)."""
    discriminant_ridge: float = setting(0.1, within=POSITIVE, unit="mean variance of a unit", source="ours", later=True)
    """Ridge of the covariance behind it, at least: more is used where few images are drawn for so many units."""
    discriminant_lasts: bool = setting(True, source="ours", later=True)
    """Whether the next task is learned with it, or without, from the outputs as they were levelled: a run takes it out, and
    after `sleep()` on a network of one's own `restore_levelled` does."""
    max_rate_hz: float = setting(239.515363, within=POSITIVE, unit="Hz", source="both programs, MNIST")
    dt_s: float = setting(0.001, within=POSITIVE, unit="s", source="both programs")
    backend: BackendName = setting("auto")
    """Who computes: the fastest there is, or one by name. All give the same spikes and weights."""
    record_every: int | None = setting(None, within=Range(1), unit="steps", example="100", source="null: not recorded")
    """Steps between two lines of `sleep_trace.csv`, and between two calls of a callback."""
    stop_when_silent: int | None = setting(None, within=Range(1), unit="steps", example="1000", source="null: never")
    """End a sleep after so many steps in a row without a spike beyond the input."""
    keep_best: bool = setting(False, source="ours; needs record_every and validation images")
    """Keep the weights of the recorded step whose VALIDATION accuracy was highest, instead of the last."""
    stimulus: StimulusConfig = field(default_factory=StimulusConfig)

    def __post_init__(self) -> None:
        check(self, "sleep")
        if self.plasticity == "relative":
            self._check_relative()
        else:
            for key in ("dissimilarity", "similarity", "least_dissimilarity"):
                if getattr(self, key):
                    raise ConfigError(
                        f"sleep.{key}={getattr(self, key):g} scales shares, which sleep.plasticity=absolute has none of: "
                        f"use sleep.plasticity=relative, or sleep.{key}=0"
                    )
        for key, unused in (("summary", None), ("decorrelation", 0.0)):
            value = getattr(self, key)
            if self.homeostasis == "none" and value != unused:
                raise ConfigError(
                    f"sleep.{key}={value} is for outputs that are levelled, and sleep.homeostasis=none levels none: use "
                    f"sleep.homeostasis=outputs, or sleep.{key}={'null' if unused is None else '0'}"
                )
        if self.discriminant and self.summary is None:
            raise ConfigError(
                f"sleep.discriminant={self.discriminant:g} tells apart summaries of tasks, and sleep.summary=null keeps "
                "none: use sleep.summary=10, or sleep.discriminant=0"
            )
        if self.summary_residual and self.summary is None:
            raise ConfigError(
                "sleep.summary_residual=true adds to a summary, and sleep.summary=null keeps none: use sleep.summary=10, or "
                "sleep.summary_residual=false"
            )

    def _check_relative(self) -> None:
        if self.scaling != "target_rate":
            raise ConfigError(
                "sleep.plasticity=relative needs rates that are known: use sleep.scaling=target_rate, not "
                f"{self.scaling}, or sleep.plasticity=absolute"
            )
        if self.rule == "proportional":
            raise ConfigError(
                "sleep.plasticity=relative is not possible with sleep.rule=proportional, which changes no weight of 0: use "
                " sleep.rule=sigmoid or tadros, or sleep.plasticity=absolute"
            )

    def steps(self, task: int) -> int:
        """Length of the sleep after task `task` (0 is the first): `iterations + task * bonus_iterations`."""
        return self.iterations + task * self.bonus_iterations

    def after(self, task: int) -> "SleepConfig":
        """The settings of the sleep after task `task`: its length, and its `inc` and `dec` grown."""
        factor = self.growth**task
        inc, dec = ([factor * each for each in x] if isinstance(x, list) else factor * x for x in (self.inc, self.dec))
        return replace(self, iterations=self.steps(task), inc=inc, dec=dec)

    def plastic_layers(self, layers: int) -> frozenset[int]:
        """Indices of the layers whose weights change, of `layers`. Raises ConfigError when there are none."""
        if self.plastic == "hidden" and layers == 1:
            raise ConfigError(
                "sleep.plastic=hidden leaves nothing to change in a network of one layer of weights: use sleep.plastic=all, "
                "or give it hidden units, e.g. model.widths=[100]"
            )
        indices = range(layers)
        return frozenset({"all": indices, "hidden": indices[:-1], "output": indices[-1:]}[self.plastic])

    def per_layer(
        self, key: Literal["alpha", "beta", "alpha_scale", "beta_scale", "inc", "dec", "target_rate"], layers: int
    ) -> list[float]:
        """The setting `key` as one number per layer. Raises ConfigError when it has another length."""
        value = getattr(self, key)
        if not isinstance(value, list):
            return [value] * layers
        if len(value) != layers:
            shown = str(value).replace(" ", "")
            raise ConfigError(
                f"sleep.{key}={shown} has {len(value)} values but the network has {layers} layers of weights: "
                f"give one per layer, e.g. sleep.{key}=[{','.join(['1.0'] * layers)}]"
            )
        return value
