"""What an analysis left in a run's folder `analysis/`, as sections of its report.

figures.json     [{file, title, section, alt, how_to_read, csv}, …]: pictures, `file` below `analysis/figures`
animations.json  [{title, section, alt, how_to_read, frames: [file, …], steps: [sleep step, …], csv}, …]
texts.json       {section: text}: what stands above the section's pictures

Files that are not below `analysis/figures` are looked for below `analysis`; `csv` is below `analysis`, or null.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src_lab.report.files import read_data, read_json, read_png
from src_lab.report.page import Animation, Data, Figure, Section
from src_lab.settings import ConfigError

WORDS = ("title", "section", "alt", "how_to_read")


def analysis_sections(folder: Path) -> tuple[Section, ...]:
    """The sections of `folder`/analysis, in the order of the indices, figures before animations; none without them.

    Raises ConfigError for an index or a file that cannot be used.
    """
    parts: dict[str, list[Figure | Animation]] = {}
    for name, make in (("figures.json", _figure), ("animations.json", _animation)):
        index = folder / "analysis" / name
        for number, entry in enumerate(_entries(index)):
            try:
                words = {key: _word(entry, key) for key in WORDS}
                parts.setdefault(words.pop("section"), []).append(make(index.parent, entry, words))
            except (KeyError, TypeError, ValueError) as error:
                if isinstance(error, ConfigError):
                    raise
                raise ConfigError(f"{index}: entry {number} is not usable ({error}): make the analysis again") from None
    texts = _texts(folder / "analysis" / "texts.json")
    return tuple(Section(title, tuple(each), texts.get(title, "")) for title, each in parts.items())


def _texts(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    texts = read_json(path)
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ConfigError(f"{path} is not a text for each section: make the analysis again")
    return texts


def _entries(index: Path) -> list[Any]:
    if not index.exists():
        return []
    entries = read_json(index)
    if not isinstance(entries, list):
        raise ConfigError(f"{index} is not a list of entries: make the analysis again")
    return entries


def _figure(folder: Path, entry: Mapping[str, Any], words: Mapping[str, str]) -> Figure:
    return Figure(image=read_png(_picture(folder, entry["file"])), data=_data(folder, entry), **words)


def _animation(folder: Path, entry: Mapping[str, Any], words: Mapping[str, str]) -> Animation:
    frames = tuple(read_png(_picture(folder, name)) for name in entry["frames"])
    steps = tuple(int(step) for step in entry["steps"])
    return Animation(frames=frames, steps=steps, data=_data(folder, entry), **words)


def _picture(folder: Path, name: str) -> Path:
    inside = folder / "figures" / name
    return inside if inside.exists() else folder / name


def _data(folder: Path, entry: Mapping[str, Any]) -> Data | None:
    name = entry.get("csv")
    return None if name is None else read_data(folder / name)


def _word(entry: Mapping[str, Any], key: str) -> str:
    text = entry[key]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{key} is empty")
    return text
