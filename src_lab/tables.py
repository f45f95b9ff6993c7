"""Aggregated runs as files: CSV for programs, Markdown, LaTeX and a coloured picture for readers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pandas import DataFrame, isna

from src_lab.aggregate import STORED, Runs, group_columns, stage_accuracies, summarise
from src_lab.comparison import compare
from src_lab.files import replacing, write_atomically
from src_lab.plots.accuracy_table import NOT_MEASURED, accuracy_table, mean_and_sd
from src_lab.settings import ConfigError
from src_lab.stages import stage_table

TITLES = {"final_accuracy": "final accuracy (%)", "forgetting": "forgetting (%)"}


@dataclass(frozen=True)
class Tables:
    """What was written into a folder, as text to read.

    summary      one row per group of runs
    comparisons  one row per pair of groups and quantity; may have none
    notes        what was not compared, and why
    said         how many runs there are, and where the files are
    """

    summary: DataFrame
    comparisons: DataFrame
    notes: list[str]
    said: str

    def __str__(self) -> str:
        compared = [] if self.comparisons.empty else ["", self.comparisons.to_string(index=False)]
        return "\n".join([self.summary.to_string(index=False), *compared, *self.notes, self.said])


def write_tables(runs: Runs, out: Path, by: Sequence[str] | None = None, against: str | None = None) -> Tables:
    """Write runs.csv, stages.csv, summary.csv, .md, .tex and accuracy_table.png into `out`; return what there is to read.

    comparisons.csv and .md are there only when there is something to compare, problems.csv only when some run was not
    counted. Every file is replaced whole or not at all.
    Raises ConfigError for an unknown name in `by` or `against`, for no finished run, and when `out` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_or_remove(out / "problems.csv", runs.problems.to_csv(index=False), keep=not runs.problems.empty)
        summary = summarise(runs, by)
        comparison = compare(runs, by, against)
        shown = readable(summary, list(group_columns(runs, by).columns))
        differences = readable_differences(comparison.table)
        for name, text in {
            "runs.csv": runs.table.to_csv(index=False),
            "summary.csv": summary.to_csv(index=False),
            "summary.md": to_markdown(shown),
            "summary.tex": to_latex(shown),
            "stages.csv": stage_table(runs, by).to_csv(index=False),
        }.items():
            write_atomically(out / name, text)
        compared = not differences.empty
        _write_or_remove(out / "comparisons.csv", comparison.table.to_csv(index=False), keep=compared)
        _write_or_remove(out / "comparisons.md", to_markdown(differences), keep=compared)
        with replacing(out / "accuracy_table.png") as partial:
            accuracy_table(stage_accuracies(runs, by)).savefig(partial, format="png", dpi=150)
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written ({error.strerror}): name another folder, --out DIR") from error
    said = f"{len(runs.table)} {'run' if len(runs.table) == 1 else 'runs'}; tables and picture in {out.as_posix()}"
    return Tables(shown, differences, comparison.notes, said)


def _write_or_remove(path: Path, text: str, *, keep: bool) -> None:
    """A file that is there only while it has something to say."""
    if keep:
        write_atomically(path, text)
    else:
        path.unlink(missing_ok=True)


def readable(summary: DataFrame, groups: Sequence[str]) -> DataFrame:
    """The summary as text to read: accuracy and forgetting in percent, "72.6 ± 2.9" (mean ± sd), time per run.

    An n of "3 of 4" says that the final accuracy of one run was not measured, and the mean is over the others.
    Columns of which every cell is empty (the settings, when none differ) are left out.
    """
    table = summary[[*groups, "n"]].astype(object).fillna(NOT_MEASURED).astype(str)
    measured = summary["final_accuracy_n"]
    table["n"] = table["n"].where(measured == summary["n"], measured.astype(str) + " of " + table["n"])
    for name, title in TITLES.items():
        mean, sd, low, high = (100 * summary[f"{name}_{part}"] for part in ("mean", "sd", "low", "high"))
        table[title] = [mean_and_sd(*pair) for pair in zip(mean, sd, strict=True)]
        table[f"{title}, 95 % CI"] = [_interval(*pair) for pair in zip(low, high, strict=True)]
    for name in STORED:
        if name in summary and (summary[name] > 0).any():
            table[name.replace("_", " ")] = summary[name].map(count)
    table["time (s)"] = summary["total_seconds"].map(lambda seconds: NOT_MEASURED if isna(seconds) else f"{seconds:.1f}")
    return table[[name for name in table if (table[name] != "").any()]]


def count(number: float) -> str:
    """ "19.2M", "100", or that it is not known."""
    if isna(number):
        return NOT_MEASURED
    return f"{number / 1e6:.3g}M" if number >= 1e6 else f"{number:.0f}"


def _interval(low: float, high: float) -> str:
    return NOT_MEASURED if isna(low) else f"{low:.1f} to {high:.1f}"


def readable_differences(comparisons: DataFrame) -> DataFrame:
    """The differences as text to read: a - b in percentage points, "+3.2 ± 0.5" (mean ± sd over common seeds)."""
    columns = ["difference_mean", "difference_sd", "difference_low", "difference_high"]
    points = (100 * comparisons[columns].astype(float)).itertuples(index=False)
    cells = [(_signed(mean, sd), "-" if isna(low) else f"{low:+.1f} to {high:+.1f}") for mean, sd, low, high in points]
    table = comparisons[["a", "b"]].astype(str)
    table["of"] = comparisons["quantity"].str.replace("_", " ")
    table["n"] = comparisons["n"].astype(str)
    table["a - b (points)"] = [difference for difference, _ in cells]
    table["95 % CI (paired t)"] = [interval for _, interval in cells]
    table["0 outside"] = comparisons["excludes_zero"].map({True: "yes", False: "no"}).fillna(NOT_MEASURED)
    return table


def _signed(mean: float, sd: float) -> str:
    return f"{mean:+.1f}" if isna(sd) else f"{mean:+.1f} ± {sd:.1f}"


def to_markdown(table: DataFrame) -> str:
    """A table of text as Markdown (`DataFrame.to_markdown` needs a package that nothing else does)."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows)


def to_latex(table: DataFrame) -> str:
    """A table of text as a LaTeX tabular; the document needs the booktabs package."""
    return table.to_latex(index=False, escape=True).replace("±", r"$\pm$")
