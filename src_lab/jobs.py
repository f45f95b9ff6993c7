"""The jobs of a multirun and how each ended: `jobs.csv`, by which its runs are found again."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from src_lab.files import write_atomically
from src_lab.settings import ConfigError

State = Literal["finished", "failed", "unfinished"]
JOBS = "jobs.csv"
COLUMNS = ("run_id", "folder", "overrides", "state", "reason")


@dataclass(frozen=True)
class Job:
    """One run of a multirun.

    overrides  what the command line says of this run, `hydra.` keys left out
    state      finished: its results are there; failed: it ended with an error of its own; unfinished: neither
    reason     why it is not finished, in one line
    """

    run_id: str
    folder: Path
    overrides: str
    state: State = "unfinished"
    reason: str = ""


def multirun_folder(sweep: Path, run_ids: Iterable[str]) -> Path:
    """Where the tables of a multirun are: named by its runs, so the same multirun given again has the same folder."""
    digest = hashlib.sha256("\n".join(sorted(run_ids)).encode()).hexdigest()
    return sweep / f"multirun-{digest[:8]}"


def write_jobs(folder: Path, jobs: Sequence[Job]) -> None:
    """Write `jobs.csv`; the runs' folders are noted relative to it, so that all of them can be moved together."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**vars(job), "folder": Path(os.path.relpath(job.folder, folder)).as_posix()} for job in jobs]
    write_atomically(folder / JOBS, pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False))


def read_jobs(folder: Path) -> list[Job]:
    """The jobs that `write_jobs` noted. Raises ConfigError, one line, for a file that cannot be used."""
    try:
        table = pd.read_csv(folder / JOBS, dtype=str, keep_default_na=False)
        rows = table[list(COLUMNS)].itertuples(index=False)
    except (OSError, ValueError, KeyError) as error:
        why = f"{folder / JOBS} cannot be read ({type(error).__name__})"
        raise ConfigError(f"{why}: give the command of the multirun again, or the folders of its runs") from None
    return [Job(row[0], Path(os.path.normpath(folder / row[1])), *row[2:]) for row in rows]
