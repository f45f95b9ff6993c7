"""Where the images come from: known facts, files that are missing, broken or raced for, and the net."""

import gzip
import hashlib
import multiprocessing
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import torch
from torchvision.datasets import FashionMNIST

from src_lab.data import sources
from src_lab.data.idx import FILES, IdxFiles
from src_lab.data.sources import DEBIAN_FASHION, FASHION_MNIST, MNIST
from src_lab.settings import ConfigError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES


def copy_of(root: Path, files: IdxFiles, target: Path) -> Path:
    """A data root at `target` whose files are links to those of `root`; returns the folder they are in."""
    folder = files.folder(target)
    folder.mkdir(parents=True)
    for file in FILES:
        (folder / file).symlink_to(files.folder(root) / file)
    return folder


def refusal(error: pytest.ExceptionInfo[ConfigError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_mnist_is_mnist(root: Path) -> None:
    mnist = sources.mnist(root)
    assert mnist.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.train.pixels.shape == (60_000, 28, 28)
    assert mnist.test.pixels.shape == (10_000, 28, 28)
    intensity = mnist.train.pixels.double() / mnist.white
    assert intensity.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert intensity.std().item() == pytest.approx(0.3081, abs=5e-5)


def test_fashion_mnist_is_fashion_mnist(root: Path) -> None:
    fashion = sources.fashion_mnist(root)
    assert fashion.train.labels.bincount().tolist() == [6000] * 10
    assert fashion.test.labels.bincount().tolist() == [1000] * 10
    intensity = fashion.train.pixels.double() / fashion.white
    assert intensity.mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert intensity.std().item() == pytest.approx(0.3530, abs=5e-5)


def test_digits_are_divided_the_same_way_every_time(tmp_path: Path) -> None:
    digits, again = sources.digits(tmp_path / "a"), sources.digits(tmp_path / "b")
    assert digits is not again
    assert torch.equal(digits.train.pixels, again.train.pixels)
    assert (digits.train.pixels.shape, digits.test.pixels.shape) == ((1437, 8, 8), (360, 8, 8))
    assert digits.train.pixels.max() == digits.white
    share = digits.test.labels.bincount() / (digits.test.labels.bincount() + digits.train.labels.bincount())
    assert (share - 0.2).abs().max() < 0.005


@pytest.mark.parametrize("load", [sources.mnist, sources.fashion_mnist])
def test_files_are_verified_and_read_once_per_process(load: Callable[[Path], sources.Source], root: Path) -> None:
    assert load(root) is load(root)


@pytest.mark.parametrize(
    ("cache_home", "expected"),
    [("/somewhere", "/somewhere/src_lab"), ("", "/home/ada/.cache/src_lab"), ("relative", "/home/ada/.cache/src_lab")],
)
def test_default_root(cache_home: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    assert sources.default_root() == Path(expected)


@pytest.mark.parametrize("file", FILES)
def test_a_corrupt_file_is_named_and_kept(file: str, root: Path, tmp_path: Path) -> None:
    path = copy_of(root, MNIST, tmp_path) / file
    path.unlink()
    path.write_bytes(b"half a file")
    with pytest.raises(ConfigError) as error:
        sources.mnist(tmp_path)
    message = refusal(error)
    assert message.startswith(f"{path} is corrupt")
    assert "delete it" in message
    assert "dataset.root=FOLDER" in message
    assert path.read_bytes() == b"half a file"


def test_a_single_flipped_bit_is_noticed(root: Path, tmp_path: Path) -> None:
    path = copy_of(root, MNIST, tmp_path) / TEST_LABELS
    flipped = bytearray(path.read_bytes())
    flipped[5000] ^= 1
    path.unlink()
    path.write_bytes(flipped)
    with pytest.raises(ConfigError, match="is corrupt"):
        sources.mnist(tmp_path)


def test_a_deleted_file_is_unpacked_again_and_the_others_are_left(root: Path, tmp_path: Path) -> None:
    folder = copy_of(root, MNIST, tmp_path)
    (folder / TRAIN_LABELS).unlink()
    sources.mnist(tmp_path)
    assert not (folder / TRAIN_LABELS).is_symlink()
    assert (folder / TRAIN_IMAGES).is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_a_folder_in_place_of_a_file(root: Path, tmp_path: Path) -> None:
    path = copy_of(root, MNIST, tmp_path) / TEST_IMAGES
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError) as error:
        sources.mnist(tmp_path)
    assert f"{path} cannot be read (Is a directory)" in refusal(error)


@pytest.mark.parametrize("where", ["a_file/below", "/proc/src_lab"])
def test_a_root_that_cannot_be_written(where: str, tmp_path: Path) -> None:
    """Neither can be written even by the superuser, whom permissions do not stop."""
    (tmp_path / "a_file").touch()
    with pytest.raises(ConfigError) as error:
        sources.mnist(tmp_path / where)
    message = refusal(error)
    assert message.startswith(f"dataset.root={tmp_path / where} cannot hold MNIST")
    assert message.endswith("give a folder you can write to, dataset.root=FOLDER")


def test_a_damaged_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intact = (Path(sources.__file__).parent / sources.BUNDLED_MNIST).read_bytes()
    damaged = tmp_path / "damaged.tar.xz"
    monkeypatch.setattr(sources, "BUNDLED_MNIST", str(damaged))  # an absolute path replaces the package's folder
    for content in (intact[: len(intact) // 2], b"", intact[:100_000] + b"\0" * 100 + intact[100_100:]):
        damaged.write_bytes(content)
        with pytest.raises(ConfigError) as error:
            sources.mnist(tmp_path)
        assert refusal(error).startswith(f"{damaged} is missing or damaged")
        assert list(MNIST.folder(tmp_path).iterdir()) == []


def test_an_interrupted_installation_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> Path:
        (folder / TRAIN_IMAGES).write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MNIST.install(tmp_path, interrupted)
    assert list(MNIST.folder(tmp_path).iterdir()) == []


def test_what_a_killed_process_left_does_not_count_as_data(tmp_path: Path) -> None:
    leftover = MNIST.folder(tmp_path) / ".incomplete-killed"
    leftover.mkdir(parents=True)
    (leftover / TRAIN_IMAGES).write_bytes(b"half")
    assert MNIST.missing(tmp_path) == list(FILES)
    assert len(sources.mnist(tmp_path).train.labels) == 60_000


def unpack_at_once(root: Path, start: Barrier) -> None:
    start.wait(timeout=60)
    sources.mnist(root)


def test_two_processes_unpack_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    other = context.Process(target=unpack_at_once, args=(tmp_path, start))
    other.start()
    unpack_at_once(tmp_path, start)
    other.join(timeout=60)
    assert other.exitcode == 0
    assert MNIST.missing(tmp_path) == []
    assert sorted(path.name for path in MNIST.folder(tmp_path).iterdir()) == sorted(FILES)


def test_fashion_mnist_is_unpacked_from_debians_package(tmp_path: Path) -> None:
    assert len(sources.fashion_mnist(tmp_path).train.labels) == 60_000
    assert sorted(path.name for path in FASHION_MNIST.folder(tmp_path).iterdir()) == sorted(FILES)


@pytest.mark.parametrize("content", [b"not gzip", b"", "truncated", "other"])
def test_a_corrupt_file_of_debians_package_is_named(
    content: bytes | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "debian"
    folder.mkdir()
    for file in FILES:
        (folder / f"{file}.gz").symlink_to(DEBIAN_FASHION / f"{file}.gz")
    broken = folder / f"{TRAIN_LABELS}.gz"
    whole = broken.read_bytes()
    broken.unlink()
    broken.write_bytes({"truncated": whole[:-500], "other": gzip.compress(b"1")}.get(content, content))
    monkeypatch.setattr(sources, "DEBIAN_FASHION", folder)
    with pytest.raises(ConfigError) as error:
        sources.fashion_mnist(tmp_path)
    message = refusal(error)
    assert TRAIN_LABELS in message
    assert "is corrupt" in message
    assert_names_the_three_ways(message, tmp_path)
    assert TRAIN_LABELS in FASHION_MNIST.missing(tmp_path)


def assert_names_the_three_ways(message: str, root: Path) -> None:
    assert "let torchvision download it" in message
    assert "install Debian's package dataset-fashion-mnist" in message
    assert f"put the four unpacked files into {FASHION_MNIST.folder(root)} (another folder: dataset.root=FOLDER)" in message


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four archives exactly as published, which torchvision checks by MD5.

    Debian's differ only in the gzip header (RFC 1952), which lacks the original's time and file name.
    """
    folder = tmp_path_factory.mktemp("published")
    for file, md5 in FashionMNIST.resources:
        packed = (DEBIAN_FASHION / file).read_bytes()
        time = 1504176606 if file.startswith("train") else 1504176627
        header = struct.pack("<4sIBB", b"\x1f\x8b\x08\x08", time, 0, 3) + file.removesuffix(".gz").encode() + b"\0"
        (folder / file).write_bytes(header + packed[10:])
        assert hashlib.md5((folder / file).read_bytes()).hexdigest() == md5
    return folder


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the published archives, served over HTTP to torchvision on a machine without Debian's package."""
    folder = tmp_path / "mirror"
    shutil.copytree(published, folder, copy_function=lambda source, target: Path(target).symlink_to(source))
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path / "nowhere")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder
        server.shutdown()


@pytest.mark.usefixtures("mirror")
def test_fashion_mnist_is_downloaded(root: Path, tmp_path: Path) -> None:
    downloaded = sources.fashion_mnist(tmp_path)
    assert torch.equal(downloaded.train.pixels, sources.fashion_mnist(root).train.pixels)
    assert sorted(path.name for path in FASHION_MNIST.folder(tmp_path).iterdir()) == sorted(FILES)


@pytest.mark.parametrize("broken", ["truncated", "absent", "login page"])
def test_a_broken_download_leaves_nothing_and_says_what_to_do(broken: str, mirror: Path, tmp_path: Path) -> None:
    path = mirror / f"{TEST_IMAGES}.gz"
    half = path.read_bytes()[:2_000_000]
    path.unlink()
    if broken != "absent":
        path.write_bytes(half if broken == "truncated" else b"<html>please log in</html>")
    with pytest.raises(ConfigError) as error:
        sources.fashion_mnist(tmp_path)
    message = refusal(error)
    assert message.startswith(f"{FASHION_MNIST.folder(tmp_path) / TRAIN_IMAGES} is missing and could not be downloaded")
    assert_names_the_three_ways(message, tmp_path)
    assert list(FASHION_MNIST.folder(tmp_path).iterdir()) == []


def test_no_connection(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mirror.is_dir()
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])  # the discard port: nobody listens
    with pytest.raises(ConfigError, match=r"could not be downloaded .*Connection refused") as error:
        sources.fashion_mnist(tmp_path)
    assert_names_the_three_ways(refusal(error), tmp_path)
