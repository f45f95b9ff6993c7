"""A committed CSV file of what has been done, so that no machine does it again."""

import csv
import io
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from src_lab.files import alone_at, write_atomically
from src_lab.settings import ConfigError

Row = dict[str, str]


@dataclass(frozen=True)
class Ledger:
    """One row per thing done, sorted by `key`, so that what two machines add rarely meets in one place.

    columns   what every row has, in this order; the key among them
    filled    those of them that are never empty
    numbers   those of them that hold a number, or nothing where it was not measured
    further   start of the names of any number of columns after these, which hold numbers too; empty: none are allowed

    A row whose key nobody asks for any more (its settings have changed) stays: it is a record of what was measured.
    """

    path: Path
    key: str
    columns: tuple[str, ...]
    filled: tuple[str, ...]
    numbers: tuple[str, ...] = field(default=())
    further: str = ""

    def rows(self) -> dict[str, Row]:
        """Every row by its key; none where there is no file. Raises ConfigError, naming the line, for a damaged file."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(f" cannot be read: {error}") from None
        header, *lines = list(csv.reader(io.StringIO(text))) or [[]]
        self._check_header(header)
        rows: dict[str, Row] = {}
        for number, cells in enumerate(lines, start=2):
            row = self._row(header, cells, number)
            if row[self.key] in rows:
                raise self._damaged(f":{number}: {self.key}={row[self.key]} stands twice")
            rows[row[self.key]] = row
        return rows

    def add(self, new: Iterable[Mapping[str, object]]) -> None:
        """Write the rows `new` among the others, replacing those of the same key. The file changes at once or not at all.

        Safe with other processes that add to the same file. Raises ConfigError for a damaged file.
        """
        texts = [{name: _text(value) for name, value in row.items()} for row in new]
        if not texts:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with alone_at(self.path.with_name(f".{self.path.name}.lock"), f"another process writes {self.path}: waiting for it"):
            rows = self.rows() | {row[self.key]: row for row in texts}
            further = sorted({name for row in rows.values() for name in row} - set(self.columns))
            stream = io.StringIO()
            writer = csv.DictWriter(stream, [*self.columns, *further], restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[key] for key in sorted(rows))
            write_atomically(self.path, stream.getvalue())

    def _check_header(self, header: list[str]) -> None:
        own, more = tuple(header[: len(self.columns)]), header[len(self.columns) :]
        if own != self.columns or any(not self.further or not name.startswith(self.further) for name in more):
            ending = f", then {self.further}.." if self.further else ""
            raise self._damaged(f":1: the columns are {','.join(header)}: they must be {','.join(self.columns)}{ending}")

    def _row(self, header: list[str], cells: list[str], number: int) -> Row:
        if len(cells) != len(header):
            raise self._damaged(f":{number}: {len(cells)} of {len(header)} columns")
        row = dict(zip(header, cells, strict=True))
        for name, cell in row.items():
            if not cell and name in self.filled:
                raise self._damaged(f":{number}: {name} is empty")
            if cell and (name in self.numbers or name not in self.columns) and not _is_number(cell):
                raise self._damaged(f":{number}: {name}={cell} is not a number")
        return row

    def _damaged(self, what: str) -> ConfigError:
        return ConfigError(f"{self.path}{what}; it is written by a script: take back the change, git checkout {self.path}")


def number(row: Mapping[str, str], name: str) -> float:
    """A number of a row, NaN where it was not measured."""
    return float(row.get(name) or math.nan)


def day_of(path: Path) -> str:
    """When a file was written: the date, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime))


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
