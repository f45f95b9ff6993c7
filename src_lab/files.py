"""Files that are there whole or not at all, even when the disk is full or the machine stops in the middle."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `path` at the end, unless writing fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())  # or a power cut could leave the new name on an empty file
        partial.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk does not say which file did not fit
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove what processes that were killed left half-written in `folder`. For the one process that writes there."""
    for left in folder.glob(".*.partial"):
        left.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file, replacing what is there at once."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def alone_at(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock file `path`; another process that wants it says `waiting` and waits. A killed holder holds nothing."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info(waiting)
        lock.acquire()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: filelock lets no one keep a lock on a file that is gone
        lock.release()
