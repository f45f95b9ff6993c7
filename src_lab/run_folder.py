"""A run's folder, read back: whether it is finished, and what it says."""

import csv
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FINAL_STAGE = "After Training"
ACCURACY_COLUMNS = (
    "run_id",
    "dataset",
    "model",
    "method",
    "seed",
    "stage",
    "trained_task",
    "sleep_step",
    "eval_task",
    "accuracy",
    "n_test",
)
REQUIRED_METRICS = ("run_id", "approach", "final_accuracy")
REQUIRED_SETTINGS = ("seed", "method.name", "model.name", "dataset.name", "train.name")
TOP_LEVEL_KEY = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)
SHARES = ("final_accuracy", "final_accuracy_task_aware", "validation_accuracy")
SIGNED_SHARES = ("forgetting", "bwt")
STORED = ("floats", "images", "models")
PHASES = ("train", "sleep", "evaluate", "total")


class BrokenRun(Exception):
    """A run folder that cannot be counted. The message says in one line which file and why."""


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run folder holds.

    config    settings by dotted key (`flatten`)
    numbers   accuracies (0-1), forgetting, bwt, what the method stores and seconds from metrics.json; NaN where not measured
    stages    one mapping per row of results.csv: Stage, and the accuracies in percent by task, NaN where not measured
    """

    folder: Path
    run_id: str
    approach: str
    config: dict[str, Any]
    numbers: dict[str, float]
    stages: list[dict[str, Any]]


def read(folder: Path) -> FinishedRun:
    """The finished run in `folder`. Raises BrokenRun when it is not finished or one of its files cannot be used."""
    if not (folder / "metrics.json").exists():
        raise BrokenRun("not finished")
    metrics = _read_metrics(folder)
    config = _read_config(folder)
    _read_rows(folder, "accuracy.csv", ACCURACY_COLUMNS)
    return FinishedRun(
        folder=folder,
        run_id=str(metrics["run_id"]),
        approach=str(metrics["approach"]),
        config=config,
        numbers=_read_numbers(metrics),
        stages=_read_stages(folder),
    )


def flatten(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, as typed on a command line: null, true and lists are text, numbers stay."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            flat |= flatten(value, key)
        elif value is None or isinstance(value, (bool, list)):
            flat[key] = json.dumps(value, separators=(",", ":"), default=str)
        else:
            flat[key] = value
    return flat


def _read_text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BrokenRun(f"{name}: missing") from None
    except UnicodeDecodeError:
        raise BrokenRun(f"{name}: not UTF-8 text") from None
    except OSError as error:
        raise BrokenRun(f"{name}: cannot be read: {error.strerror}") from None


def _read_metrics(folder: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(_read_text(folder, "metrics.json"))
    except json.JSONDecodeError as error:
        raise BrokenRun(f"metrics.json: invalid JSON at line {error.lineno} column {error.colno}") from None
    if not isinstance(metrics, dict):
        raise BrokenRun("metrics.json: not a JSON object")
    _require(metrics, REQUIRED_METRICS, "metrics.json")
    return metrics


def _read_config(folder: Path) -> dict[str, Any]:
    text = _read_text(folder, "config.yaml")
    try:
        flat = _flat_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BrokenRun(f"config.yaml: invalid YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    _require(flat, REQUIRED_SETTINGS, "config.yaml")
    return flat


def _require(values: Mapping[str, Any], keys: Sequence[str], name: str) -> None:
    for key in keys:
        if key not in values:
            raise BrokenRun(f"{name}: missing {key}")


def _flat_yaml(text: str) -> dict[str, Any]:
    """`text` parsed and flattened, top-level key by key, since runs of a sweep share all but a few of these blocks.

    Parsing whole files is more than half of the time that thousands of runs take. A text that does not come apart
    so (an alias to another block, say) is parsed whole, which also gives errors their line.
    """
    flat: dict[str, Any] = {}
    try:
        for block in TOP_LEVEL_KEY.split(text):
            flat |= _flat_block(block)
    except (yaml.YAMLError, BrokenRun):
        return _flat_block(text)
    return flat


@functools.lru_cache(maxsize=4096)
def _flat_block(text: str) -> dict[str, Any]:
    values = yaml.load(text, Loader=yaml.CSafeLoader)
    if values is not None and not isinstance(values, dict):
        raise BrokenRun("config.yaml: not a mapping of settings")
    return flatten(values or {})


def _read_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    numbers = {key: _number(metrics, key, 0, 1) for key in SHARES}
    numbers |= {key: _number(metrics, key, -1, 1) for key in SIGNED_SHARES}
    wall, cpu = _object(metrics, "wall_seconds"), _object(metrics, "cpu_seconds")
    numbers |= {f"{phase}_seconds": _number(wall, phase, 0, math.inf) for phase in PHASES}
    stored = _object(metrics, "stored")
    numbers |= {f"stored_{what}": _number(stored, what, 0, math.inf) for what in STORED}
    return numbers | {"cpu_seconds": _number(cpu, "total", 0, math.inf)}


def _object(metrics: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    values = metrics.get(key) or {}
    if not isinstance(values, dict):
        raise BrokenRun(f"metrics.json: {key}={values} is not an object")
    return values


def _number(values: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = values.get(key)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BrokenRun(f"metrics.json: {key}={value} is not a number")
    if not math.isnan(value) and not low <= value <= high:
        raise BrokenRun(f"metrics.json: {key}={value} is not between {low:g} and {high:g}")
    return float(value)


def _read_rows(folder: Path, name: str, columns: Sequence[str]) -> list[list[str]]:
    """The header and at least one row, all of one length.

    With the csv module: pandas takes a millisecond to open a file, and there may be 20,000.
    """
    rows = list(csv.reader(_read_text(folder, name).splitlines()))
    header = rows[0] if rows else []
    for column in columns:
        if column not in header:
            raise BrokenRun(f"{name}: missing column {column}" if header else f"{name}: empty")
    if len(rows) < 2:
        raise BrokenRun(f"{name}: no rows")
    for line, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise BrokenRun(f"{name}: line {line} has {len(row)} of {len(header)} columns")
    return rows


def _read_stages(folder: Path) -> list[dict[str, Any]]:
    header, *lines = _read_rows(folder, "results.csv", ("Approach", "Stage", "Task All"))
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    if rows[-1]["Stage"] != FINAL_STAGE:
        raise BrokenRun(f"results.csv: the last row is {rows[-1]['Stage']!r}, not {FINAL_STAGE!r}")
    return [
        {"Stage": row["Stage"]} | {task: _percent(row, task) for task in row if task.startswith("Task ")} for row in rows
    ]


def _percent(row: Mapping[str, str], task: str) -> float:
    try:
        return float(row[task]) if row[task].strip() else math.nan
    except ValueError:
        raise BrokenRun(f"results.csv: {task}={row[task]} in stage {row['Stage']!r} is not a number") from None
