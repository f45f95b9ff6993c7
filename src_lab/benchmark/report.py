"""Measured speeds as rows, as text and as a picture."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import seaborn as sns  # type: ignore[import-untyped]  # ships no stubs
import torch
from matplotlib.figure import Figure
from pandas import DataFrame, isna

from src_lab.benchmark.measure import Speed

LIBRARIES = ("torch", "numpy", "numba")
NOT_MEASURED = "-"


def compare(speeds: Sequence[Speed]) -> list[dict[str, Any]]:
    """The speeds of backends on one workload as rows, each compared with the others.

    ratio              how many times less CPU time than `reference`
    equals_reference   same spikes as `reference` in the first `compared` steps
    equals_others      same spikes in all steps as every other backend that slept as many
    The first two are None where `reference` was not measured.
    """
    reference = next((speed for speed in speeds if speed.backend == "reference"), None)
    return [
        asdict(speed)
        | {
            "ratio": reference and reference.cpu_ms_per_step / speed.cpu_ms_per_step,
            "equals_reference": reference and reference.first_spikes == speed.first_spikes,
            "equals_others": all(other.spikes == speed.spikes for other in speeds if other.steps == speed.steps),
        }
        for speed in speeds
    ]


def all_equal(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no comparison of spikes found a difference."""
    return all(row["equals_others"] and row["equals_reference"] in (True, None) for row in rows)


def readable(rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """The rows of one case as text."""
    table = DataFrame(rows)
    shown = DataFrame(
        {
            **{name: table[name].astype(str) for name in ("width", "networks", "backend", "steps") if name in table},
            "ms/step": _numbers(table, "ms_per_step"),
            "CPU ms/step": _numbers(table, "cpu_ms_per_step"),
            "x reference": _numbers(table, "ratio"),
            "copying, CPU ms": _numbers(table, "copy_cpu_ms"),
            "MB beyond weights + copy": _numbers(table, "memory_mb"),
            "spikes/step by layer": [" ".join(f"{n:.3g}" for n in spikes) for spikes in table.spikes_per_step],
            "spikes equal": [_verdict(row) for row in rows],
        }
    )
    if "whole_sleep_cpu_s" in table:
        shown["sleep() CPU s"] = _numbers(table, "whole_sleep_cpu_s")
    return shown


def machine() -> dict[str, Any]:
    """What the figures depend on; the load average tells a busy machine from an idle one."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    } | {name: importlib.metadata.version(name) for name in LIBRARIES}


def time_against_width(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """CPU time of a step against the width of the hidden layers, a line per backend, both axes logarithmic."""
    table = DataFrame(rows)
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    sns.lineplot(table, x="width", y="cpu_ms_per_step", hue="backend", style="backend", markers=True, dashes=False, ax=axes)
    axes.set(xscale="log", yscale="log", xlabel="width of both hidden layers", ylabel="CPU ms per step")
    widths = sorted(table.width.unique())
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_title("A step of sleep at equal spike counts", fontsize=11)
    return figure


def _numbers(table: DataFrame, column: str) -> list[str]:
    """Three digits, or all of whole numbers."""
    return [NOT_MEASURED if isna(x) else f"{x:,.0f}" if x >= 100 else f"{x:.3g}" for x in table[column]]


def _verdict(row: Mapping[str, Any]) -> str:
    if not row["equals_others"]:
        return "DIFFER between backends"
    if row["equals_reference"] is None:
        return NOT_MEASURED
    return f"first {row['compared']}" if row["equals_reference"] else "DIFFER from reference"
