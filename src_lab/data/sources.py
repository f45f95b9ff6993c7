"""Where the images come from: MNIST from inside the package, Fashion-MNIST from disk or net, scikit-learn's digits."""

import gzip
import logging
import lzma
import os
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from src_lab.data.idx import FILES, IdxFiles

log = logging.getLogger(__name__)

BUNDLED_MNIST = "mnist-idx.tar.xz"
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Folder of Debian's package `dataset-fashion-mnist`, which holds the four files gzipped."""

MNIST = IdxFiles(
    "MNIST",
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "MNIST is unpacked again from the package at the next run; or reinstall src-lab if its archive is damaged, or put "
    "the four unpacked files into {folder} (another folder: dataset.root=FOLDER)",
)

FASHION_MNIST = IdxFiles(
    "FashionMNIST",
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "run with a network connection to let torchvision download it, or install Debian's package dataset-fashion-mnist, "
    "or put the four unpacked files into {folder} (another folder: dataset.root=FOLDER)",
)


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels as stored, (n, height, width) uint8, or features (n, 1, d) float32, with labels (n,) int64."""

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Source:
    """All images of a data set, in file order; `white` is the pixel value that becomes 1."""

    train: Images
    test: Images
    white: float


def default_root() -> Path:
    """`src_lab` in the user's cache folder (XDG Base Directory Specification; a relative folder there is ignored)."""
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    return Path(cache_home if os.path.isabs(cache_home) else os.path.expanduser("~/.cache")) / "src_lab"


@cache
def mnist(root: Path) -> Source:
    """MNIST (LeCun, Cortes, Burges), 60,000 + 10,000 images of 28 x 28, unpacked from the package on first use."""
    if MNIST.missing(root):
        MNIST.install(root, lambda folder: _unpack_bundled(folder, root))
    return _source(MNIST, root)


@cache
def fashion_mnist(root: Path) -> Source:
    """Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747), 60,000 + 10,000 images of 28 x 28.

    From `root`, else from Debian's package, else downloaded by torchvision.
    """
    if FASHION_MNIST.missing(root):
        debian = all((DEBIAN_FASHION / f"{file}.gz").is_file() for file in FILES)
        fetch = _unpack_debian if debian else _download_fashion
        FASHION_MNIST.install(root, lambda folder: fetch(folder, root))
    return _source(FASHION_MNIST, root)


@cache
def digits(_root: Path) -> Source:
    """The 1,797 digits of 8 x 8 that come with scikit-learn (UCI Optical Recognition of Handwritten Digits, test set).

    There is no published division: 80 % train, 20 % test, the same share of every class, always the same images. File
    order is the order of that division.
    """
    # Imported here, for it is slow to load and no other data set needs it.
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # scikit-learn ships no types
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]  # the same

    data = load_digits()
    halves = train_test_split(data.images, data.target, test_size=0.2, stratify=data.target, random_state=0)
    train_pixels, test_pixels, train_labels, test_labels = (torch.from_numpy(half) for half in halves)
    return Source(
        Images(train_pixels.to(torch.uint8), train_labels.long()),
        Images(test_pixels.to(torch.uint8), test_labels.long()),
        white=16,
    )


def _source(files: IdxFiles, root: Path) -> Source:
    return Source(Images(*files.read(root, train=True)), Images(*files.read(root, train=False)), white=255)


def _unpack_bundled(folder: Path, root: Path) -> Path:
    log.info("unpacking MNIST into %s", MNIST.folder(root))
    archive = resources.files("src_lab.data") / BUNDLED_MNIST
    try:
        with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:xz") as tar:
            for file in FILES:
                member = tar.extractfile(file)
                assert member is not None  # None is a folder of that name, which the archive does not have
                with member, (folder / file).open("wb") as target:
                    shutil.copyfileobj(member, target)
    except (FileNotFoundError, KeyError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise MNIST.failure(root, f"{archive} is missing or damaged ({error})") from None
    return folder


def _unpack_debian(folder: Path, root: Path) -> Path:
    log.info("unpacking %s into %s", DEBIAN_FASHION, FASHION_MNIST.folder(root))
    for file in FILES:
        packed = DEBIAN_FASHION / f"{file}.gz"
        try:
            with gzip.open(packed) as source, (folder / file).open("wb") as target:
                shutil.copyfileobj(source, target)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise FASHION_MNIST.failure(root, f"{packed} is corrupt ({error})") from None
    return folder


def _download_fashion(folder: Path, root: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]  # torchvision ships no types

    log.info("downloading Fashion-MNIST into %s", FASHION_MNIST.folder(root))
    try:
        FashionMNIST(folder, download=True)
    except (OSError, HTTPException, EOFError, zlib.error, RuntimeError) as error:
        what = f"{FASHION_MNIST.folder(root) / FILES[0]} is missing and could not be downloaded"
        raise FASHION_MNIST.failure(root, f"{what} ({' '.join(str(error).split())})") from None
    return FASHION_MNIST.folder(folder)
