"""The folder `analysis/` of a run: a CSV per table, `figures/*.png`, a GIF per film, and the indices the report reads."""

import json
import logging
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from src_lab.config import RunConfig
from src_lab.files import replacing, write_atomically
from src_lab.inside.findings import Findings, find
from src_lab.inside.names import FOLDER, INDEX
from src_lab.inside.pictures import activity_means, films, pictures, synapse_table
from src_lab.inside.words import texts

log = logging.getLogger(__name__)


def look_inside(config: RunConfig, folder: Path, names: Iterable[str]) -> None:
    """Run the analyses `names` on the networks kept in `folder`, replacing what analyses it had.

    Raises ConfigError when networks are missing, OSError when the folder cannot be written.
    """
    started = time.perf_counter()
    chosen = sorted(names)
    # Two threads of NumPy's BLAS take twice the time of one on matrices of this size; PyTorch keeps its own.
    with threadpool_limits(1, user_api="blas"):
        found = find(config, folder, chosen)
    made = folder / FOLDER
    shutil.rmtree(made, ignore_errors=True)
    (made / "figures").mkdir(parents=True)
    _write_tables(found, made)
    _write_pictures(found, made)
    seconds = time.perf_counter() - started
    write_atomically(made / INDEX, json.dumps({"analyses": chosen, "seconds": seconds}, indent=2) + "\n")
    log.info("looked inside in %.0f s: tables and pictures in %s", seconds, made)


def _write_tables(found: Findings, made: Path) -> None:
    tables = dict(found.tables)
    if found.sleeps or found.activity:
        tables["activity_means"] = activity_means(found)
    if found.replays:
        tables["synapses"] = synapse_table(found)
    for name, table in tables.items():
        write_atomically(made / f"{name}.csv", table.to_csv(index=False))
    for task, replay in found.replays.items():
        with replacing(made / f"synapses_{task}.npz") as partial, partial.open("wb") as stream:
            np.savez_compressed(
                stream,
                steps=replay.frame_steps,
                mean=replay.mean_frames,
                unit=replay.unit_frames,
                strongest=replay.strongest,
            )


def _write_pictures(found: Findings, made: Path) -> None:
    figures: list[dict[str, Any]] = []
    for picture in pictures(found):
        _write_bytes(made / "figures" / picture.file, picture.png)
        figures.append(_words(asdict(picture)) | {"file": picture.file})
    animations: list[dict[str, Any]] = []
    for film in films(found):
        frames = [f"{film.file}-{number:02d}.png" for number in range(len(film.frames))]
        for name, frame in zip(frames, film.frames, strict=True):
            _write_bytes(made / "figures" / name, frame)
        _write_bytes(made / f"{film.file}.gif", film.gif)
        animations.append(_words(asdict(film)) | {"frames": frames, "steps": film.steps})
    for name, entries in (("figures.json", figures), ("animations.json", animations), ("texts.json", texts(found.tables))):
        write_atomically(made / name, json.dumps(entries, indent=2) + "\n")


def _words(picture: dict[str, Any]) -> dict[str, Any]:
    table = picture["table"]
    return {key: picture[key] for key in ("title", "section", "alt", "how_to_read")} | {
        "csv": f"{table}.csv" if table else None
    }


def _write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)
