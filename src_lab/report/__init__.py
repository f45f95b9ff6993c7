"""One self-contained HTML page about a run, a multirun or a search: `write_report(folder)`."""

from collections.abc import Callable
from pathlib import Path

from src_lab.files import write_atomically
from src_lab.jobs import JOBS
from src_lab.report.multirun import multirun_report, tables_report
from src_lab.report.page import Report
from src_lab.report.render import render
from src_lab.report.run import run_report
from src_lab.report.search import search_report
from src_lab.settings import ConfigError
from src_lab.walk import SEARCH_MARKS

__all__ = ["render", "report_of", "write_report"]

KINDS: tuple[tuple[frozenset[str], Callable[[Path], Report]], ...] = (
    (frozenset({JOBS}), multirun_report),
    (SEARCH_MARKS, search_report),
    (frozenset({"metrics.json", "config.yaml"}), run_report),
    (frozenset({"runs.csv"}), tables_report),
)
"""What a folder is, by any of the files in it; the first that fits."""


def report_of(folder: Path) -> Report:
    """What there is to say about the run, multirun, search or aggregated tables in `folder`.

    Raises ConfigError, one line, when it holds none of them, none that is finished, or a file that cannot be used.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: give the folder of a run, a multirun or a search, e.g. outputs/NAME")
    if (found := _kind(folder)) is not None:
        return KINDS[found][1](folder)
    inside = sorted((kind, path) for path in folder.iterdir() if path.is_dir() and (kind := _kind(path)) is not None)
    more = f" (and {len(inside) - 1} more there)" if len(inside) > 1 else ""
    hint = f"give one in it, e.g. {inside[0][1]}{more}" if inside else "make one with python run.py"
    raise ConfigError(f"{folder} holds no run, multirun or search itself: {hint}")


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page about `folder` to `out`, by default its `report.html`, whole or not at all; returns where it is.

    Raises ConfigError as `report_of` does, and when the page cannot be written.
    """
    path = out or folder / "report.html"
    page = render(report_of(folder), path.parent)
    try:
        write_atomically(path, page)
    except OSError as error:
        raise ConfigError(f"--out={path} cannot be written ({error.strerror}): name a file in another folder") from None
    return path


def _kind(folder: Path) -> int | None:
    """Which of `KINDS` a folder is."""
    fitting = (kind for kind, (marks, _) in enumerate(KINDS) if any((folder / mark).is_file() for mark in marks))
    return next(fitting, None)
