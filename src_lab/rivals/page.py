"""The comparison's page, made from the records alone, and what is missing in them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from src_lab.aggregate import Runs, summarise
from src_lab.comparison import compare
from src_lab.cost import missing_line
from src_lab.ledger import Row, number
from src_lab.plots.accuracy_table import NOT_MEASURED, mean_and_sd
from src_lab.rivals.record import NUMBERS, Record
from src_lab.tables import count, to_markdown

REFERENCE = "src"
INTRODUCTION = """# Every method in one setting

Made by `python scripts/compare_rivals.py --page` from the records in `{folder}/`; not to be edited by hand. Test accuracy
and forgetting in percent, mean ± sd (n runs); *stored* is what is carried from task to task beside the network; CPU seconds
are of a run with its evaluations, less where a cache had its trainings. The difference to SRC is in points, seed by seed,
with its 95 % interval (paired t). Below each table, what tuning on validation images changed in a method's defaults."""


def records(folder: Path) -> list[Record]:
    """Every record below `folder`."""
    return [Record(path.parent) for path in sorted(folder.glob("*/tuned.csv"))]


def page(folder: Path, methods: Sequence[str], seeds: Sequence[int], notes: str) -> str:
    """The Markdown page of all records below `folder`. Raises ConfigError for a damaged one."""
    sections = [section(record, methods, seeds, folder.name) for record in records(folder)]
    return "\n\n".join([INTRODUCTION.format(folder=folder.name), *sections, *([notes.strip()] if notes else [])]) + "\n"


def section(record: Record, methods: Sequence[str], seeds: Sequence[int], parent: str) -> str:
    """One setting: results by accuracy, and tuned settings in the same order."""
    counted, tuned = record.counted(), record.tuned.rows()
    runs = list(counted.values())
    unfinished = [method for method in methods if sum(row["method"] == method for row in runs) < len(seeds)]
    stale = len(record.runs.rows()) - len(runs)
    facts = [
        f"Setting: {f'`{record.setting()}`' if record.setting() else 'the defaults'}. "
        f"Record: [{record.name}]({parent}/{record.name}).",
        f"Not finished: {', '.join(unfinished)}." if unfinished else "",
        f"Runs whose settings have changed since do not count: {stale}." if stale else "",
    ]
    order = sorted({row["method"] for row in runs}, key=lambda method: (-_mean_accuracy(runs, method), method))
    shown = [to_markdown(results(runs, order)).strip()] if runs else []
    settings = to_markdown(choices({method: tuned[method] for method in [*order, *(m for m in tuned if m not in order)]}))
    return "\n\n".join([f"## {record.name}", " ".join(fact for fact in facts if fact), *shown, settings.strip()])


def results(rows: Sequence[Row], order: Sequence[str]) -> DataFrame:
    """A row per method, as text."""
    runs = _as_runs(rows)
    summary = summarise(runs, ["method", "approach"]).set_index("method").loc[list(order)]
    differences = _differences(runs)
    table = DataFrame({"method": summary["approach"]})
    for quantity, title in {"final_accuracy": "final accuracy", "forgetting": "forgetting"}.items():
        mean, sd, n = (summary[f"{quantity}_{part}"] for part in ("mean", "sd", "n"))
        table[title] = [f"{mean_and_sd(100 * m, 100 * s)} ({k})" for m, s, k in zip(mean, sd, n, strict=True)]
    table["numbers stored"] = summary["stored_floats"].map(count)
    table["images stored"] = summary["stored_images"].map(count)
    table["CPU seconds"] = summary["cpu_seconds"].map(lambda seconds: f"{seconds:.0f}")
    table["difference to SRC"] = [differences.get(method, NOT_MEASURED) for method in order]
    return table


def choices(tuned: Mapping[str, Row]) -> DataFrame:
    """What was chosen for each method, and by what."""
    return DataFrame(
        {
            "method": method,
            "tuned settings": f"`{_rounded(row['overrides'])}`" if row["overrides"] else "its defaults",
            "validation accuracy": _percent(number(row, "validation_accuracy")),
            "trials": row["trials"],
            "tuned in": row["tuned_in"] or "this setting",
        }
        for method, row in tuned.items()
    )


def missing(record: Record, methods: Iterable[str], seeds: Sequence[int], trials: int, others: Sequence[Record] = ()) -> str:
    """How many trials and runs a record lacks, and what they will take: as the method's runs did here or, if it has none,
    in `others`, times as much as the methods that both records have take longer here."""
    tuned, counted = record.tuned.rows(), record.counted()
    if any(row["tuned_in"] for row in tuned.values()):  # --tuned-in has no trials of its own
        trials = 0
    done = [((row["method"],), number(row, "cpu_seconds")) for row in counted.values()]
    own = _seconds(record)
    for other in map(_seconds, others):
        both = own.index.intersection(other.index)
        if other[both].sum() > 0:
            new = other.index.difference(own.index)
            done += [((method,), other[method] * own[both].sum() / other[both].sum()) for method in new]
    wanted, searches = [], 0
    for method in methods:
        if method in tuned:
            config = record.config(method, 0)
            wanted += [(method,) for seed in seeds if replace(config, seed=seed).run_id not in counted]
        else:
            wanted += [(method,)] * (trials + len(seeds))
            searches += trials
    return missing_line(record.name, wanted, done, f" ({searches} of them trials)" if searches else "")


def _seconds(record: Record) -> pd.Series:
    """CPU seconds of a run of each method."""
    rows = DataFrame(record.counted().values(), columns=["method", "cpu_seconds"])
    return pd.to_numeric(rows["cpu_seconds"]).groupby(rows["method"]).mean().dropna()


def _as_runs(rows: Sequence[Row]) -> Runs:
    table = DataFrame(rows)
    table[["seed", *NUMBERS]] = table[["seed", *NUMBERS]].apply(pd.to_numeric)
    return Runs(table, DataFrame({"dataset.name": table["dataset"]}), DataFrame(), DataFrame())


def _differences(runs: Runs) -> dict[str, str]:
    """Per method, by how much its final accuracy differs from that of SRC."""
    if REFERENCE not in set(runs.table["method"]):
        return {}
    table = compare(runs, ["method"], REFERENCE).table
    points = table[table["quantity"] == "final_accuracy"].set_index("a").filter(like="difference_") * 100
    texts = {}
    for method, mean, sd, low, high in points.itertuples():
        interval = f", {low:+.1f} to {high:+.1f}" if low == low else ""
        texts[str(method).removeprefix("method ")] = f"{mean:+.1f}" + (f" ± {sd:.1f}" if sd == sd else "") + interval
    return texts


def _mean_accuracy(rows: Sequence[Row], method: str) -> float:
    own = [number(row, "final_accuracy") for row in rows if row["method"] == method]
    return sum(own) / len(own)


def _rounded(overrides: str) -> str:
    """Three digits are enough to read; tuned.csv has all."""
    digits = r"\d+\.\d+(e[-+]?\d+)?"
    return re.sub(digits, lambda match: f"{float(match[0]):{'.0f' if float(match[0]) >= 100 else '.3g'}}", overrides)


def _percent(share: float) -> str:
    return NOT_MEASURED if share != share else f"{100 * share:.1f}"
