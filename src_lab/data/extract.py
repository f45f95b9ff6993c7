"""Features of images by a network that was trained elsewhere, for `dataset=features`."""

import difflib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, models  # type: ignore[import-untyped]  # torchvision ships no types
from tqdm import tqdm

from src_lab.files import replacing
from src_lab.settings import ConfigError

Transform = Callable[[Image.Image], torch.Tensor]
Labelled = Dataset[tuple[torch.Tensor, int]]
Features = tuple[NDArray[np.float32], NDArray[np.int64]]
"""x (n, d) and y (n,)."""

ONLINE = "run this where there is a network connection, or put the files there yourself"


def pretrained(name: str) -> tuple[nn.Module, Transform]:
    """torchvision's network `name` with its best weights and without its last layer, and what it wants done to images.

    The weights are downloaded on first use. Raises ConfigError for a name that torchvision does not have, or when they
    cannot be.
    """
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, cutoff=0) or known
        raise ConfigError(f"--network={name} is no network of torchvision: allowed are {', '.join(near)} and others")
    weights = models.get_model_weights(name).DEFAULT
    try:
        network = models.get_model(name, weights=weights)
    except (OSError, HTTPException, RuntimeError) as error:
        raise ConfigError(f"the weights of {name} ({weights.url}) cannot be had ({_line(error)}): {ONLINE}") from None
    return without_head(network), weights.transforms()


def without_head(network: nn.Module) -> nn.Module:
    """The network, its last Linear layer replaced by the identity, so that its outputs are what that layer received."""
    heads = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise ConfigError(f"{type(network).__name__} has no Linear layer to take features from: choose another --network")
    parent, _, name = heads[-1].rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    return network


def extract(network: nn.Module, images: Labelled, *, device: torch.device, batch_size: int = 100) -> Features:
    """The network's outputs on every image, in order, in evaluation mode, as float32."""
    network = network.to(device).eval()
    found, labels = [], []
    with torch.inference_mode():
        for batch, targets in tqdm(DataLoader(images, batch_size), "features", disable=None):
            found.append(network(batch.to(device)).flatten(1).float().cpu())
            labels.append(targets)
    return torch.cat(found).numpy(), torch.cat(labels).long().numpy()


def cifar10(root: Path, transform: Transform) -> tuple[Labelled, Labelled]:
    """CIFAR-10's training and test images, downloaded by torchvision unless `root` has them. Raises ConfigError."""
    try:
        parts = [datasets.CIFAR10(root, train=train, transform=transform, download=True) for train in (True, False)]
    except (OSError, HTTPException, RuntimeError) as error:
        raise ConfigError(f"CIFAR-10 is not in {root} and cannot be downloaded ({_line(error)}): {ONLINE}") from None
    return cast(tuple[Labelled, Labelled], tuple(parts))


def folders(root: Path, transform: Transform) -> tuple[Labelled, Labelled]:
    """Training and test images of a folder with a folder per class, classes numbered in the order of their names.

    root  either has images/CLASS/IMAGE with CUB-200-2011's lists images.txt and train_test_split.txt, or train/CLASS/IMAGE
          and test/CLASS/IMAGE

    Raises ConfigError for any other folder.
    """
    try:
        if (root / "train_test_split.txt").is_file():
            return _listed(root, datasets.ImageFolder(root / "images", transform))
        train, test = (datasets.ImageFolder(root / part, transform) for part in ("train", "test"))
    except (OSError, ValueError) as error:
        allowed = "it needs images/, images.txt and train_test_split.txt as CUB-200-2011 has them, or train/ and test/"
        raise ConfigError(f"{root} cannot be used ({_line(error)}): {allowed}, with a folder of images per class") from None
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))[0]
        raise ConfigError(f"{root} has class {odd} in one of train/ and test/ only: give both the same folders")
    return train, test


def save_features(path: Path, train: Features, test: Features) -> None:
    """Write a file that `dataset.path` takes, whole or not at all."""
    arrays = dict(zip(("train_x", "train_y", "test_x", "test_y"), (*train, *test), strict=True))
    with replacing(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **cast(dict[str, Any], arrays))


def _listed(root: Path, images: Any) -> tuple[Labelled, Labelled]:  # noqa: ANN401  # torchvision ships no types
    """The images divided as CUB's lists say: lines of an image's number and its path, or 1 for training."""
    paths = _pairs(root / "images.txt")
    for_training = {paths[number] for number, flag in _pairs(root / "train_test_split.txt").items() if flag == "1"}
    known = set(paths.values())
    rows: dict[bool, list[int]] = {True: [], False: []}
    for row, (path, _) in enumerate(images.samples):
        name = Path(path).relative_to(root / "images").as_posix()
        if name not in known:
            raise ValueError(f"images.txt does not list {name}")
        rows[name in for_training].append(row)
    return Subset(images, rows[True]), Subset(images, rows[False])


def _pairs(path: Path) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())
    return {fields[0]: fields[1].strip() for fields in lines if len(fields) == 2}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
