"""What sleep does inside, over seeds: measures before and after each sleep, and what it did to the weights, mean and sd.

python run.py -m method=src seed='range(0,5)' threads=1 analysis=all
python scripts/around_sleeps.py outputs/src-*-s[0-4] --out docs/results/inside
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from src_lab.files import write_atomically
from src_lab.inside.words import around_sleeps, newest_shares, overlaps_of_met
from src_lab.tables import to_markdown

MEASURES: Mapping[str, tuple[str, str]] = {
    "stable rank of the weights": ("weight_ranks", "stable_rank"),
    "spectral norm of the weights": ("weight_ranks", "spectral"),
    "effective rank of the activations": ("activation_ranks", "effective_rank"),
    "components for 90 % of a task's variance": ("activation_ranks", "components_90"),
    "share of the variance, newest task": ("pca_importance", "share"),
    "overlap of the tasks met": ("task_overlap", "overlap"),
    "sparseness (Treves-Rolls)": ("sparseness", "treves_rolls"),
    "share of active units": ("sparseness", "active_share"),
    "correlation of classes": ("class_correlation", "correlation"),
}
"""Measure by name: the table of the analysis and its column."""
CHANGES = ["increased", "decreased", "change_rank", "uniform_share"]


def main() -> int:
    """Exit status: 0 when the tables were written, 2 when a run lacks one of them."""
    arguments = parse_arguments()
    try:
        measured = pd.concat([measures(run / "analysis").assign(run=run.name) for run in arguments.runs])
    except FileNotFoundError as error:
        print(f"{error.filename} is missing: run it with analysis=all", file=sys.stderr)
        return 2
    pooled, changes = pool(measured), pool_changes(arguments.runs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, table in (("around_sleeps", pooled), ("weight_changes", changes)):
        write_atomically(arguments.out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    write_atomically(arguments.out / "around_sleeps.md", to_markdown(shown(pooled)))
    print(to_markdown(shown(pooled)))
    return 0


def measures(folder: Path) -> DataFrame:
    """Columns measure, trained_task, layer, before, after of one run."""
    found = []
    for name, (file, column) in MEASURES.items():
        table = pd.read_csv(folder / f"{file}.csv").astype({"trained_task": "Int64"})
        if file == "pca_importance":
            table = newest_shares(table)
        elif file == "task_overlap":
            table = overlaps_of_met(table)
        elif file == "class_correlation":
            table = table[table["class_a"] < table["class_b"]]
        found.append(around_sleeps(table, column, ["layer"]).assign(measure=name))
    return pd.concat(found)


def pool(measured: DataFrame) -> DataFrame:
    """Columns measure, layer, trained_task, runs, fell, before, before_sd, after, after_sd: moments over the runs."""
    grouped = measured.assign(fell=measured["after"] < measured["before"]).groupby(
        ["measure", "layer", "trained_task"], sort=False
    )
    return grouped.agg(
        runs=("run", "nunique"),
        fell=("fell", "sum"),
        before=("before", "mean"),
        before_sd=("before", "std"),
        after=("after", "mean"),
        after_sd=("after", "std"),
    ).reset_index()


def pool_changes(runs: Sequence[Path]) -> DataFrame:
    """Columns layer, trained_task, runs, and mean and sd over the runs of what `weight_changes` measures of a sleep."""
    tables = pd.concat([pd.read_csv(run / "analysis" / "weight_changes.csv") for run in runs])
    grouped = tables.groupby(["layer", "trained_task"])[CHANGES]
    moments = grouped.agg(["mean", "std"])
    moments.columns = [f"{name}_sd" if moment == "std" else name for name, moment in moments.columns]
    return grouped.size().rename("runs").to_frame().join(moments).reset_index()


def shown(pooled: DataFrame) -> DataFrame:
    """A row per measure and layer: the first and the last sleep, and in how many of all sleeps the measure fell."""
    rows = []
    for (measure, layer), sleeps in pooled.groupby(["measure", "layer"], sort=False):
        first, last = sleeps.iloc[0], sleeps.iloc[-1]
        rows.append(
            {
                "measure": measure,
                "layer": f"{layer}",
                "first sleep": _move(first),
                "last sleep": _move(last),
                "fell in": f"{sleeps['fell'].sum()} of {sleeps['runs'].sum()} sleeps",
            }
        )
    return DataFrame(rows)


def _move(row: "pd.Series[float]") -> str:
    return f"{row['before']:.3g} ± {row['before_sd']:.2g} → {row['after']:.3g} ± {row['after_sd']:.2g}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs of one setting, one per seed")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the tables go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
