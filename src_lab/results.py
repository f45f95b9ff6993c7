"""What a run leaves in its folder: `config.yaml`, `accuracy.csv`, `results.csv`, `metrics.json`, each written atomically."""

import importlib.metadata
import json
import math
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import yaml

from src_lab import metrics
from src_lab.config import RunConfig
from src_lab.evaluation import Accuracy
from src_lab.files import write_atomically
from src_lab.settings import as_plain

Stage = Literal["initial", "train", "sleep", "final"]
LIBRARIES = ("src-lab", "torch", "numpy", "numba", "hydra-core", "optuna")


@dataclass
class Clock:
    """Seconds spent per phase of a run."""

    wall: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "sleep": 0.0, "evaluate": 0.0})
    cpu: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "sleep": 0.0, "evaluate": 0.0})
    started: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), time.process_time()))

    def add(self, totals: dict[str, dict[str, float]]) -> None:
        """Count in what an earlier start of the run took, as its `totals` said."""
        wall, cpu = totals["wall_seconds"], totals["cpu_seconds"]
        for phase in self.wall:
            self.wall[phase] += wall[phase]
            self.cpu[phase] += cpu[phase]
        self.started = (self.started[0] - wall["total"], self.started[1] - cpu["total"])

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall[name] += time.perf_counter() - wall
            self.cpu[name] += time.process_time() - cpu

    def totals(self) -> dict[str, dict[str, float]]:
        wall, cpu = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        return {"wall_seconds": {**self.wall, "total": wall}, "cpu_seconds": {**self.cpu, "total": cpu}}


@dataclass
class Log:
    """The accuracies of a run as they are measured, stage by stage."""

    config: RunConfig
    approach: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, stage: Stage, accuracies: Sequence[Accuracy], task: int | None = None, sleep_step: int | None = None
    ) -> None:
        """Note the accuracy on every task at one stage; `task` is what was trained (-1: all at once), if anything."""
        for index, measured in enumerate(accuracies):
            self.rows.append(
                {
                    "run_id": self.config.run_id,
                    "dataset": self.config.dataset.name,
                    "model": self.config.model.name,
                    "method": self.config.method.name,
                    "seed": self.config.seed,
                    "stage": stage,
                    "trained_task": task,
                    "sleep_step": sleep_step,
                    "eval_task": index,
                    "accuracy": measured.accuracy,
                    "n_test": measured.n_test,
                    "accuracy_task_aware": measured.task_aware,
                }
            )

    def repeat_last_as(self, stage: Stage) -> None:
        """Note the last stage's accuracies again under another name: nothing has changed since."""
        self.rows += [{**row, "stage": stage, "trained_task": None, "sleep_step": None} for row in self._stages()[-1]]

    def table(self) -> pd.DataFrame:
        """The tidy table behind `accuracy.csv`: a row per stage and task, accuracies in [0, 1], NaN where not measured."""
        return pd.DataFrame(self.rows).astype({"trained_task": "Int64", "sleep_step": "Int64"})

    def results(self) -> pd.DataFrame:
        """The wide table behind `results.csv`: a row per stage, a column per task, accuracies in percent."""
        rows = []
        for at in self._stages():
            values = [100 * row["accuracy"] for row in at]
            rows.append(
                {
                    "Approach": self.approach,
                    "Stage": stage_name(at[0]["stage"], at[0]["trained_task"]),
                    "steps": at[0]["sleep_step"],
                    **{f"Task {index}": value for index, value in enumerate(values)},
                    "Task All": 100 * _overall(at, "accuracy"),
                }
            )
        return pd.DataFrame(rows).astype({"steps": "Int64"})

    def final(self) -> dict[str, float]:
        """Final accuracies, forgetting and backward transfer."""
        r = self._matrix()
        return {
            "final_accuracy": _overall(self._stages()[-1], "accuracy"),
            "final_accuracy_task_aware": _overall(self._stages()[-1], "accuracy_task_aware"),
            "forgetting": metrics.forgetting(r),
            "bwt": metrics.backward_transfer(r),
        }

    def _stages(self) -> list[list[dict[str, Any]]]:
        tasks = self.config.dataset.num_tasks
        return [self.rows[start : start + tasks] for start in range(0, len(self.rows), tasks)]

    def _matrix(self) -> metrics.Array:
        """R[k, j]: accuracy on task j at the last stage of trained task k, after its sleep if it slept."""
        last = {at[0]["trained_task"]: at for at in self._stages() if at[0]["trained_task"] is not None}
        accuracies = [[row["accuracy"] for row in at] for at in last.values()]
        return np.array(accuracies) if accuracies else np.empty((0, self.config.dataset.num_tasks))


def stage_name(stage: Stage, task: int | None) -> str:
    """How a reader calls a stage: "Initial", "After Task 0", "After Sleep 0", "After Training"."""
    if task is None:
        return {"initial": "Initial", "final": "After Training"}[stage]
    return f"After {'Sleep' if stage == 'sleep' else 'Task'} {'All' if task < 0 else task}"


def write_config(config: RunConfig, folder: Path) -> None:
    """Write `config.yaml`, whole enough to repeat the run."""
    write_atomically(folder / "config.yaml", yaml.safe_dump(as_plain(config), sort_keys=False))


def write_results(log: Log, folder: Path, extra: dict[str, Any]) -> dict[str, Any]:
    """Write the tables and, last, `metrics.json`, whose presence means that the run is finished. Returns the metrics."""
    values = {
        "run_id": log.config.run_id,
        "approach": log.approach,
        **log.final(),
        **extra,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "git_commit": git_commit(),
        "config_hash": log.config.hash,
        "threads": torch.get_num_threads(),
    }
    finite: dict[str, Any] = _without_nan(values)
    write_atomically(folder / "accuracy.csv", log.table().to_csv(index=False))
    write_atomically(folder / "results.csv", log.results().to_csv(index=False, float_format="%.4f"))
    write_atomically(folder / "metrics.json", json.dumps(finite, indent=2, allow_nan=False) + "\n")
    return finite


def write_trace(table: pd.DataFrame, folder: Path) -> None:
    """Write `sleep_trace.csv`."""
    write_atomically(folder / "sleep_trace.csv", table.to_csv(index=False))


def kept_on_purpose(folder: Path) -> bool:
    """Whether the run in `folder` was told to keep its networks."""
    return bool(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")).get("keep_networks"))


def read_results(folder: Path) -> pd.DataFrame:
    """The wide table that a finished run wrote."""
    return pd.read_csv(folder / "results.csv", dtype={"steps": "Int64"})


def finished(folder: Path) -> dict[str, Any] | None:
    """The metrics of the finished run in `folder`, or None."""
    try:
        values = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def discard(folder: Path) -> None:
    """Remove the results of the run in `folder`, first the file that says it is finished."""
    for name in ("metrics.json", "accuracy.csv", "results.csv", "sleep_trace.csv", "report.html"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "analysis", ignore_errors=True)


def _version(name: str) -> str | None:
    """Of an installed distribution; None for one that is not, as ours where a checkout is run by its path alone."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Commit of the source tree that runs, with `+` when it has uncommitted changes; None outside a checkout.

    Changes in docs/ are none: runs are noted there as they finish (`src_lab.ledger`).
    """
    here = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for command in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")


def _without_nan(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """`value` with null for what was not measured, which JSON has no number for."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _overall(at: list[dict[str, Any]], column: str) -> float:
    return metrics.overall_accuracy(
        np.array([row[column] for row in at]), np.array([row["n_test"] for row in at], dtype=float)
    )
