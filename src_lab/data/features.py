"""Features of images, computed by some other network: read from npz, MATLAB and safetensors files."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from src_lab.data.sources import Images, Source
from src_lab.settings import ConfigError

KEYS = ("train_x", "train_y", "test_x", "test_y")

Array = NDArray[np.generic]


@cache
def features(path: Path, _content: str, divisor: float | Literal["maximum"]) -> Source:
    """The features in `path`, (n, 1, d) float32, with labels 0, 1, ..; `_content`, the file's hash, tells versions apart.

    divisor   1 of the source is this number, or the largest training feature (`maximum`)

    Raises ConfigError for what cannot be read or be firing rates and labels: missing arrays, wrong shapes, values that are
    negative or not finite, labels that are no whole numbers from 0 on, a class without training features.
    """
    arrays = _read(path)
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise _refusal(path, f"has no {missing[0]}", f"it must have {', '.join(KEYS)}")
    train, test = (_images(path, part, arrays[f"{part}_x"], arrays[f"{part}_y"]) for part in ("train", "test"))
    width, tested = train.pixels.shape[2], test.pixels.shape[2]
    if width != tested:
        raise _refusal(path, f"has {width} features in train_x but {tested} in test_x", "they must be as many")
    counts = train.labels.bincount(minlength=int(test.labels.max()) + 1)
    if not counts.all():
        empty = int((counts == 0).nonzero()[0])
        fault = f"has no training features of class {empty}, but of others up to {len(counts) - 1}"
        raise _refusal(path, fault, "number the classes 0, 1, 2, ... without a gap (MATLAB's begin at 1: subtract 1)")
    white = float(train.pixels.max()) if divisor == "maximum" else divisor
    if not white:
        raise _refusal(path, "has nothing but zeros in train_x", "give features that differ")
    return Source(train, test, white)


def _images(path: Path, part: str, x: Array, y: Array) -> Images:
    if x.ndim != 2 or not x.size:
        raise _refusal(path, f"{part}_x has shape {_shape(x)}", "it must be (images, features)")
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise _refusal(path, f"{part}_x holds {x.dtype}", "it must hold numbers")
    if y.size != len(x) or y.size != max(y.shape):
        raise _refusal(path, f"{part}_y has shape {_shape(y)}", f"it must have one label for each of the {len(x)} images")
    values = x.astype(np.float32)
    if not np.isfinite(values).all():
        raise _refusal(path, f"{part}_x has values that are not finite", "every feature must be a number")
    if values.min() < 0:
        raise _refusal(path, f"{part}_x has values below 0", "features stand for firing rates, which are never negative")
    labels = y.reshape(-1)
    if not np.issubdtype(y.dtype, np.number) or (labels != np.floor(labels)).any() or labels.min() < 0:
        raise _refusal(path, f"{part}_y has labels that are no class", "they must be whole numbers, 0, 1, 2, ...")
    return Images(torch.from_numpy(values)[:, None], torch.from_numpy(labels.astype(np.int64)))


def _read(path: Path) -> Mapping[str, Array]:
    reader = READERS.get(path.suffix)
    if reader is None:
        raise _refusal(path, f"ends in {path.suffix or 'nothing'}", f"it must end in {', '.join(READERS)}")
    try:
        return reader(path)
    except NotImplementedError:  # scipy's for the newest MATLAB format
        raise _refusal(path, "is a MATLAB 7.3 file", "save it with MATLAB's option -v7") from None
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror or error})", "give another file") from None
    except UNREADABLE as error:
        fault = f"cannot be read ({' '.join(str(error).split())[:100]})"
        raise _refusal(path, fault, "is it whole, and of the format its name says?") from None


def _read_npz(path: Path) -> Mapping[str, Array]:
    with np.load(path, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("no npz file")
        return {key: arrays[key] for key in arrays.files if key in KEYS}


def _read_mat(path: Path) -> Mapping[str, Array]:
    from scipy.io import loadmat  # type: ignore[import-untyped]  # slow to load, and ships no types

    arrays: Mapping[str, Array] = loadmat(path, variable_names=KEYS)
    return arrays


def _read_safetensors(path: Path) -> Mapping[str, Array]:
    arrays: Mapping[str, Array] = load_file(path)
    return arrays


READERS: dict[str, Callable[[Path], Mapping[str, Array]]] = {
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".safetensors": _read_safetensors,
}


UNREADABLE = (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError)
"""What the three readers raise for files that are not whole, or not what they are called."""


def _shape(array: Array) -> str:
    return str(array.shape).replace(" ", "")


def _refusal(path: Path, fault: str, allowed: str) -> ConfigError:
    return ConfigError(f"dataset.path={path} {fault}: {allowed}; scripts/extract_features.py makes such files")
