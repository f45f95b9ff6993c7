"""The schema of a run: every group of `conf/`, checked before any work, and the identity of a run.

YAML files hold the values, the dataclasses here and in the rooms that use them hold type, unit, range and source. With
`multirun` and `search.sweeper`, which Hydra calls, the one module that knows Hydra.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src_lab.cache import GIGABYTE, Cache
from src_lab.cluster import explain_launch, explain_missing_launcher, jobs_at_once
from src_lab.data import SCHEMAS, DatasetConfig, default_root
from src_lab.inside.names import NAMES, OF_UNITS
from src_lab.methods import METHODS, MethodConfig
from src_lab.models import ModelConfig
from src_lab.settings import NON_NEGATIVE, ConfigError, Range, as_plain, build, setting, unknown_key
from src_lab.sleep import NonFiniteError, SleepConfig
from src_lab.sleep.bias import require_positive
from src_lab.sleep.scaling import gains, thresholds
from src_lab.sleep.simulate import choose
from src_lab.training import DivergedError, TrainConfig

CONF = Path(__file__).parents[1] / "conf"
NOT_IDENTITY = ("name", "seed", "force", "cache", "cache_gb", "analysis", "keep_networks")
"""Top-level keys that do not change what a run computes, or that its folder's name says anyway (the seed)."""


