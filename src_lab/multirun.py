"""Hydra's side of a multirun: every run checked before the first starts, and at the end, however it comes, its tables."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from src_lab.config import explain, parse
from src_lab.files import write_atomically
from src_lab.jobs import Job, multirun_folder, write_jobs
from src_lab.results import finished
from src_lab.settings import ConfigError

log = logging.getLogger(__name__)

LAUNCHERS_HERE = ("basic", "joblib")
"""Those whose jobs run on this machine, so that it can be checked for what they need."""
NO_WORD = "it left neither results nor an error"
Overrides = list[str]


class RunsFailed(Exception):
    """Some runs of a multirun are not finished. The message is one line."""


class MultirunSweeper(BasicSweeper):
    """Runs the product of the command line's choices, each run once, and shows what came out.

    A run that fails stops no other. `jobs.csv` and the tables of `src_lab.tables` go into the folder that
    `multirun_folder` names, below `hydra.sweep.dir`. Chosen by `conf/hydra/sweeper/basic.yaml`.
    """

    def sweep(self, arguments: Overrides) -> list[JobReturn]:
        """Run what `arguments` say. Raises ConfigError, with nothing done, for what cannot run; RunsFailed at the end."""
        assert self.config is not None
        plan = self._plan(arguments)
        jobs = [job for job, _ in plan]
        folder = multirun_folder(Path(self.config.hydra.sweep.dir), [job.run_id for job in jobs])
        _remove_notes(folder)
        write_jobs(folder, _ended(folder, jobs, ""))
        returns: list[JobReturn] = []
        stopped: Exception | None = None
        try:
            returns = self._launch(folder, [overrides for _, overrides in plan])
        except Exception as error:  # the launcher's: a worker that died, a cluster that does not answer
            stopped = error
        except BaseException:
            _finish(folder, jobs, "interrupted")
            raise
        missing = _finish(folder, jobs, NO_WORD if stopped is None else reason(stopped))
        if missing:
            more = f" (and {len(missing) - 1} more, above)" if len(missing) > 1 else ""
            why = f"{missing[0].reason}{more}; the same command runs only what is missing"
            raise RunsFailed(f"{len(missing)} of {len(jobs)} runs failed: {why}") from stopped
        return returns

    def _plan(self, arguments: Overrides) -> list[tuple[Job, Overrides]]:
        """Every run with its overrides, checked. Raises ConfigError naming the run that cannot be."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        for override in overrides:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise ConfigError(f"{override.input_line} is for a search: add search=src, or list values, KEY=A,B")
        (choices,) = self.split_arguments(overrides, None)
        shared = Counter(override for choice in choices for override in choice)
        plan: dict[str, tuple[Job, Overrides]] = {}
        folders: dict[Path, str] = {}
        for choice in choices:
            own = " ".join(override for override in choice if shared[override] < len(choices))
            job = self._check(len(plan), choice, own)
            if job.run_id in plan:
                log.info("%s is the same run as %s: it runs once", job.overrides, plan[job.run_id][0].overrides)
                continue
            if job.folder in folders:
                raise ConfigError(
                    f"hydra.sweep.subdir={job.folder.name} is one folder for {folders[job.folder]} and {own}: give each run "
                    "its own, e.g. hydra.sweep.subdir='${run_id:}'"
                )
            folders[job.folder] = own
            plan[job.run_id] = (job, choice)
        return list(plan.values())

    def _check(self, number: int, overrides: Overrides, own: str) -> Job:
        """The run that `overrides` make. Raises ConfigError; `own` are the overrides that tell it from the others."""
        assert self.config is not None
        assert self.hydra_context is not None
        here = self.config.hydra.runtime.choices["hydra/launcher"] in LAUNCHERS_HERE
        try:
            raw = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            run = parse(OmegaConf.masked_copy(raw, [str(key) for key in raw if key != "hydra"]), here=here)
            with open_dict(raw):
                raw.hydra.job.id, raw.hydra.job.num = str(number), number
            folder = Path(os.path.normpath(Path(raw.hydra.sweep.dir) / raw.hydra.sweep.subdir))
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            raise ConfigError(f"{own}: {message}" if own and own not in message else message) from error
        return Job(run.run_id, folder, " ".join(filter_overrides(overrides)))

    def _launch(self, folder: Path, choices: Sequence[Overrides]) -> list[JobReturn]:
        assert self.hydra_context is not None
        assert self.launcher is not None
        # Not `hydra.callbacks`: only this sweeper knows the folder. Launchers hand the context's callbacks to every job.
        self.hydra_context.callbacks.callbacks.append(NoteFailure(str(folder.absolute())))
        size = len(choices) if self.max_batch_size in (None, -1) else self.max_batch_size
        returns: list[JobReturn] = []
        for start in range(0, len(choices), size):
            returns += self.launcher.launch(choices[start : start + size], initial_job_idx=start)
        return returns


@dataclass(frozen=True)
class NoteFailure(Callback):
    """In the process of a job: notes why it failed, so that it is known even if the launcher breaks before it returns."""

    folder: str

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: object) -> None:  # noqa: ARG002  # Hydra's
        if job_return.status != JobStatus.FAILED:
            return
        try:
            _ = job_return.return_value
        except Exception as error:
            log.error("#%s failed: %s", config.hydra.job.num, reason(error))
            write_atomically(_note(Path(self.folder), config.hydra.job.num), reason(error))


def reason(error: BaseException) -> str:
    """Any error in one line: what `explain` says of it, or else its type and message."""
    said = explain(error)
    text = f"{type(error).__name__}: {error}".removesuffix(": ") if said is None else said
    return text.strip().partition("\n")[0]


def _finish(folder: Path, jobs: Sequence[Job], otherwise: str) -> list[Job]:
    """Write `jobs.csv` and the tables, show what there is to say, and return the jobs that are not finished."""
    # Half a second to import, which single runs need not wait for.
    from src_lab.aggregate import find_runs
    from src_lab.tables import write_tables

    ended = _ended(folder, jobs, otherwise)
    write_jobs(folder, ended)
    _remove_notes(folder)
    missing = [job for job in ended if job.state != "finished"]
    runs = find_runs([folder])
    lines = [] if runs.table.empty else [str(write_tables(runs, folder))]
    lines += [f"{job.state}: {job.overrides}: {job.reason}" for job in missing]
    known = {job.folder.as_posix() for job in missing}
    lines += [f"not counted: {row.folder}: {row.why}" for row in runs.problems.itertuples() if row.folder not in known]
    sys.stdout.write("\n".join(["", *lines, ""]))
    sys.stdout.flush()
    return missing


def _ended(folder: Path, jobs: Sequence[Job], otherwise: str) -> list[Job]:
    """How every job ended; `otherwise` is the reason where there are neither results nor a note."""
    ended = []
    for number, job in enumerate(jobs):
        note, done = _note(folder, number), finished(job.folder)
        if note.exists():
            ended.append(replace(job, state="failed", reason=note.read_text(encoding="utf-8")))
        elif done is not None and done.get("run_id") == job.run_id:
            ended.append(replace(job, state="finished"))
        else:
            ended.append(replace(job, state="unfinished", reason=otherwise))
    return ended


def _note(folder: Path, number: int) -> Path:
    return folder / f".job-{number}.failed"


def _remove_notes(folder: Path) -> None:
    for note in folder.glob(".job-*.failed"):
        note.unlink(missing_ok=True)
