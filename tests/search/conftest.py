"""Searches for tests: real ones of small runs, by command line, and bare studies with an objective that takes no time."""

import itertools
import multiprocessing
import random
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import run as entrypoint
from src_lab.search.config import SearchConfig
from src_lab.search.samplers import SAMPLERS
from src_lab.search.space import Space
from src_lab.search.study import Search
from src_lab.search.trial import Outcome

SMALL = [
    "search=src",
    "experiment=digits",
    "dataset.num_tasks=3",
    "model.widths=[20,20]",
    "train.epochs=2",
    "sleep.iterations=30",
    "search.seeds=[0,1]",
    "search.sampler.startup_trials=2",
    "search.startup_trials=3",
    "threads=1",
    "cache=off",
]
"""A search whose trial takes a fraction of a second."""
CONTINUOUS = {"a": FloatDistribution(0.01, 1, log=True), "b": FloatDistribution(-1, 1), "n": IntDistribution(1, 9)}
DISCRETE = {"a": CategoricalDistribution(["x", "y"]), "n": IntDistribution(0, 4, step=2)}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`python run.py -m`, small, with overrides, in this process and in the test's folder."""

    def call(*overrides: str, settings: list[str] = SMALL) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [entrypoint.__file__, "-m", *settings, *overrides])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        entrypoint.cli()

    return call


def bare(folder: Path, sampler: str = "tpe", n_trials: int = 6, **changes: object) -> Search:
    """A search without runs."""
    settings = {"startup_trials": 3} if sampler in ("tpe", "cmaes") else {}
    config = SearchConfig(
        **{
            "name": "bare",
            "n_trials": n_trials,
            "seeds": [0, 1, 2],
            "workers": 1,
            "seed": 5,
            "storage": None,
            "include_preset": False,
            "prune_after": 1,
            "prune_below": 0.5,
            "startup_trials": 2,
            "sampler": SAMPLERS[sampler](name=sampler, **settings),
            **changes,
        }
    )
    space = Space(dict(DISCRETE if sampler == "grid" else CONTINUOUS), {})
    search = Search(folder, "0123abcd", config, space, None, [], [], None)
    search.open()
    return search


def outcome_at(params: dict[str, object]) -> Outcome:
    """What a trial of a bare search gives: a smooth function of the point."""
    value = 0.5 - sum((float(x) - 0.3) ** 2 if isinstance(x, (int, float)) else 0.1 for x in params.values()) / 100
    return Outcome(value=value, validation={"0": value, "1": value, "2": value}, intermediates=[value, value, value])


def work_through(search: Search, stop_after: int | None = None) -> None:
    """Take and tell trials until there are none, or so many are done."""
    done = 0
    while done != stop_after:
        with search.take() as trial:
            if trial is None:
                return
            search.tell(trial, outcome_at(trial.params))
            done += 1


def told(search: Search) -> list[tuple[object, ...]]:
    """Everything about every trial that must not depend on how often the search was interrupted."""
    return [described(trial) for trial in search.study().get_trials()]


def described(trial: optuna.trial.FrozenTrial) -> tuple[object, ...]:
    facts = {key: value for key, value in trial.user_attrs.items() if key != "seconds"}
    return trial.number, trial.state, trial.params, trial.values, trial.intermediate_values, facts


def among_kills(target: Callable[[Path], None], parent: Path, longest: float, kills: int) -> list[Path]:
    """Run `target` in processes of which so many are killed, after `longest` seconds or less; the folders that it finished.

    A killed process is followed by one at the same folder, one that ended by one at the next.
    """
    moments = random.Random(0)
    finished: list[Path] = []
    folders = (parent / f"broken-{number}" for number in itertools.count())
    folder = next(folders)
    while True:
        process = multiprocessing.get_context("fork").Process(target=target, args=(folder,))
        process.start()
        process.join(moments.uniform(0, longest) if kills else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills -= 1
            continue
        assert process.exitcode == 0
        finished.append(folder)
        if not kills:
            return finished
        folder = next(folders)