@dataclass(frozen=True)
class RunConfig:
    """One run, whole. `method` is the schema of the method that runs."""

    model: ModelConfig
    method: MethodConfig
    dataset: DatasetConfig
    train: TrainConfig
    sleep: SleepConfig
    name: str = setting(example="my-experiment")
    seed: int = setting(within=Range(0, 2**31 - 1), example="0")
    device: str = setting(example="cpu")
    threads: int | None = setting(within=Range(1, 1024), example="2")
    force: bool = setting(example="true")
    evaluate: Literal["each_stage", "final"] = setting()
    """When test accuracy is measured: `final` saves the time where only the end matters, as in a search."""
    cache: str = setting(example="off")
    """Where trained networks are kept (`src_lab.cache`): auto (the user's cache folder), off, or a folder."""
    cache_gb: float = setting(within=NON_NEGATIVE, unit="10^9 bytes", example="10")

    analysis: list[str] | Literal["all"] | None = setting(example="all")
    """What to look at inside the run's networks, when it is finished (`src_lab.inside`)."""
    keep_networks: bool = setting(example="true")
    """Whether to keep the network of every stage; else they go once they have been looked at."""

    @property
    def analyses(self) -> frozenset[str]:
        """The names that `analysis` stands for."""
        if self.analysis == "all":
            return frozenset(NAMES) - (OF_UNITS if self.model.channels else frozenset())
        return frozenset(self.analysis or ())

    @property
    def sleeps(self) -> bool:
        return self.method.sleep_after != "never"

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits of what the run computes: equal for equal settings, whatever the seed or folder."""
        identity = {key: value for key, value in as_plain(self).items() if key not in NOT_IDENTITY}
        identity["dataset"] = self.dataset.identity()
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def run_id(self) -> str:
        return f"{self.name}-{self.hash}-s{self.seed}"


def parse(raw: DictConfig | Mapping[str, Any], *, here: bool = True) -> RunConfig:
    """The composed configuration as a checked RunConfig. Raises ConfigError, one line, for whatever is wrong in it.

    `here=False` leaves out what only the machine that is to run it can tell: whether it has the device.
    """
    values = OmegaConf.to_container(raw, resolve=True) if isinstance(raw, DictConfig) else raw
    assert isinstance(values, Mapping)
    plain = {str(key): value for key, value in values.items() if key not in ("hydra", "search")}
    method = plain.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    if not isinstance(method, Mapping) or name not in METHODS:
        raise ConfigError(f"method.name={name} is not a method: allowed are {', '.join(METHODS)}; e.g. method=src")
    own: dict[str, Any] = {"method": build(METHODS[name].config, method, "method")}
    shared = {**plain, "method": {"name": name, "sleep_after": "never"}}
    dataset = plain.get("dataset")
    if isinstance(dataset, Mapping) and dataset.get("name") in SCHEMAS:
        own["dataset"] = build(SCHEMAS[dataset["name"]], dataset, "dataset")
        shared["dataset"] = {"name": "mnist", "num_tasks": 1, "classes_per_task": 1}
    config = RunConfig(**{**vars(build(RunConfig, shared)), **own})
    _check_together(config, here)
    return config


def composed(overrides: Sequence[str]) -> RunConfig:
    """The run that `python run.py` makes of these overrides. Raises ConfigError. Not for several threads at once."""
    try:
        with initialize_config_dir(str(CONF)):
            return parse(compose("config", overrides=list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error) or str(error)) from error


def device_of(config: RunConfig) -> torch.device:
    """The device to run on. Raises ConfigError when it is not there."""
    has_gpu = torch.cuda.is_available()
    if config.device == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        device = torch.device(config.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # no such device; PyTorch without CUDA; without that kind
        allowed = "auto, cpu, cuda or cuda:N" if has_gpu else "auto or cpu (there is no usable GPU here)"
        raise ConfigError(f"device={config.device} cannot be used: allowed are {allowed}; e.g. device=cpu") from None
    return device


def cache_of(config: RunConfig) -> Cache | None:
    """The cache of trained networks, or None for `cache=off`."""
    if config.cache == "off":
        return None
    folder = default_root() / "training" if config.cache == "auto" else Path(config.cache).expanduser().absolute()
    return Cache(folder, config.cache_gb * GIGABYTE)


def require_multirun(hydra: HydraConf) -> None:
    """Refuse to launch a single run, which Hydra would run right here. Raises ConfigError."""
    preset = hydra.runtime.choices.get("cluster")
    if preset is not None and hydra.mode == RunMode.RUN:
        raise ConfigError(f"cluster={preset} launches with -m only: python run.py -m cluster={preset}")


def register_resolvers() -> None:
    """Make available to YAML `${run_id:}`, the identity of a run, computed from its whole checked configuration, and
    `${jobs_at_once:threads}`."""
    OmegaConf.register_resolver("run_id", _resolve_run_id, replace=True)
    OmegaConf.register_resolver("jobs_at_once", jobs_at_once, replace=True)


def explain(error: BaseException) -> str | None:
    """One line for an error that a user's input caused, or None for any other."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (ConfigError, DivergedError, NonFiniteError)):
            return str(cause)
        if isinstance(cause, OSError) and cause.filename is not None:
            return f"{cause.filename}: {cause.strerror}; free or choose another folder, e.g. hydra.run.dir=FOLDER"
        cause = cause.__cause__ or cause.__context__
    if (launch := explain_launch(error)) is not None:
        return launch
    if isinstance(error, MissingConfigException):
        return _explain_missing(error)
    if "Config group override must be" in str(error):  # Hydra's for `sleep=3`
        return "a group of settings takes the name of a file in conf/, e.g. sleep=python_mnist; one key is sleep.KEY=VALUE"
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _explain_override(error)
    return None


