"""The four IDX files of MNIST and its kin: checked by SHA-256, put in place whole or not at all, then read."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from src_lab.settings import ConfigError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

Fetch = Callable[[Path], Path]
"""Puts files into or below the folder given and returns the folder where they are."""


@dataclass(frozen=True)
class IdxFiles:
    """The files of one data set in torchvision's layout, `<root>/<name>/raw/`.

    sha256  digests of the unpacked files, in the order of FILES
    remedy  what to do when they cannot be had, for error messages; `{folder}` stands for the folder they belong in
    """

    name: str
    sha256: tuple[str, str, str, str]
    remedy: str

    def folder(self, root: Path) -> Path:
        return root / self.name / "raw"

    def missing(self, root: Path) -> list[str]:
        """Names of the files that are not there. Raises ConfigError for one that is there but not as it should be."""
        absent = []
        for path in (self.folder(root) / file for file in FILES):
            try:
                if not self._is_intact(path):
                    raise self.failure(root, f"{path} is corrupt (its SHA-256 is not that of {self.name}), delete it")
            except (FileNotFoundError, NotADirectoryError):
                absent.append(path.name)
            except OSError as error:
                raise self.failure(root, f"{path} cannot be read ({error.strerror})") from None
        return absent

    def install(self, root: Path, fetch: Fetch) -> None:
        """Fetch the files into a temporary folder, verify them there and move the missing ones into place, one by one.

        Safe against interruption and against other processes doing the same: a file appears whole or not at all. Raises
        ConfigError when the folder cannot be written or what was fetched is corrupt.
        """
        folder = self.folder(root)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".incomplete-", dir=folder) as temporary:
                fetched = fetch(Path(temporary))
                for file in self.missing(root):
                    if not self._is_intact(fetched / file):
                        raise self.failure(root, f"the copy of {file} fetched for {folder} is corrupt")
                    os.replace(fetched / file, folder / file)
        except OSError as error:
            raise ConfigError(
                f"dataset.root={root} cannot hold {self.name} ({error.strerror}: {error.filename}): "
                "give a folder you can write to, dataset.root=FOLDER"
            ) from None

    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Images (n, height, width) uint8 and labels (n,) int64 of the training or the test files."""
        # Imported here, for torchvision is slow to load, which a refused setting need not wait for.
        from torchvision.datasets.mnist import (  # type: ignore[import-untyped]  # torchvision ships no types
            read_image_file,
            read_label_file,
        )

        images, labels = FILES[:2] if train else FILES[2:]
        folder = self.folder(root)
        return read_image_file(str(folder / images)), read_label_file(str(folder / labels))

    def failure(self, root: Path, what: str) -> ConfigError:
        """The one-line error that says what is wrong and what can be done about it."""
        return ConfigError(f"{what}: {self.remedy.format(folder=self.folder(root))}")

    def _is_intact(self, path: Path) -> bool:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return digest == self.sha256[FILES.index(path.name)]
