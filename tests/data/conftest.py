"""One data root per test session, so that no test touches the user's cache folder."""

import gzip
import shutil
from pathlib import Path

import pytest

from src_lab.data import sources
from src_lab.data.idx import FILES


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with MNIST and Fashion-MNIST in it."""
    folder = tmp_path_factory.mktemp("data-root")
    sources.mnist(folder)
    fashion = sources.FASHION_MNIST.folder(folder)
    fashion.mkdir(parents=True)
    for file in FILES:
        packed = sources.DEBIAN_FASHION / f"{file}.gz"
        if not packed.is_file():
            pytest.fail(f"{packed} is missing: apt-get install dataset-fashion-mnist")
        with gzip.open(packed) as source, (fashion / file).open("wb") as target:
            shutil.copyfileobj(source, target)
    return folder
