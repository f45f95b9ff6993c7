"""The report of many runs: those of a multirun, or what `scripts/aggregate.py` wrote about any."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pandas import DataFrame

from src_lab.jobs import Job, read_jobs
from src_lab.report.by_group import MAX_PANELS, MAX_ROWS, points, tasks
from src_lab.report.command import sweep_command
from src_lab.report.files import read_data, read_png, read_table
from src_lab.report.inside import inside
from src_lab.report.members import Members, read_members
from src_lab.report.page import Command, Data, Figure, Report, Section, Table
from src_lab.report.run import commit_text
from src_lab.results import finished
from src_lab.tables import readable, readable_differences

AGAIN = "The command that repeats them. Runs that are finished are not run again, so it also runs what is missing."
NOT_CORRECTED = (
    "Differences are taken seed by seed over the seeds that both groups have. The intervals stand each for itself: they are "
    "not corrected for the number of comparisons."
)
NO_STAGES = "Curves by task need stages.csv, which python scripts/aggregate.py writes into the folder of these tables."
LINKED = "The name of a run that has a page of its own leads there."


def multirun_report(folder: Path) -> Report:
    """The multirun whose `jobs.csv` is in `folder`. Raises ConfigError for a file that cannot be used."""
    jobs = read_jobs(folder)
    counts = [(state, sum(job.state == state for job in jobs)) for state in ("finished", "failed", "unfinished")]
    commits = [(finished(job.folder) or {}).get("git_commit") for job in jobs]
    facts = {
        "Runs": ", ".join(f"{count} {state}" for state, count in counts if count) or "none",
        "Commit": commit_text(commits),
        "Multirun": folder.absolute().name,
    }
    about = _about_runs(folder)
    command = sweep_command([job.overrides for job in jobs])
    members = read_members(folder, {job.run_id: job.folder for job in jobs})
    return Report(
        title=_title(len(jobs), about),
        facts=about | facts,
        commands=(Command(command, AGAIN),),
        sections=(*_results(folder, members), *_runs(folder, members), _jobs(folder, jobs, members)),
    )


def tables_report(folder: Path) -> Report:
    """The runs that `src_lab.tables` summarised in `folder`. Raises ConfigError for a file that cannot be used."""
    facts, members = _about_runs(folder), read_members(folder)
    sections = (*_results(folder, members), *_runs(folder, members))
    return Report(_title(len(read_table(folder / "runs.csv")), facts), facts, (), sections)


def _title(runs: int, about: Mapping[str, str]) -> str:
    count = "1 run" if runs == 1 else f"{runs} runs"
    return f"{count}: {about['Approaches']} on {about['Data']}" if about else count


def _about_runs(folder: Path) -> dict[str, str]:
    if not (folder / "runs.csv").exists():
        return {}
    runs = read_table(folder / "runs.csv")
    named = {"Approaches": "approach", "Networks": "model", "Data": "dataset", "Seeds": "seed"}
    listed = {title: ", ".join(map(str, runs[name].drop_duplicates())) for title, name in named.items()}
    return {"Runs": f"{len(runs)} runs"} | listed | {"Seconds of all runs": f"{runs['total_seconds'].sum():.0f}"}


def _results(folder: Path, members: Members | None) -> tuple[Section, ...]:
    if not (folder / "summary.csv").exists():
        return ()
    summary = read_table(folder / "summary.csv")
    groups = list(summary.columns[: summary.columns.get_loc("n")])
    summary[groups] = summary[groups].astype(object).fillna("")
    data = read_data(folder / "summary.csv")
    means = Table("Summary, mean ± sd over runs", readable(summary, groups), data=data)
    if members is None:
        return (Section("Results", (means,)), *_differences(folder))
    by_task = [*tasks(folder, members), *_every_stage(folder, data)]
    return (
        Section("Results", (means, *points(folder, members)), " ".join(members.left_out(MAX_ROWS))),
        *([Section("Task by task", tuple(by_task), _about_tasks(folder, members))] if by_task else []),
        *_differences(folder),
        *inside(members),
    )


def _about_tasks(folder: Path, members: Members) -> str:
    missing = [] if (folder / "stages.csv").exists() else [NO_STAGES]
    return " ".join([*members.left_out(MAX_PANELS), *missing])


def _every_stage(folder: Path, data: Data) -> list[Figure]:
    if not (folder / "accuracy_table.png").exists():
        return []
    return [
        Figure(
            "Every stage and task",
            read_png(folder / "accuracy_table.png"),
            "Table of test accuracy by approach, stage and task, the greener the higher. Its final rows are those of "
            "the summary.",
            "Read down a column to see one task learned, forgotten and brought back; bold rows are the end.",
            data,
        )
    ]


def _differences(folder: Path) -> tuple[Section, ...]:
    path = folder / "comparisons.csv"
    if not path.exists():
        return ()
    table = Table("Differences between groups", readable_differences(read_table(path)), data=read_data(path))
    return (Section("Comparison", (table,), NOT_CORRECTED),)


def _runs(folder: Path, members: Members | None) -> tuple[Section, ...]:
    tables = []
    links = members.pages() if members else {}
    if (folder / "runs.csv").exists():
        runs = read_table(folder / "runs.csv").drop(columns="folder").dropna(axis="columns", how="all")
        shares = [name for name in map(str, runs) if name.endswith("accuracy") or name in ("forgetting", "bwt")]
        tables.append(Table("Every run", runs, dict.fromkeys(shares, "%.4f"), read_data(folder / "runs.csv"), links))
    if (folder / "problems.csv").exists():
        path = folder / "problems.csv"
        tables.append(Table("Not counted", read_table(path), data=read_data(path)))
    text = "Accuracies and forgetting are shares from 0 to 1." + (f" {LINKED}" if links else "")
    return (Section("Runs", tuple(tables), text),) if tables else ()


def _jobs(folder: Path, jobs: Sequence[Job], members: Members | None) -> Section:
    rows = [(job.run_id, job.overrides, job.state, job.reason) for job in jobs]
    frame = DataFrame(rows, columns=["run", "overrides", "state", "reason"])
    shown = frame.drop(columns="reason") if (frame["reason"] == "").all() else frame
    links = members.pages() if members else {}
    return Section("Jobs", (Table("How every job ended", shown, data=read_data(folder / "jobs.csv"), links=links),))
