"""Accuracy by group of runs, stage and task, as a tidy table: what `stages.csv` holds."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas import DataFrame

from src_lab.aggregate import Runs, stage_accuracies, with_interval

ALL = -1
"""As `trained_task`: all tasks at once; as `eval_task`: the images of all tasks together."""
MOMENTS = ["n", "mean", "sd", "low", "high"]
TRAINED = re.compile(r"After (Task|Sleep) (All|\d+)")
KINDS = {"Initial": "initial", "After Training": "final", "Task": "train", "Sleep": "sleep"}


def stage_table(runs: Runs, by: Sequence[str] | None = None) -> DataFrame:
    """Mean accuracy (0-1), sd (ddof 1) and Student's 95 % interval per group, stage and task, stages in their order.

    Columns: those of `by` (default `src_lab.aggregate.GROUPING`), stage (initial, train, sleep or final), trained_task,
    eval_task (`ALL` for all at once), n (runs that measured it), mean, sd, low, high.
    Raises ConfigError for an unknown name in `by`.
    """
    wide = stage_accuracies(runs, by)
    keys = wide.index.to_frame(index=False)
    stage, trained = zip(*map(_stage_of, keys.pop("Stage")), strict=True)
    keys = keys.assign(stage=stage, trained_task=pd.array(trained, dtype="Int64"))
    tasks = list(wide.columns.unique(level=0))
    moments = DataFrame(wide.stack(level=0, future_stack=True)).reset_index(drop=True) / [100, 100, 1]
    rows = np.arange(len(keys)).repeat(len(tasks))
    eval_tasks = [ALL if name == "Task All" else int(name.removeprefix("Task ")) for name in tasks]
    numbers = with_interval(moments, "of").rename(columns=lambda name: name.removeprefix("of_"))
    named = keys.iloc[rows].reset_index(drop=True).assign(eval_task=np.tile(eval_tasks, len(keys)))
    return pd.concat([named, numbers[MOMENTS].astype({"n": int})], axis=1)


def _stage_of(name: str) -> tuple[str, int | None]:
    """ "After Sleep 3" as ("sleep", 3), as `accuracy.csv` has it; a name that no stage of this program has as it is."""
    found = TRAINED.fullmatch(name)
    if found is None:
        return KINDS.get(name, name), None
    kind, task = found.groups()
    return KINDS[kind], ALL if task == "All" else int(task)
