"""The report of one finished run."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pandas import DataFrame, Series

from src_lab.plots import run_report as plots
from src_lab.plots.png import as_png
from src_lab.report.analysis import analysis_sections
from src_lab.report.command import run_command
from src_lab.report.files import read_data, read_table
from src_lab.report.page import Command, Figure, Report, Section, Table
from src_lab.results import finished
from src_lab.run_folder import BrokenRun, FinishedRun, read
from src_lab.settings import ConfigError

NO_COMMAND = "The settings of this run are not those of any command of this version; its config.yaml has them all."
AGAIN = (
    "Paste it into a checkout of this program, of the commit above for the very same numbers. A run that is finished is "
    "not run again: add force=true, or hydra.run.dir=FOLDER for another place."
)


def run_report(folder: Path) -> Report:
    """The run in `folder`. Raises ConfigError when it is not finished or one of its files cannot be used."""
    try:
        run = read(folder)
    except BrokenRun as error:
        raise ConfigError(f"{folder}: {error}: give a finished run's folder, or the run's command again") from None
    sections = (
        _results(folder),
        *_sleep(folder),
        *analysis_sections(folder),
        Section("Settings", (settings_table(run.config),)),
    )
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    title = f"{run.approach} on {run.config['dataset.name']}, seed {run.config['seed']}"
    return Report(title, _facts(run, finished(folder) or {}), (repeat(config),), sections)


def repeat(config: Mapping[str, Any]) -> Command:
    """How to run `config` again."""
    command = run_command(config)
    return Command(NO_COMMAND) if command is None else Command(command, f"The command that repeats it. {AGAIN}")


def settings_table(settings: Mapping[str, Any], name: str = "config.yaml") -> Table:
    """Every setting with its value."""
    rows = [(key, str(value)) for key, value in settings.items()]
    return Table(f"Every setting of {name}", DataFrame(rows, columns=["setting", "value"]))


def percent(share: float) -> str:
    """ "73.9 %", or a dash for what was not measured."""
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def _facts(run: FinishedRun, metrics: Mapping[str, Any]) -> dict[str, str]:
    get = run.config.get
    widths = json.loads(get("model.channels", "[]")) + json.loads(get("model.widths", "[]"))
    slept = str(get("method.sleep_after", "never"))
    numbers = run.numbers
    seconds = ", ".join(f"{phase} {numbers[f'{phase}_seconds']:.1f}" for phase in ("train", "sleep", "evaluate"))
    versions = metrics.get("versions") or {}
    return {
        "Final accuracy, all tasks": percent(numbers["final_accuracy"]),
        "Validation accuracy": percent(numbers["validation_accuracy"]),
        "Forgetting": percent(numbers["forgetting"]),
        "Backward transfer": percent(numbers["bwt"]),
        "Approach": f"{run.approach} (method={get('method.name')})",
        "Network": f"{get('model.name')}, hidden layers {', '.join(map(str, widths)) or 'none'}",
        "Data": f"{get('dataset.name')}, {get('dataset.num_tasks')} tasks of {get('dataset.classes_per_task', '?')} classes",
        "Training": f"{get('train.name')}, epochs {get('train.epochs')}, learning rate {get('train.learning_rate')}",
        "Sleep": "none" if slept == "never" else f"{get('sleep.name')}, after {_when(slept)}",
        "Seed": str(get("seed")),
        "Seconds": f"{numbers['total_seconds']:.1f} ({seconds})",
        "Threads": str(metrics.get("threads", "-")),
        "Commit": commit_text([metrics.get("git_commit")]),
        "Run": run.run_id,
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or "-",
    }


def _when(slept: str) -> str:
    """`method.sleep_after` as one says it."""
    return f"every {slept} tasks" if slept.isdecimal() else slept.replace("_", " ")


def commit_text(commits: Iterable[str | None]) -> str:
    """The commits that ran, each once; `+` is what `git_commit` marks uncommitted changes with."""
    known = dict.fromkeys(commit for commit in commits if commit)
    texts = [f"{commit[:12]} with uncommitted changes" if commit.endswith("+") else commit[:12] for commit in known]
    return ", ".join(texts) or "unknown"


def _results(folder: Path) -> Section:
    results = read_table(folder / "results.csv").drop(columns="Approach")
    tasks = [name for name in map(str, results) if name.startswith("Task ")]
    formats = dict.fromkeys(tasks, "%.1f")
    table = Table("Test accuracy (%) at every stage", results, formats, read_data(folder / "results.csv"))
    figures: list[Figure] = []
    accuracy = read_table(folder / "accuracy.csv")
    if plots.accuracy_matrix_of(accuracy).shape[0] > 0:
        data = read_data(folder / "accuracy.csv")
        in_the_end = _listed(results[tasks].iloc[-1])
        figures = [
            Figure(
                "Accuracy matrix",
                as_png(plots.accuracy_matrix(accuracy)),
                f"Heat map of test accuracy by task learned and task tested. In the end: {in_the_end}.",
                "Row k is the network after learning task k and its sleep, column j the task it is tested on; a column "
                "that fades downwards is a task being forgotten.",
                data,
            ),
            Figure(
                "Accuracy of every task through the run",
                as_png(plots.accuracy_curves(accuracy)),
                f"Lines of test accuracy per task over the stages of the run. In the end: {in_the_end}.",
                "Follow one colour from left to right: it rises when its task is learned, and grey bands are sleeps, in "
                "which what fell may come back; the black line is all tasks together.",
                data,
            ),
        ]
    return Section("Results", (table, *figures))


def _listed(percents: "Series[Any]") -> str:
    return ", ".join(f"{name} {value:.1f} %" for name, value in percents.items() if value == value)


def _sleep(folder: Path) -> tuple[Section, ...]:
    path = folder / "sleep_trace.csv"
    if not path.exists():
        return ()
    trace, data = read_table(path), read_data(path)
    sleeps = trace.groupby("trained_task", sort=False)
    ends = ", ".join(f"{100 * value:.1f} %" for value in sleeps["Task All"].last())
    spikes = ", ".join(f"{value:.0f}" for value in sleeps[plots.layer_columns(trace, "spikes")].last().sum())
    last = trace.iloc[-1]
    grown, shrunk = (
        ", ".join(f"{last[name]:.3g}" for name in plots.layer_columns(trace, what)) for what in ("grown", "shrunk")
    )
    return (
        Section(
            "During sleep",
            (
                Figure(
                    "Accuracy against sleep steps",
                    as_png(plots.sleep_accuracy(trace)),
                    f"One panel per sleep with lines of test accuracy per task. All tasks at the end of each: {ends}.",
                    "Each panel is one sleep: lines that rise are tasks coming back, lines that fall pay for it.",
                    data,
                ),
                Figure(
                    "Spikes per layer",
                    as_png(plots.sleep_spikes(trace)),
                    f"One panel per sleep with the spikes per step of each layer. In all sleeps, by layer: {spikes}.",
                    "The height is how many units of a layer fire in one step, on a logarithmic scale that ends in 0; a "
                    "layer at 0 is silent and nothing changes there any more.",
                    data,
                ),
                Figure(
                    "Change of the weights",
                    as_png(plots.sleep_change(trace)),
                    f"Norms of growth and shrinkage by layer. At the end of the last sleep grown by {grown}, shrunk by "
                    f"{shrunk}.",
                    "Solid lines are weights that grew since the sleep began, dashed ones weights that shrank (Frobenius "
                    "norms, by layer); a line that levels off is a sleep that has done its work.",
                    data,
                ),
            ),
            "Test accuracy is recorded while the network sleeps, and never used.",
        ),
    )
