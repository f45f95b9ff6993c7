"""The study of a search: its trials, in a database that many processes may share and that survives any of them.

Every change happens under the study's lock. A trial is entered at once with its parameters; whoever runs it holds the lock
of its folder for as long as it lives, so a running trial whose lock is free was interrupted, and the next to ask gets it.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from src_lab.files import remove_partial, write_atomically
from src_lab.search.config import SearchConfig
from src_lab.search.samplers import GridConfig, grid_size
from src_lab.search.space import Space
from src_lab.search.trial import Outcome
from src_lab.settings import ConfigError

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
NOTE = "search.yaml"
"""Says which search a folder holds; `src_lab.walk` knows it as a mark of one."""
DATABASE_TIMEOUT_S = 600
"""How long a process waits for others to let go of a SQLite file."""


@dataclass(frozen=True)
class Search:
    """A search and the folder it lives in.

    preset   the parameters of the settings as they are, tried first; None to leave that out
    command  the overrides as typed
    fixed    those of them that every trial has
    threads  of each run, noted with the trial so that one that is taken up again gives the same numbers
    """

    folder: Path
    id: str
    config: SearchConfig
    space: Space
    preset: dict[str, Any] | None
    command: list[str]
    fixed: list[str]
    threads: int | None

    @property
    def total(self) -> int:
        """Trials there will be: `n_trials`, or the whole grid where that is smaller."""
        n_trials = self.config.n_trials
        is_grid = isinstance(self.config.sampler, GridConfig)
        return min(n_trials, grid_size(self.space.distributions)) if is_grid else n_trials

    def open(self) -> None:
        """Make the folder and the study unless they are there. Raises ConfigError when the folder holds another search."""
        if self.config.storage is not None:
            optuna.get_all_study_names(self._storage)  # it answers: said before anything is written
        note = self.folder / NOTE
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock():
            remove_partial(self.folder)
            if not note.exists():
                write_atomically(note, yaml.safe_dump({"search_id": self.id, "command": self.command}, sort_keys=False))
            held = yaml.safe_load(note.read_text())["search_id"]
            if held != self.id:
                raise ConfigError(
                    f"hydra.sweep.dir={self.folder} holds another search, {held}, not {self.id}: choose another folder"
                )
            optuna.create_study(study_name=self.id, storage=self._storage, direction="maximize", load_if_exists=True)

    def study(self) -> optuna.Study:
        """The study as it stands."""
        return optuna.load_study(study_name=self.id, storage=self._storage, sampler=optuna.samplers.RandomSampler())

    @contextmanager
    def take(self) -> Iterator[FrozenTrial | None]:
        """A trial to run, an interrupted one first, held while the context lasts; None when there is none to be had."""
        with self.lock():
            taken = self._take_up() or self._ask()
        if taken is None:
            yield None
            return
        trial, lock = taken
        try:
            yield trial
        finally:
            lock.release()

    def tell(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Note what became of a trial; safe to repeat."""
        with self.lock():
            study = self.study()
            writable = Trial(study, trial._trial_id)
            for key in ("validation", "sd", "test", "seconds", "reason"):
                writable.set_user_attr(key, getattr(outcome, key))
            for step in range(len(trial.intermediate_values), len(outcome.intermediates)):
                writable.report(statistics.fmean(outcome.intermediates[: step + 1]), step)
            study.tell(trial.number, outcome.value, STATES[outcome.state])

    def lock(self) -> FileLock:
        """Held by the one process that writes to the folder or the study."""
        return FileLock(self.folder / ".lock")

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"trial-{number}"

    def _take_up(self) -> tuple[FrozenTrial, FileLock] | None:
        """A trial that was being run by a process that is no more, with its lock, held."""
        for trial in self.study().get_trials(states=[TrialState.RUNNING]):
            lock = self._trial_lock(trial.number)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            return trial, lock
        return None

    def _ask(self) -> tuple[FrozenTrial, FileLock] | None:
        """A new trial with its lock, held, unless there are enough."""
        study = self.study()
        earlier = study.get_trials()
        number = len(earlier)
        if number >= self.total:
            return None
        lock = self._trial_lock(number)
        lock.acquire()
        study.add_trial(self._suggest(earlier))
        return study.get_trials()[number], lock

    def _suggest(self, earlier: list[FrozenTrial]) -> FrozenTrial:
        """What to try after `earlier`: drawn in a copy of the study, to be entered into the study itself in one piece."""
        number, distributions = len(earlier), self.space.distributions
        facts = {"floors": self._floors(earlier), "threads": self.threads}
        if number == 0 and self.preset is not None:
            return create_trial(state=TrialState.RUNNING, params=self.preset, distributions=distributions, user_attrs=facts)
        sampler = self.config.sampler.make(distributions, self.config.seed, number)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(earlier)
        copy.ask(distributions)
        drawn = copy.get_trials()[number]
        return create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=distributions,
            user_attrs=facts,
            system_attrs=drawn.system_attrs,
        )

    def _floors(self, earlier: list[FrozenTrial]) -> list[float]:
        """By number of seeds, the quantile `prune_below` of what earlier trials had by then, where enough did."""
        floors = []
        for step in range(len(self.config.seeds)):
            reached = [
                t.intermediate_values[step] for t in earlier if t.state.is_finished() and step in t.intermediate_values
            ]
            if len(reached) < self.config.startup_trials:
                break
            floors.append(float(np.quantile(reached, self.config.prune_below)))
        return floors

    @cached_property
    def _storage(self) -> BaseStorage:
        if self.config.storage is None:
            path = self.folder.absolute() / "study.db"
            return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": DATABASE_TIMEOUT_S}})
        try:
            return RDBStorage(self.config.storage)
        except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
            raise ConfigError(f"search.storage cannot be used: {str(error).splitlines()[0]}") from None

    def _trial_lock(self, number: int) -> FileLock:
        folder = self.trial_folder(number)
        folder.mkdir(exist_ok=True)
        return FileLock(folder / ".lock")
