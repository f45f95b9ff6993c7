"""Where runs are: every run folder at or below the folders that a user names."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from src_lab.jobs import JOBS, read_jobs
from src_lab.settings import ConfigError

log = logging.getLogger(__name__)

SEARCH_MARKS = frozenset({"study.db", "search.yaml"})
WITHOUT_RUNS = frozenset({"checkpoints"})
"""Folders in a run's folder that hold no runs and may hold much else."""


def walk(roots: Sequence[Path]) -> Iterator[tuple[Path, str | None]]:
    """Every run folder at or below `roots`, once, in order of name, beside None or why it cannot be counted.

    A run folder holds a config.yaml or a metrics.json. Hidden folders are passed over (Hydra keeps a config.yaml in
    `.hydra`), and so are the folders of searches, whose trials nobody asked for one by one; a search's folder, or one in
    it, is looked into when it is a root itself. A root with a `jobs.csv` stands for the runs that this names, in its
    order. Links are followed, and a folder reached twice is told by its inode.

    Raises ConfigError for a root that is not a folder and a jobs.csv that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    for root in roots:
        if not root.is_dir():
            raise ConfigError(f"{root} is not a folder: give folders of runs, e.g. outputs")
        if (root / JOBS).is_file():
            yield from _walk_jobs(root, seen)
        else:
            yield from _walk_below(root, seen)


def _walk_jobs(root: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str | None]]:
    for job in read_jobs(root):
        if job.folder.is_dir() and not _first_visit(job.folder, seen):
            continue
        is_finished = (job.folder / "metrics.json").exists()
        yield job.folder, None if is_finished else f"not finished: {job.reason}".removesuffix(": ")


def _walk_below(root: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str | None]]:
    unreadable: list[OSError] = []
    for path, below, files in os.walk(root, onerror=unreadable.append, followlinks=True):
        folder = Path(path)
        is_search = folder != root and _is_search(folder.name, below, files)
        if is_search:
            log.info("%s holds the trials of a search, not counted: name this folder to aggregate them", folder.as_posix())
        if is_search or not _first_visit(folder, seen):
            below.clear()
            continue
        is_run = "config.yaml" in files or "metrics.json" in files
        below[:] = sorted(name for name in below if not (name.startswith(".") or (is_run and name in WITHOUT_RUNS)))
        if is_run:
            yield folder, None
    for error in unreadable:
        yield Path(error.filename), f"cannot be read: {error.strerror}"


def _is_search(name: str, below: Sequence[str], files: Sequence[str]) -> bool:
    """Whether a folder is a search's: by its files, or, where its study is in a database elsewhere, by its trials."""
    has_trials = name.startswith("search-") and any(each.startswith("trial-") for each in below)
    return has_trials or not SEARCH_MARKS.isdisjoint(files)


def _first_visit(folder: Path, seen: set[tuple[int, int]]) -> bool:
    status = os.stat(folder)
    inode = (status.st_dev, status.st_ino)
    if inode in seen:
        return False
    seen.add(inode)
    return True
