"""What a finished search leaves in its folder: its trials as a table, three pictures, and the winner as a preset."""

import logging
import math
import re
import shlex
import statistics
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.figure import Figure
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from src_lab.files import remove_partial, replacing, write_atomically
from src_lab.plots import search as plots
from src_lab.results import git_commit
from src_lab.search.study import Search
from src_lab.settings import build
from src_lab.sleep import SleepConfig

log = logging.getLogger(__name__)

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def write_report(search: Search) -> None:
    """Write `trials.csv`, `history.png`, `importances.png`, `parallel_coordinates.png` and the preset; safe to repeat."""
    study = search.study()
    trials = study.get_trials()
    table = trials_table(trials, search.config.seeds)
    write_atomically(search.folder / "trials.csv", table.to_csv(index=False))
    if not (table["state"] == "complete").any():
        log.warning("no trial is complete, so there is no best one: see the reasons in %s", search.folder / "trials.csv")
        return
    logarithmic = [name for name, item in search.space.distributions.items() if getattr(item, "log", False)]
    _save(plots.history(table), search.folder / "history.png")
    _save(
        plots.parallel_coordinates(table, list(search.space.distributions), logarithmic),
        search.folder / "parallel_coordinates.png",
    )
    shares = importances(study)
    if shares:
        _save(plots.importances(shares), search.folder / "importances.png")
    best = study.best_trial
    preset = _write_preset(search, best, table)
    log.info("best of %d trials: number %d, validation %s", len(trials), best.number, _accuracy(best))
    log.info("to run it:    %s\nor, the same: %s", *_commands(search, best, preset))


def trials_table(trials: Sequence[FrozenTrial], seeds: Sequence[int]) -> pd.DataFrame:
    """A row per trial: what was tried, what came of it, and, recorded but never used, the test accuracy."""
    rows = []
    for trial in trials:
        validation, test = trial.user_attrs.get("validation", {}), trial.user_attrs.get("test", {})
        rows.append(
            {
                "number": trial.number,
                "state": STATES.get(trial.state, "running"),
                "reason": trial.user_attrs.get("reason", ""),
                **trial.params,
                "value": trial.value if trial.state is TrialState.COMPLETE else math.nan,
                "sd": _sd(trial),
                **{f"validation_s{seed}": validation.get(str(seed), math.nan) for seed in seeds},
                "test_not_used": statistics.fmean(test.values()) if test else math.nan,
                "seconds": trial.user_attrs.get("seconds", math.nan),
            }
        )
    return pd.DataFrame(rows)


def importances(study: Study) -> dict[str, float]:
    """Share of the variance that each setting explains; empty, saying so, where there is none to explain."""
    values = {trial.values[0] for trial in study.get_trials(states=[TrialState.COMPLETE])}
    shares: dict[str, float] = {}
    with warnings.catch_warnings(), suppress(RuntimeError):  # trees that all see one value
        warnings.simplefilter("ignore", ExperimentalWarning)
        if len(values) > 1:
            shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    if not shares:
        log.info("importances.png is left out: it takes more complete trials, of different value")
    return shares


def _write_preset(search: Search, best: FrozenTrial, table: pd.DataFrame) -> Path:
    """Write the sleep of the best trial, whole, as `conf/sleep/NAME_best.yaml`; returns the file."""
    name = f"{search.config.name}_best"
    ran = yaml.safe_load((search.trial_folder(best.number) / f"s{search.config.seeds[0]}" / "config.yaml").read_text())
    seeds = ", ".join(map(str, search.config.seeds))
    head = [
        f"Trial {best.number}, the best of {len(table)} ({(table['state'] == 'complete').sum()} complete), of",
        f"python run.py -m {shlex.join(search.command)}",
        f"Validation accuracy {_accuracy(best)}, seeds {seeds}; test images played no part. Commit {git_commit()}.",
    ]
    sleep = asdict(build(SleepConfig, ran["sleep"] | {"name": name}, "sleep"))  # every setting, which config.yaml may lack
    text = "".join(f"# {line}\n" for line in head) + yaml.safe_dump(sleep, sort_keys=False)
    path = search.folder / "conf" / "sleep" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partial(path.parent)
    write_atomically(path, text)
    return path


def _commands(search: Search, best: FrozenTrial, preset: Path) -> tuple[str, str]:
    """How to run the best trial again: its settings typed out, and its sleep taken from the file `preset`."""
    point = search.space.overrides(best.params)
    kept = [text for text in search.fixed if not re.match(r"\W*(search|cluster|evaluate)\b", text)]
    awake = [text for text in (*kept, *point) if not re.match(r"\W*sleep\b", text)]
    path = f"hydra.searchpath=[file://{preset.parents[1].absolute()}]"
    program = ["python", "run.py"]
    return shlex.join([*program, *kept, *point]), shlex.join([*program, path, *awake, f"sleep={preset.stem}"])


def _accuracy(trial: FrozenTrial) -> str:
    """ "72.6 ± 2.9 %", sample sd over the seeds."""
    spread = "" if math.isnan(_sd(trial)) else f" ± {100 * _sd(trial):.2f}"
    return f"{100 * trial.values[0]:.2f}{spread} %"


def _sd(trial: FrozenTrial) -> float:
    by_seed = list(trial.user_attrs.get("validation", {}).values())
    return statistics.stdev(by_seed) if len(by_seed) > 1 else math.nan


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
