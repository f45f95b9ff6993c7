"""The report of a search for good settings."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from pandas import DataFrame, Series

from src_lab.report.command import run_command
from src_lab.report.files import read_data, read_png, read_table
from src_lab.report.page import Command, Figure, Report, Section, Table
from src_lab.report.run import commit_text, settings_table
from src_lab.results import finished
from src_lab.run_folder import flatten
from src_lab.settings import ConfigError

NOTE = "search.yaml"
"""As `src_lab.search.study` calls it, which takes a second to import."""
AGAIN = "The command that repeats the search. Where the search is still in its folder, it goes on from there instead."
BEST_AGAIN = "The command that runs the best trial again, with one of its seeds and the accuracy of every stage."
UNITS = "Values are validation accuracies, 0 to 1, means over the seeds. Test accuracy is recorded, never used."
PICTURES = (
    (
        "history.png",
        "History",
        "Validation accuracy of every trial in the order they were tried, with the best so far. {best}",
        "Points are trials, the line the best so far: where it has long been flat, more trials would add little.",
    ),
    (
        "importances.png",
        "Importance of each setting",
        "Bars with the share of the variance of validation accuracy that each setting explains; trials.csv has the numbers "
        "it was made from.",
        "Long bars are settings that matter within the range searched (fANOVA); with few trials the order is rough.",
    ),
    (
        "parallel_coordinates.png",
        "Settings of every complete trial",
        "A line per complete trial through its settings to its validation accuracy. {best}",
        "Follow the orange line of the best trial, then the dark ones: where they come close together on an axis, that "
        "setting is found; where they spread, it does not matter.",
    ),
)


def search_report(folder: Path) -> Report:
    """The search in `folder`. Raises ConfigError when it has not ended, and for a file that cannot be used."""
    note = _note(folder)
    typed = [text for text in note.get("command", []) if not text.startswith("hydra.sweep.dir=")]
    command = shlex.join(["python", "run.py", "-m", *typed])
    if not (folder / "trials.csv").exists():
        raise ConfigError(f"{folder} holds a search that has not ended (no trials.csv): give its command again, {command}")
    trials = read_table(folder / "trials.csv")
    complete = trials[trials["state"] == "complete"]
    commands, sections = [Command(command, AGAIN)], []
    facts = {"Trials": ", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items())}
    if not complete.empty:
        best = complete.sort_values("value", ascending=False, kind="stable").iloc[0]
        folders = sorted((folder / f"trial-{best['number']}").glob("s*"))
        facts = _best_facts(best) | facts
        facts["Commit"] = commit_text((finished(each) or {}).get("git_commit") for each in folders)
        commands += _best_command(folders)
        sections = [Section("The best trial", _best_tables(folder, best, trials))]
    facts |= {"Seeds": ", ".join(_seeds(trials)), "Search": str(note.get("search_id", "-"))}
    pictures = _pictures(folder, facts.get("Best validation accuracy", ""))
    sections += [Section("How it went", pictures)] if pictures else []
    formats = {"value": "%.4f", "sd": "%.4f", "test_not_used": "%.4f", "seconds": "%.1f"}
    shown = trials.dropna(axis="columns", how="all")
    every = Section("Trials", (Table("Every trial", shown, formats, read_data(folder / "trials.csv")),), UNITS)
    return Report(f"Search {folder.absolute().name}", facts, tuple(commands), (*sections, every))


def _note(folder: Path) -> dict[str, Any]:
    path = folder / NOTE
    try:
        note = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}): give the command of the search again") from None
    return note if isinstance(note, dict) else {}


def _best_facts(best: "Series[Any]") -> dict[str, str]:
    spread = "" if best["sd"] != best["sd"] else f" ± {100 * best['sd']:.1f}"
    return {"Best validation accuracy": f"{100 * best['value']:.1f}{spread} %", "Best trial": f"number {best['number']}"}


def _best_command(folders: list[Path]) -> list[Command]:
    """How to run the best trial again, from the settings that its first run noted."""
    if not folders or not (folders[0] / "config.yaml").exists():
        return []
    config = yaml.safe_load((folders[0] / "config.yaml").read_text(encoding="utf-8"))
    text = run_command(config | {"evaluate": "each_stage"})
    return [] if text is None else [Command(text, BEST_AGAIN)]


def _best_tables(folder: Path, best: "Series[Any]", trials: DataFrame) -> tuple[Table, ...]:
    searched = [name for name in trials.columns[3 : trials.columns.get_loc("value")] if best[name] == best[name]]
    found = Table("Settings found", DataFrame({"setting": searched, "value": [_short(best[name]) for name in searched]}))
    presets = sorted((folder / "conf" / "sleep").glob("*_best.yaml"))
    whole = [
        settings_table(flatten({"sleep": yaml.safe_load(path.read_text(encoding="utf-8"))}), path.name) for path in presets
    ]
    return (found, *whole)


def _short(value: object) -> str:
    """Six digits of a number; the command has them all."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pictures(folder: Path, best: str) -> tuple[Figure, ...]:
    data = read_data(folder / "trials.csv")
    text = f"The best has {best}." if best else "No trial is complete."
    return tuple(
        Figure(title, read_png(folder / name), alt.format(best=text), how_to_read, data)
        for name, title, alt, how_to_read in PICTURES
        if (folder / name).exists()
    )


def _seeds(trials: DataFrame) -> list[str]:
    return [found.group(1) for name in trials if (found := re.fullmatch(r"validation_s(\d+)", str(name)))]
