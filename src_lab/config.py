"""The schema of a run: every group of `conf/`, checked before any work, and the identity of a run.

YAML files hold the values, the dataclasses here and in the rooms that use them hold type, unit, range and source. The one
module that knows Hydra.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src_lab.data import DatasetConfig
from src_lab.methods import METHODS, MethodConfig
from src_lab.models import ModelConfig
from src_lab.settings import ConfigError, Range, build, setting, unknown_key
from src_lab.sleep import NonFiniteError, SleepConfig
from src_lab.sleep.simulate import choose
from src_lab.training import DivergedError, TrainConfig

NOT_IDENTITY = ("name", "seed", "force")
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

    @property
    def sleeps(self) -> bool:
        return self.method.sleep_after != "never"

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits of what the run computes: equal for equal settings, whatever the seed or folder."""
        identity = {key: value for key, value in asdict(self).items() if key not in NOT_IDENTITY}
        del identity["dataset"]["root"]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def run_id(self) -> str:
        return f"{self.name}-{self.hash}-s{self.seed}"


def parse(raw: DictConfig | Mapping[str, Any]) -> RunConfig:
    """The composed configuration as a checked RunConfig. Raises ConfigError, one line, for whatever is wrong in it."""
    values = OmegaConf.to_container(raw, resolve=True) if isinstance(raw, DictConfig) else raw
    assert isinstance(values, Mapping)
    plain = {str(key): value for key, value in values.items() if key != "hydra"}
    method = plain.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    if not isinstance(method, Mapping) or name not in METHODS:
        raise ConfigError(f"method.name={name} is not a method: allowed are {', '.join(METHODS)}; e.g. method=src")
    groups = build(RunConfig, {**plain, "method": {"name": name, "sleep_after": "never"}})
    config = RunConfig(**{**vars(groups), "method": build(METHODS[name].config, method, "method")})
    _check_together(config)
    return config


def device_of(config: RunConfig) -> torch.device:
    """The device to run on. Raises ConfigError when it is not there."""
    has_gpu = torch.cuda.is_available()
    if config.device == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        device = torch.device(config.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        allowed = "auto, cpu, cuda or cuda:N" if has_gpu else "auto or cpu (there is no usable GPU here)"
        raise ConfigError(f"device={config.device} cannot be used: allowed are {allowed}; e.g. device=cpu") from None
    return device


def register_resolvers() -> None:
    """Make `${run_id:}` available to YAML: the run's identity, computed from the whole checked configuration."""
    OmegaConf.register_resolver("run_id", _resolve_run_id, replace=True)


def explain(error: BaseException) -> str | None:
    """One line for an error that a user's input caused, or None for any other."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (ConfigError, DivergedError, NonFiniteError)):
            return str(cause)
        if isinstance(cause, OSError) and cause.filename is not None:
            return f"{cause.filename}: {cause.strerror}; free or choose another folder, e.g. hydra.run.dir=FOLDER"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, MissingConfigException):
        return _explain_missing(error)
    if "Config group override must be" in str(error):  # Hydra's for `sleep=3`
        return "a group of settings takes the name of a file in conf/, e.g. sleep=python_mnist; one key is sleep.KEY=VALUE"
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _explain_override(error)
    return None


def _resolve_run_id(*, _root_: DictConfig) -> str:
    # Hydra's own values cannot be resolved while they are being made: leave them out.
    return parse(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])).run_id


def _check_together(config: RunConfig) -> None:
    """Refuse settings that are fine each but impossible together."""
    device = device_of(config)
    METHODS[config.method.name].check(config.method, config.model)
    if not config.sleeps:
        return
    layers = len(config.model.widths) + 1
    for key in ("alpha", "beta", "alpha_scale", "beta_scale"):
        if key != "alpha" or config.sleep.scaling == "fixed":
            config.sleep.per_layer(key, layers)
    choose(config.sleep.backend, device)
    if config.sleep.keep_best and config.sleep.record_every is None:
        raise ConfigError(
            "sleep.keep_best=true needs recorded steps to choose from, but sleep.record_every=null: give a number of steps, "
            "e.g. sleep.record_every=100"
        )
    if config.model.bias:
        raise ConfigError(
            f"model.bias=true is not possible with method.sleep_after={config.method.sleep_after}: sleep has no rule for "
            "biases yet; use model.bias=false or method.sleep_after=never"
        )


def _explain_missing(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    allowed = ", ".join(str(option) for option in error.options or ())
    return f"{group or 'config'}={name} does not exist: allowed are {allowed}" if allowed else _first_line(error)


def _explain_override(error: Exception) -> str:
    """Hydra and OmegaConf speak in paragraphs; keep the key and what to do."""
    text = f"{error}\n{error.__cause__ or ''}"
    key = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if key:
        return unknown_key(key.group(1), known_keys(key.group(1)))
    word = re.search(r"Error when parsing index: \d+, string: (.*) out of \[", text)
    if word:
        return f"{word.group(1)} cannot be read: write KEY=VALUE, with quotes round special characters, e.g. sleep.inc=0.03"
    return _first_line(error)


def known_keys(key: str) -> list[str]:
    """The settings that stand beside `key`, with their group."""
    group = key.rpartition(".")[0]
    schema: Any = RunConfig
    for part in group.split(".") if group else []:
        hints = {name: item.type for name, item in schema.__dataclass_fields__.items()}
        if not hasattr(hints.get(part), "__dataclass_fields__"):
            return list(RunConfig.__dataclass_fields__)
        schema = hints[part]
    return [f"{group}.{name}" if group else name for name in schema.__dataclass_fields__]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
