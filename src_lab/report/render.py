"""A report as one HTML file that needs nothing else: no network, no other files, and for reading no JavaScript."""

import base64
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pandas import Series, isna
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from PIL import Image

from src_lab.report.page import Animation, Data, Figure, Report, Section, Table

MAX_DATA = 1_000_000
"""Bytes of a CSV file beyond which the page names it instead of holding it."""
MAX_FRAMES = 7_000_000
"""Bytes of all animations together; beyond, frames are left out evenly."""
MAX_ROWS = 500
"""Rows of a table on the page."""
WIDE_PX = 560
"""Figures wider than this scroll in their box on a phone, where they would be illegible if they shrank."""
MISSING = "-"
LEADING_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Cell:
    """Text of a cell and what it is sorted by: a number, or nothing for the text itself."""

    text: str
    key: float | None


@dataclass(frozen=True)
class Column:
    name: str
    is_number: bool
    cells: list[Cell]


def render(report: Report, folder: Path = Path()) -> str:
    """The page as HTML, with links for a page that lies in `folder`."""
    environment = Environment(
        loader=PackageLoader("src_lab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"picture": picture, "columns": columns, "csv_uri": csv_uri}
    environment.filters["link"] = lambda page: quote(Path(os.path.relpath(page, folder)).as_posix())
    environment.globals["zip"] = zip
    environment.tests |= {kind.__name__.lower(): _is(kind) for kind in (Table, Figure, Animation)}
    style, script = (_source(environment, name) for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        report=replace(report, sections=fit_animations(report.sections)),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        max_rows=MAX_ROWS,
        max_data=MAX_DATA,
    )


def columns(table: Table) -> list[Column]:
    """The cells of a table, column by column, no more than `MAX_ROWS` rows."""
    shown = table.frame.head(MAX_ROWS)
    return [_column(str(name), shown.iloc[:, place], table.formats) for place, name in enumerate(shown)]


def _column(name: str, values: "Series[Any]", formats: Mapping[str, str]) -> Column:
    if is_numeric_dtype(values) and not is_bool_dtype(values):
        form = formats.get(name, "%g")
        keys = [None if isna(value) else float(value) for value in values]
        return Column(name, True, [Cell(MISSING if key is None else form % key, key) for key in keys])
    texts = [MISSING if isna(value) else str(value) for value in values]
    numbers = [LEADING_NUMBER.match(text) for text in texts]
    is_number = any(numbers) and all(found or text in (MISSING, "") for found, text in zip(numbers, texts, strict=True))
    keys = [float(found.group()) if is_number and found else None for found in numbers]
    return Column(name, is_number, [Cell(text, key) for text, key in zip(texts, keys, strict=True)])


def picture(image: bytes) -> dict[str, Any]:
    """A PNG as a data URI, with the size to show it in, CSS pixels: as large as its resolution says it is on paper."""
    with Image.open(io.BytesIO(image)) as opened:
        dpi = float(opened.info.get("dpi", (96, 96))[0]) or 96.0
        width, height = (round(side * 96 / dpi) for side in opened.size)
    return {"uri": _uri("image/png", image), "width": width, "height": height, "is_wide": width > WIDE_PX}


def csv_uri(data: Data) -> str:
    return _uri("text/csv;charset=utf-8", data.text.encode())


def fit_animations(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The sections with so many frames left out of each animation, evenly, that all together keep within `MAX_FRAMES`."""
    sizes = [sum(map(len, part.frames)) for each in sections for part in each.parts if isinstance(part, Animation)]
    share = MAX_FRAMES / max(1, sum(sizes))
    if share >= 1:
        return tuple(sections)
    return tuple(
        replace(each, parts=tuple(_thin(part, share) if isinstance(part, Animation) else part for part in each.parts))
        for each in sections
    )


def _thin(animation: Animation, share: float) -> Animation:
    """A `share` of the frames, the first and the last among them."""
    count = max(2, int(share * len(animation.frames)))
    kept = np.unique(np.linspace(0, len(animation.frames) - 1, count).round().astype(int))
    return replace(
        animation,
        frames=tuple(animation.frames[index] for index in kept),
        steps=tuple(animation.steps[index] for index in kept),
        how_to_read=f"{animation.how_to_read} ({len(kept)} of {len(animation.frames)} frames are shown.)",
    )


def _is(kind: type) -> Callable[[object], bool]:
    return lambda part: isinstance(part, kind)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _hash(text: str) -> str:
    """What the page's content security policy knows its own style and script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
