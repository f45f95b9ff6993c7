"""Files that a report is made from, read with errors that a user can mend."""

import json
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from src_lab.report.page import Data
from src_lab.settings import ConfigError

PNG = b"\x89PNG\r\n\x1a\n"


def read_png(path: Path) -> bytes:
    """The bytes of a picture. Raises ConfigError when it is missing or no PNG."""
    try:
        image = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): make it again, or remove its entry") from None
    if not image.startswith(PNG):
        raise ConfigError(f"{path} is not a PNG: make it again, or remove its entry")
    return image


def read_table(path: Path) -> DataFrame:
    """A CSV file. Raises ConfigError when it cannot be read."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}): make it again") from None


def read_data(path: Path) -> Data:
    """A CSV file to be downloaded. Raises ConfigError when it cannot be read."""
    try:
        return Data.of(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}): make it again, or remove its entry") from None


def read_json(path: Path) -> object:
    """A JSON file. Raises ConfigError when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}): make it again, or remove it") from None
