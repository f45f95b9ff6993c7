"""Who works on a search: this process, or several that it starts."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import joblib
from optuna.trial import FrozenTrial

from src_lab.search.study import Search
from src_lab.search.trial import Outcome, outcome_of
from src_lab.settings import ConfigError

log = logging.getLogger(__name__)

PARENT = "SRC_LAB_SEARCH_PARENT"
"""Environment variable by which a worker knows the process that started it."""
PATIENCE_S = 10
"""How long workers may take to stop after Ctrl-C."""
Launch = Callable[[FrozenTrial], Mapping[str, Any]]
"""Runs a trial and returns its Outcome as a mapping."""


def work(search: Search, launch: Launch) -> None:
    """Run trials until there is none left to take, alone or with `search.workers` processes, then report.

    Raises what stopped a run that a trial cannot be blamed for; the same command goes on from there.
    """
    if search.config.workers > 1 and PARENT not in os.environ:
        _start_workers(search.config.workers)
    else:
        _run_trials(search, launch)
    if PARENT not in os.environ:
        _finish(search)


def share_of_cores(workers: int) -> int | None:
    """Threads for each run when several workers share this machine; None where one has it alone."""
    return None if workers == 1 else max(1, joblib.cpu_count() // workers)


def _run_trials(search: Search, launch: Launch) -> None:
    parent = os.environ.get(PARENT)
    while parent is None or parent == str(os.getppid()):  # a worker whose parent was killed stops as well
        with search.take() as trial:
            if trial is None:
                return
            outcome = outcome_of(launch(trial))
            search.tell(trial, outcome)
            _log_trial(search, trial.number, outcome)


def _start_workers(count: int) -> None:
    """Start this very command `count` times, as workers, and wait for them."""
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}  # run.py sets it for itself
    environment[PARENT] = str(os.getpid())
    workers = [subprocess.Popen([sys.executable, *sys.argv], env=environment) for _ in range(count)]
    try:
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:  # Ctrl-C reaches them too: let them end on their own first
            try:
                worker.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                worker.terminate()
                worker.wait()


def _log_trial(search: Search, number: int, outcome: Outcome) -> None:
    if outcome.value is None:
        log.info("trial %d of %d: %s, %s", number, search.total, outcome.state, outcome.reason)
        return
    best = search.study().best_trial
    log.info(
        "trial %d of %d: validation %.2f %%, best so far %.2f %% (trial %d)",
        number, search.total, 100 * outcome.value, 100 * best.values[0], best.number,
    )  # fmt: skip


def _finish(search: Search) -> None:
    """Write the report, if this process is the one that finds every trial finished."""
    trials = search.study().get_trials()
    open_trials = search.total - sum(trial.state.is_finished() for trial in trials)
    if open_trials > 0 and search.config.workers > 1:
        raise ConfigError(f"{open_trials} of {search.total} trials are not finished: the same command goes on from here")
    if open_trials > 0:
        log.info("%d of %d trials are still run by other processes, the last of which reports", open_trials, search.total)
        return
    from src_lab.search.report import write_report  # scikit-learn and plotting, which only the last process needs

    with search.lock():
        write_report(search)
