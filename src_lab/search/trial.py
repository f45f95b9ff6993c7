"""One trial: one point of the space, run once per seed of the search. Knows no database, so it runs on any machine."""

import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from src_lab.checkpoint import Checkpoints
from src_lab.config import RunConfig, explain, parse
from src_lab.experiment import AfterStage, ensure
from src_lab.files import write_atomically
from src_lab.search.config import SearchConfig, search_config
from src_lab.settings import ConfigError

log = logging.getLogger(__name__)

State = Literal["complete", "pruned", "failed"]


@dataclass
class Outcome:
    """What became of a trial; `trial.json` in its folder.

    value         mean validation accuracy over the seeds; None unless complete
    validation    by seed
    test          by seed: recorded, never used
    intermediates validation accuracy after `prune_after` tasks, seed by seed, as far as measured
    seconds       of the runs
    reason        why it failed or was pruned
    """

    state: State = "complete"
    value: float | None = None
    validation: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    intermediates: list[float] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""

    @property
    def sd(self) -> float | None:
        """Sample standard deviation of the validation accuracy over the seeds, None for fewer than two."""
        return statistics.stdev(self.validation.values()) if len(self.validation) > 1 else None


class HopelessTrial(Exception):
    """A trial that fell below the floor of its search; `measured` are its intermediate accuracies."""

    def __init__(self, measured: list[float], floor: float) -> None:
        mean, seeds = statistics.fmean(measured), len(measured)
        super().__init__(f"mean accuracy {mean:.4f} of {seeds} early looks is below the floor, {floor:.4f}")
        self.measured = measured


class NotMeasured(ArithmeticError):
    """A run that ended without a finite validation accuracy. The message is one line."""


def run_trial(raw: DictConfig, folder: Path) -> dict[str, Any]:
    """Run the trial that `raw` says, in `folder`, going on where it was interrupted; returns its Outcome as a mapping.

    What goes wrong with the point that is tried is the outcome. Raises, for the whole search to stop, what is wrong with
    anything else: OSError, or ConfigError, the latter for a configuration that is no trial too.
    """
    search = search_config(OmegaConf.to_container(raw.search, resolve=True))
    if search.trial is None:
        raise ConfigError(f"search={search.name} is many runs: add -m, python run.py -m search={search.name}")
    path = folder / "trial.json"
    if not path.exists():
        write_atomically(path, json.dumps(asdict(_run(raw, search, folder)), indent=2) + "\n")
    outcome: dict[str, Any] = json.loads(path.read_text())
    return outcome


def outcome_of(values: Mapping[str, Any]) -> Outcome:
    """The Outcome that `run_trial` returned as a mapping."""
    return Outcome(**values)


def _run(raw: DictConfig, search: SearchConfig, folder: Path) -> Outcome:
    """Run the trial, whatever becomes of it."""
    try:
        config = parse(raw)
    except ConfigError as error:  # of this point: the search has checked all that its trials share
        return Outcome("failed", reason=str(error))
    outcome, started = Outcome(), time.perf_counter()
    try:
        for seed in search.seeds:
            _run_seed(replace(config, seed=seed), search, folder / f"s{seed}", outcome)
        return replace(outcome, value=statistics.fmean(outcome.validation.values()))
    except (OSError, ConfigError):
        raise
    except HopelessTrial as stop:
        outcome = replace(outcome, state="pruned", reason=str(stop), intermediates=stop.measured)
    except Exception as error:
        log.debug("trial %s failed", search.trial, exc_info=True)
        reason = explain(error) or f"{type(error).__name__}: {error}".splitlines()[0]
        outcome = replace(outcome, state="failed", reason=reason)
    for seed in search.seeds:
        Checkpoints.clear(folder / f"s{seed}")  # this run will not go on
    return replace(outcome, seconds=time.perf_counter() - started)


def _run_seed(config: RunConfig, search: SearchConfig, folder: Path, outcome: Outcome) -> None:
    """Run one seed and add to `outcome` what it measured. Raises HopelessTrial, NotMeasured and what `ensure` raises."""
    metrics = ensure(config, folder, _judge(config, search, outcome.intermediates))
    outcome.validation[str(config.seed)] = _finite(metrics["validation_accuracy"], config.seed)
    outcome.test[str(config.seed)] = metrics["final_accuracy"]
    outcome.seconds += metrics["wall_seconds"]["total"]
    intermediate = metrics["stage_validation"].get(str(search.prune_after))
    if intermediate is not None:
        outcome.intermediates.append(intermediate)


def _finite(validation: float | None, seed: int) -> float:
    if validation is None or not math.isfinite(validation):
        raise NotMeasured(f"the run of seed {seed} has no finite validation accuracy")
    return validation


def _judge(config: RunConfig, search: SearchConfig, earlier: list[float]) -> AfterStage | None:
    """What stops a run whose accuracy after `prune_after` tasks, with those of the `earlier` seeds, is below the floor.

    None where that accuracy tells nothing, since the network sleeps later.
    """
    if search.prune_after is None or config.method.sleep_after != "each_task":
        return None
    floor = search.floors[len(earlier)] if len(earlier) < len(search.floors) else -math.inf

    def after_stage(done: int, validate: Callable[[], float]) -> None:
        if done == search.prune_after:
            measured = [*earlier, _finite(validate(), config.seed)]
            if statistics.fmean(measured) < floor:
                raise HopelessTrial(measured, floor)

    return after_stage