def _resolve_run_id(*, _root_: DictConfig) -> str:
    # Hydra's own values cannot be resolved while they are being made: leave them out.
    # A multirun's jobs may be meant for another machine, and are checked by the sweeper and where they run.
    here = OmegaConf.select(_root_, "hydra.job.num") is None
    return parse(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"]), here=here).run_id


def _check_together(config: RunConfig, here: bool) -> None:
    """Refuse settings that are fine each but impossible together."""
    device = device_of(config) if here else None
    METHODS[config.method.name].check(config.method, config.model)
    unknown = sorted(config.analyses - set(NAMES))
    if unknown:
        raise ConfigError(
            f"analysis={unknown[0]} is not an analysis: allowed are null, all, or a list of {', '.join(NAMES)}"
        )
    if config.model.channels and (unreadable := sorted(config.analyses & OF_UNITS)):
        raise ConfigError(
            f"analysis={unreadable[0]} cannot read convolutions: use analysis=all, which leaves it out, or model.channels=[]"
        )
    config.train.check_tasks(config.dataset.num_tasks)
    if not config.sleeps:
        return
    if config.dataset.name == "features" and config.sleep.stimulus.mask == "window":
        raise ConfigError(
            "sleep.stimulus.mask=window is not possible with dataset=features, which have no height and width: use "
            "sleep.stimulus.mask=none or sleep.stimulus.mask=pixel"
        )
    layers = config.model.layers
    for key in ("alpha", "beta", "alpha_scale", "beta_scale", "inc", "dec", "target_rate"):
        unused = {"data": ("alpha",), "target_rate": ("alpha", "beta"), "fixed": ()}[config.sleep.scaling]
        if key not in unused:
            config.sleep.per_layer(key, layers)
    config.sleep.plastic_layers(layers)
    if config.sleep.keep_best and config.sleep.homeostasis != "none":
        raise ConfigError(
            f"sleep.keep_best=true keeps what some step had, but sleep.homeostasis={config.sleep.homeostasis} changes it "
            "afterwards: use sleep.keep_best=false or sleep.homeostasis=none"
        )
    if config.sleep.keep_best and config.sleep.change != "learned":
        raise ConfigError(
            f"sleep.keep_best=true keeps what was learned up to some step, but sleep.change={config.sleep.change} replaces "
            "what was learned: use sleep.keep_best=false or sleep.change=learned"
        )
    if config.model.bias and config.sleep.bias != "ignore":
        require_positive(config.sleep, gains(config.sleep, [1.0] * layers), thresholds(config.sleep, layers))
    if config.model.channels and config.sleep.backend != "auto":
        raise ConfigError(
            f"sleep.backend={config.sleep.backend} is for networks without convolutions: use sleep.backend=auto or "
            "model.channels=[]"
        )
    if device is not None and not config.model.channels:
        choose(config.sleep.backend, device)
    if config.sleep.keep_best and config.sleep.record_every is None:
        raise ConfigError(
            "sleep.keep_best=true needs recorded steps to choose from, but sleep.record_every=null: give a number of steps, "
            "e.g. sleep.record_every=100"
        )


def _explain_missing(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if group == "hydra/launcher" and (missing := explain_missing_launcher(name)) is not None:
        return missing
    allowed = ", ".join(str(option) for option in error.options or ())
    return f"{group or 'config'}={name} does not exist: allowed are {allowed}" if allowed else _first_line(error)


def _explain_override(error: Exception) -> str:
    """Hydra and OmegaConf speak in paragraphs; keep the key and what to do."""
    text = f"{error}\n{error.__cause__ or ''}"
    key = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if key and "'search' is not in struct" in text:
        return f"{key.group(1)} is a setting of a search, and none is chosen: add one, e.g. search=src"
    if key:
        return unknown_key(key.group(1), known_keys(key.group(1)))
    several = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text)
    if several:
        return f"{several.group(1)} is several values: add -m to run each, or write a list as KEY=[VALUE,VALUE]"
    word = re.search(r"Error when parsing index: \d+, string: (.*) out of \[", text)
    if word:
        return f"{word.group(1)} cannot be read: write KEY=VALUE, with quotes round special characters, e.g. sleep.inc=0.03"
    return _first_line(error)


def known_keys(key: str) -> list[str]:
    """The settings that stand beside `key`, with their group."""
    group = key.rpartition(".")[0]
    schema: Any = RunConfig
    parts = group.split(".") if group else []
    if parts[:1] == ["search"]:
        from src_lab.search.config import SearchConfig  # not above: it needs this module

        schema, parts = SearchConfig, parts[1:]
    for part in parts:
        hints = {name: item.type for name, item in schema.__dataclass_fields__.items()}
        if not hasattr(hints.get(part), "__dataclass_fields__"):
            return list(RunConfig.__dataclass_fields__)
        schema = hints[part]
    names = list(schema.__dataclass_fields__)
    if schema is DatasetConfig:
        own = [name for special in SCHEMAS.values() for name in special.__dataclass_fields__ if name not in names]
        names += own if key.rpartition(".")[2] not in own else []  # else it is another data set's, not a misspelling
    return [f"{group}.{name}" if group else name for name in names]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


register_resolvers()  # on import: the process of a launched job has no other moment before its configuration is composed
