"""Run folders for the tests of aggregation, in the layout that a finished run leaves behind."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

SLEEP = {"name": "python_mnist", "iterations": 500, "inc": 0.001, "dec": 0.0001, "alpha": [14.9, 253.1, 7.7]}
APPROACHES = {"src": "SRC", "sequential": "Sequential", "merge": "Merge"}


def config(method: str = "src", seed: int = 0, **changes: object) -> dict[str, Any]:
    """A nested configuration; `changes` are dotted keys with `__` for the dot, e.g. sleep__inc=0.03."""
    nested: dict[str, Any] = {
        "name": method,
        "seed": seed,
        "device": "cpu",
        "threads": 1,
        "force": False,
        "model": {"name": "mlp", "widths": [40, 40], "bias": False, "rank": None},
        "method": {"name": method, "sleep_after": "each_task" if method == "src" else "never"},
        "dataset": {"name": "digits", "num_tasks": 2, "samples_per_task": None, "root": None},
        "train": {"name": "python", "learning_rate": 0.01, "epochs": 2},
        "sleep": dict(SLEEP),
    }
    for key, value in changes.items():
        *path, name = key.split("__")
        group = nested
        for part in path:
            group = group[part]
        group[name] = value
    return nested


def make_run(
    folder: Path,
    method: str = "src",
    seed: int = 0,
    accuracy: float | None = 0.5,
    *,
    metrics: Mapping[str, Any] | None = None,
    stages: Sequence[tuple[str, Sequence[float]]] | None = None,
    **changes: object,
) -> Path:
    """Write a finished run into `folder` and return it; `metrics` replaces entries of metrics.json."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "run_id": folder.name,
        "approach": APPROACHES.get(method, method),
        "final_accuracy": accuracy,
        "final_accuracy_task_aware": None,
        "validation_accuracy": None,
        "forgetting": None,
        "bwt": None,
        "wall_seconds": {"train": 2.0, "sleep": 1.0, "evaluate": 0.5, "total": 4.0},
        "cpu_seconds": {"train": 2.0, "total": 3.0},
        "config_hash": "0",
    } | dict(metrics or {})
    percent = float("nan") if accuracy is None else 100 * accuracy
    rows = stages or [("Initial", (10.0, 10.0, 10.0)), ("After Training", (percent, percent, percent))]
    tasks = [f"Task {task}" for task in range(len(rows[0][1]) - 1)] + ["Task All"]
    results = pd.DataFrame([accuracies for _, accuracies in rows], columns=tasks)
    results.insert(0, "steps", float("nan"))
    results.insert(0, "Stage", [stage for stage, _ in rows])
    results.insert(0, "Approach", values["approach"])
    results.to_csv(folder / "results.csv", index=False)
    pd.DataFrame(
        {
            "run_id": folder.name,
            "dataset": "digits",
            "model": "mlp",
            "method": method,
            "seed": seed,
            "stage": "final",
            "trained_task": float("nan"),
            "sleep_step": float("nan"),
            "eval_task": range(len(tasks) - 1),
            "accuracy": accuracy,
            "n_test": 100,
            "accuracy_task_aware": float("nan"),
        }
    ).to_csv(folder / "accuracy.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(method, seed, **changes)))
    (folder / "metrics.json").write_text(json.dumps(values))
    return folder
