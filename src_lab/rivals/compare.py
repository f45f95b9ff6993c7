"""One method in one setting: tuned on validation images with one seed, then run with others, unless recorded."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from src_lab.config import CONF, composed, explain, parse
from src_lab.experiment import ensure
from src_lab.ledger import Row, day_of
from src_lab.results import git_commit
from src_lab.rivals.record import ALIKE, Record, configured, run_row
from src_lab.run_folder import flatten
from src_lab.settings import ConfigError, as_plain

TUNED_ON = 0
SEEDS = range(10, 15)
"""Not the seed that was tuned on."""
LEARNING_RATE = "train.learning_rate=tag(log,interval(0.003,0.3))"


@dataclass(frozen=True)
class Plan:
    """What to do with every method.

    record    where rows are added, one as soon as it is known
    setting   overrides of every run
    out       where trials and runs are made
    trials    of each method's search
    seeds     to run with
    tuned_in  the record to take tuned settings from, instead of searching
    """

    record: Record
    setting: str
    out: Path
    trials: int
    seeds: Sequence[int]
    tuned_in: Record | None = None


def compare(plan: Plan, method: str, ranges: Sequence[str]) -> str:
    """Tune `method` and run it with every seed, unless recorded; returns what went wrong, or nothing."""
    record = plan.record
    try:
        if method not in record.tuned.rows():
            record.tuned.add([_borrow(plan, method) if plan.tuned_in else tune(plan, method, ranges)])
        for seed in plan.seeds:
            config = record.config(method, seed)
            if config.run_id not in record.runs.rows():
                folder = plan.out / "runs" / config.run_id
                ensure(config, folder)
                record.runs.add([run_row(folder, plan.setting, record.tuned.rows()[method]["overrides"])])
    except Exception as error:  # one method that fails must not stop the others
        return f"{method}: {explain(error) or repr(error)}"
    return ""


def tune(plan: Plan, method: str, ranges: Sequence[str]) -> dict[str, Any]:
    """The row of tuned.csv for the trial with the highest validation accuracy."""
    folder = _search(plan, method, ranges)
    trials = pd.read_csv(folder / "trials.csv")
    best = max(trials.dropna(subset=["value"]).to_dict("records"), key=lambda trial: trial["value"])
    settings = folder / f"trial-{best['number']}" / f"s{TUNED_ON}" / "config.yaml"
    return {
        "method": method,
        "setting": plan.setting,
        "validation_accuracy": best["value"],
        "trials": len(trials),
        "seed": TUNED_ON,
        "overrides": chosen(method, plan.setting, settings),
        "commit": git_commit(),
        "date": day_of(folder / "trials.csv"),
    }


def chosen(method: str, setting: str, path: Path) -> str:
    """The overrides that make the run of `method` in this setting what the config.yaml at `path` says."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    default = flatten(as_plain(composed([f"method={method}", *setting.split()])))
    own = flatten({key: value for key, value in settings.items() if isinstance(value, dict)})
    overrides = " ".join(f"{key}={value}" for key, value in own.items() if default.get(key) != value)
    wanted = parse(settings | {"evaluate": "each_stage", "threads": 1})
    if configured(method, setting, overrides, TUNED_ON).hash != wanted.hash:
        raise ConfigError(
            f"{path}: its run is not what {overrides} makes of method={method}: tune again with an empty --out"
        )
    return overrides


def _search(plan: Plan, method: str, ranges: Sequence[str]) -> Path:
    """The folder of the method's search, which has ended."""
    folder = plan.out.absolute() / "tune" / method
    preset = "src" if method == "src" else "rival"
    search = [f"search={preset}", f"search.n_trials={plan.trials}", f"search.seeds=[{TUNED_ON}]", "search.prune_after=null"]
    command = [sys.executable, str(CONF.parent / "run.py"), "-m", *search, f"method={method}", LEARNING_RATE, *ranges]
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as said:
        words = [*command, *plan.setting.split(), ALIKE[0], f"hydra.sweep.dir={folder}"]
        done = subprocess.run(words, stdout=said, stderr=said)
    if done.returncode:
        raise ConfigError(f"the search failed, see {log}")
    return folder


def _borrow(plan: Plan, method: str) -> Row:
    """The row of tuned.csv for settings that were tuned elsewhere."""
    assert plan.tuned_in is not None
    rows = plan.tuned_in.tuned.rows()
    if method not in rows:
        raise ConfigError(
            f"--tuned-in={plan.tuned_in.folder} has not tuned it: tune it there first, or leave out --tuned-in"
        )
    return rows[method] | {"setting": plan.setting, "tuned_in": rows[method]["tuned_in"] or plan.tuned_in.name}
