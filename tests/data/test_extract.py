"""Features taken from networks: with a small random one and made-up images; nothing here is downloaded."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.datasets import FakeData
from torchvision.models import resnet18
from torchvision.transforms import ToTensor

from scripts import extract_features
from src_lab.data import extract, load_stream
from src_lab.data.config import FeaturesConfig
from src_lab.settings import ConfigError

CPU = torch.device("cpu")
CLASSES = ("001.Albatross", "002.Auklet", "003.Bunting")


class Counter(nn.Module):
    """Features that a reader can compute: the sums of an image's channels; a head that features must not see."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Dropout(0.9), nn.Identity())
        self.head = nn.Sequential(nn.Linear(3, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x.sum(dim=(2, 3))))


def test_features_are_what_the_last_layer_receives_image_by_image() -> None:
    images, labels = torch.rand(7, 3, 4, 4), torch.arange(7)
    x, y = extract.extract(extract.without_head(Counter()), TensorDataset(images, labels), device=CPU, batch_size=3)
    np.testing.assert_allclose(x, images.sum(dim=(2, 3)), rtol=1e-6)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert y.tolist() == labels.tolist()


def test_a_network_of_torchvision_gives_its_last_hidden_layer() -> None:
    data = FakeData(3, (3, 32, 32), num_classes=2, transform=ToTensor())
    x, y = extract.extract(extract.without_head(resnet18(weights=None)), data, device=CPU, batch_size=2)
    assert x.shape == (3, 512)
    assert x.min() >= 0
    assert y.tolist() == [label for _, label in data]


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match="ReLU has no Linear layer"):
        extract.without_head(nn.ReLU())


def test_what_is_saved_is_a_data_set(tmp_path: Path) -> None:
    data = FakeData(30, (3, 4, 4), num_classes=2, transform=ToTensor())
    features = extract.extract(extract.without_head(Counter()), data, device=CPU)
    extract.save_features(tmp_path / "fake.npz", features, features)
    config = FeaturesConfig("features", 1, 2, path=str(tmp_path / "fake.npz"))
    (task,) = load_stream(config, seed=0).tasks
    np.testing.assert_allclose(task.train.images, features[0] / features[0].max(), rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["fake.npz"], "nothing half-written is left"


def paint(path: Path, brightness: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (brightness,) * 3).save(path)


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Two images of each of three classes, the second for the test, in the layout and with the lists of CUB-200-2011."""
    lists: dict[str, list[str]] = {"images.txt": [], "train_test_split.txt": []}
    for number, (name, place) in enumerate(((name, place) for name in CLASSES for place in range(2)), start=1):
        paint(tmp_path / "images" / name / f"{name}_{place}.png", 10 * number)
        lists["images.txt"].append(f"{number} {name}/{name}_{place}.png")
        lists["train_test_split.txt"].append(f"{number} {1 - place}")
    for name, lines in lists.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def brightness(part: extract.Labelled) -> list[tuple[int, int]]:
    return [(round(255 * image.mean().item()), label) for image, label in part]


def test_cubs_lists_divide_its_images(cub: Path) -> None:
    train, test = extract.folders(cub, ToTensor())
    assert brightness(train) == [(10, 0), (30, 1), (50, 2)]
    assert brightness(test) == [(20, 0), (40, 1), (60, 2)]


def test_two_folders_divide_other_images(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        for label, name in enumerate(CLASSES):
            paint(tmp_path / part / name / "a.png", 10 * label + number)
    train, test = extract.folders(tmp_path, ToTensor())
    assert brightness(train) == [(0, 0), (10, 1), (20, 2)]
    assert brightness(test) == [(1, 0), (11, 1), (21, 2)]
    paint(tmp_path / "train" / "004.Cardinal" / "a.png", 1)
    with pytest.raises(ConfigError, match=r"has class 004\.Cardinal in one of train/ and test/ only"):
        extract.folders(tmp_path, ToTensor())


@pytest.mark.parametrize("broken", ["images", "images.txt"])
def test_a_folder_of_another_shape_is_refused_in_one_line(broken: str, cub: Path) -> None:
    (cub / broken).rename(cub / "moved")
    with pytest.raises(ConfigError) as refusal:
        extract.folders(cub, ToTensor())
    assert str(refusal.value).startswith(f"{cub} cannot be used (")
    assert "\n" not in str(refusal.value)


def test_an_image_that_the_lists_do_not_know_is_named(cub: Path) -> None:
    paint(cub / "images" / CLASSES[0] / "new.png", 1)
    with pytest.raises(ConfigError, match=r"images\.txt does not list 001\.Albatross/new\.png"):
        extract.folders(cub, ToTensor())


def test_cifar10_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(ConfigError) as refusal:
        extract.cifar10(blocked, ToTensor())
    assert "CIFAR-10 is not in" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cifar10", "--out", "x.csv"], "--out=x.csv is not allowed: must end in .npz"),
        (
            ["cifar10", "--out", "x.npz", "--network", "resnet5O"],
            "--network=resnet5O is no network of torchvision: allowed are resnet50",
        ),
    ],
)
def test_the_script_refuses_in_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["extract_features.py", *arguments])
    assert extract_features.main() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1


def test_the_script_makes_a_file_of_a_folder(
    cub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extract_features, "pretrained", lambda _: (extract.without_head(Counter()), ToTensor()))
    monkeypatch.setattr(sys, "argv", ["extract_features.py", str(cub), "--out", str(cub / "birds.npz"), "--device", "cpu"])
    assert extract_features.main() == 0
    assert "3 training and 3 test images, 3 features each" in capsys.readouterr().out
    assert len(load_stream(FeaturesConfig("features", 3, 1, path=str(cub / "birds.npz")), seed=0).tasks) == 3
