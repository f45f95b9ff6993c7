"""Aggregated runs as files: CSV for programs, Markdown, LaTeX and a coloured picture for readers."""

from collections.abc import Sequence
from pathlib import Path

from pandas import DataFrame, isna

from src_lab.aggregate import Runs, group_columns, stage_accuracies, summarise
from src_lab.files import replacing, write_atomically
from src_lab.plots.accuracy_table import NOT_MEASURED, accuracy_table, mean_and_sd
from src_lab.settings import ConfigError

QUANTITIES = {"final_accuracy": "final accuracy (%)", "forgetting": "forgetting (%)"}


def write_tables(runs: Runs, out: Path, by: Sequence[str] | None = None) -> DataFrame:
    """Write runs.csv, summary.csv, .md, .tex and accuracy_table.png into `out`, and return the summary to read.

    problems.csv is there only when some run was not counted. Every file is replaced whole or not at all.
    Raises ConfigError for an unknown name in `by`, for no finished run, and when `out` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_problems(runs, out)
        summary = summarise(runs, by)
        shown = readable(summary, list(group_columns(runs, by).columns))
        for name, text in {
            "runs.csv": runs.table.to_csv(index=False),
            "summary.csv": summary.to_csv(index=False),
            "summary.md": to_markdown(shown),
            "summary.tex": to_latex(shown),
        }.items():
            write_atomically(out / name, text)
        with replacing(out / "accuracy_table.png") as partial:
            accuracy_table(stage_accuracies(runs, by)).savefig(partial, format="png", dpi=150)
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written ({error.strerror}): name another folder, --out DIR") from error
    return shown


def _write_problems(runs: Runs, out: Path) -> None:
    """problems.csv, or its absence when there are none."""
    if runs.problems.empty:
        (out / "problems.csv").unlink(missing_ok=True)
        return
    write_atomically(out / "problems.csv", runs.problems.to_csv(index=False))


def readable(summary: DataFrame, groups: Sequence[str]) -> DataFrame:
    """The summary as text to read: accuracy and forgetting in percent, "72.6 ± 2.9" (mean ± sd), time per run.

    An n of "3 of 4" says that the final accuracy of one run was not measured, and the mean is over the others.
    Columns of which every cell is empty (the settings, when none differ) are left out.
    """
    table = summary[[*groups, "n"]].astype(object).fillna(NOT_MEASURED).astype(str)
    measured = summary["final_accuracy_n"]
    table["n"] = table["n"].where(measured == summary["n"], measured.astype(str) + " of " + table["n"])
    for name, title in QUANTITIES.items():
        mean, sd, low, high = (100 * summary[f"{name}_{part}"] for part in ("mean", "sd", "low", "high"))
        table[title] = [mean_and_sd(*pair) for pair in zip(mean, sd, strict=True)]
        table[f"{title}, 95 % CI"] = [_interval(*pair) for pair in zip(low, high, strict=True)]
    table["time (s)"] = summary["total_seconds"].map(lambda seconds: NOT_MEASURED if isna(seconds) else f"{seconds:.1f}")
    return table[[name for name in table if (table[name] != "").any()]]


def _interval(low: float, high: float) -> str:
    return NOT_MEASURED if isna(low) else f"{low:.1f} to {high:.1f}"


def to_markdown(table: DataFrame) -> str:
    """A table of text as Markdown (`DataFrame.to_markdown` needs a package that nothing else does)."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows)


def to_latex(table: DataFrame) -> str:
    """A table of text as a LaTeX tabular; the document needs the booktabs package."""
    return table.to_latex(index=False, escape=True).replace("±", r"$\pm$")
