"""Trained networks, kept so that no two runs train the same network on the same images from the same start.

Training is a function of the network's weights, the images, the settings and the named streams of random numbers, and of
nothing else. Its result is filed under a hash of all of these, so whatever has the same name is the same, bit for bit,
whichever method, sweep or process made it.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from src_lab.files import alone_at
from src_lab.tensor_files import DamagedFile, load_tensors, save_tensors

log = logging.getLogger(__name__)

GIGABYTE = 10**9


@dataclass
class Cache:
    """A folder of tensors by name, no larger than `limit` bytes: what was used longest ago goes first.

    Safe for many processes at once. Damaged entries are made again. `reused` counts the entries that were found.
    """

    folder: Path
    limit: float
    reused: int = 0

    def get(self, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors filed under `key`, computed and filed if there are none.

        A second process that wants the same waits for the first. A folder that cannot be written is said once per entry
        and not used: a cache may be lost, a run may not.
        """
        found = self._read(key)
        if found is not None:
            self.reused += 1
            return found
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with alone_at(self._path(key).with_suffix(".lock"), "another process is training this network: waiting for it"):
                found = self._read(key)
                if found is not None:
                    self.reused += 1
                else:
                    found = compute()
                    self._write(key, found)
        except OSError as error:
            log.warning("the cache %s cannot be used (%s): going on without it", self.folder, error.strerror)
        return compute() if found is None else found

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _read(self, key: str) -> dict[str, Tensor] | None:
        path = self._path(key)
        try:
            tensors, _ = load_tensors(path)
        except FileNotFoundError:
            return None
        except DamagedFile as damage:
            log.warning("%s: made again", damage)
            return None
        with suppress(OSError):  # read-only, or removed just now
            os.utime(path)  # the time of last use
        return tensors

    def _write(self, key: str, tensors: dict[str, Tensor]) -> None:
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > self.limit:
            return
        self._make_room(size)
        save_tensors(self._path(key), tensors, {})

    def _make_room(self, size: int) -> None:
        """Remove what was used longest ago, what killed processes left half-written included."""
        used = []
        for entry in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process makes room as well
                used.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry))
        total = sum(bytes_ for _, bytes_, _ in used) + size
        for _, bytes_, entry in sorted(used):
            if total <= self.limit:
                break
            if bytes_:  # lock files are empty
                entry.unlink(missing_ok=True)
                total -= bytes_
