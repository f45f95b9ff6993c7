"""What a report is made of, before it is a page: sections of tables, figures and animations, with the data behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pandas import DataFrame


@dataclass(frozen=True)
class Data:
    """A CSV file behind a figure or table, to be downloaded from the page."""

    name: str
    text: str

    @classmethod
    def of(cls, path: Path) -> "Data":
        """The file `path`, which must be UTF-8 text."""
        return cls(path.name, path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Figure:
    """A picture. `alt` says what is on it to who cannot see it, `how_to_read` is one sentence for who can.

    image  the bytes of a PNG
    """

    title: str
    image: bytes
    alt: str
    how_to_read: str
    data: Data | None = None


@dataclass(frozen=True)
class Animation:
    """Pictures of one size against sleep steps, to be played or stepped through.

    frames  the bytes of a PNG each
    steps   the sleep step of each frame
    """

    title: str
    frames: tuple[bytes, ...]
    steps: tuple[int, ...]
    alt: str
    how_to_read: str
    data: Data | None = None

    def __post_init__(self) -> None:
        if not self.frames or len(self.frames) != len(self.steps):
            raise ValueError(f"{self.title}: {len(self.frames)} frames and {len(self.steps)} steps; give one step per frame")


@dataclass(frozen=True)
class Table:
    """A table, sortable on the page. Numbers in `frame` are written as `formats` says by column, else with `%g`.

    links  by text in the first column, the page that it leads to
    """

    title: str
    frame: DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    data: Data | None = None
    links: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Part of a report, in the order of reading."""

    title: str
    parts: tuple[Table | Figure | Animation, ...]
    text: str = ""


@dataclass(frozen=True)
class Command:
    """What to type to get the same again, and what to know about it."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """One page. `facts` say what was run: a name and a text each."""

    title: str
    facts: Mapping[str, str]
    commands: tuple[Command, ...]
    sections: tuple[Section, ...]
