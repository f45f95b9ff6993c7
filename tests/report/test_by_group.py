"""What the report of many runs says by approach: their tasks, the inside of their networks, the pages of single runs."""

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from src_lab.aggregate import find_runs
from src_lab.jobs import Job, write_jobs
from src_lab.report import render, report_of, write_report
from src_lab.report.inside import MAX_GROUPS, inside, pool, shares_at_the_end
from src_lab.report.members import read_members
from src_lab.report.page import Figure, Report, Table
from src_lab.settings import ConfigError
from src_lab.tables import write_tables
from tests.make_runs import make_run
from tests.report.conftest import STAGES, add_accuracy

FINAL = {"src": (0.8, 0.6, 0.7), "sequential": (0.2, 0.3, 0.1), "merge": (0.5,)}


def add_inside(folder: Path, rank: float, *, slept: bool) -> None:
    """Tables of two layers as an analysis leaves them; the stable rank of layer 1 ends at `rank`."""
    analysis = folder / "analysis"
    analysis.mkdir()
    (analysis / "analysis.json").write_text(json.dumps({"analyses": ["ranks", "importance", "weights"]}))
    moments = [(0, "initial", None), (1, "train", 0), (2, "sleep" if slept else "train", 0 if slept else 1)]
    leading = [{"stage": n, "stage_name": phase, "phase": phase, "trained_task": task} for n, phase, task in moments]
    layers = [row | {"layer": layer} for row in leading for layer in (1, 2)]
    ranks = [row | {"stable_rank": rank if row["stage"] == 2 else 9.0} for row in layers]
    by_task = [row | {"eval_task": task} for row in layers for task in (0, 1)]
    active = [row | {"effective_rank": rank + row["eval_task"]} for row in by_task]
    shares = [row | {"component": c, "share": (1 + 2 * row["eval_task"]) / 8} for row in by_task for c in (1, 2)]
    pd.DataFrame(ranks).to_csv(analysis / "weight_ranks.csv", index=False)
    pd.DataFrame(active).to_csv(analysis / "activation_ranks.csv", index=False)
    pd.DataFrame(shares).to_csv(analysis / "pca_importance.csv", index=False)
    if slept:
        changed = [{"trained_task": 0, "layer": layer, "increased": 0.25, "decreased": 0.5} for layer in (1, 2)]
        pd.DataFrame(changed).to_csv(analysis / "weight_changes.csv", index=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three approaches; the merge has no analysis, one run has a page, and one is unfinished."""
    below = tmp_path_factory.mktemp("made") / "outputs"
    for method, accuracies in FINAL.items():
        for seed, accuracy in enumerate(accuracies):
            run = make_run(below / f"{method}{seed}", method, seed, accuracy, stages=STAGES)
            add_accuracy(run)
            if method != "merge":
                add_inside(run, rank=4.0 + seed, slept=method == "src")
    (below / "src2" / "report.html").write_text("<title>The page of src2</title>")
    names = [f"{method}{seed}" for method, accuracies in FINAL.items() for seed in range(len(accuracies))]
    out = below / "multirun-1"
    write_jobs(out, [*(Job(name, below / name, "", "finished") for name in names), Job("late", below / "late", "")])
    write_tables(find_runs([out]), out)
    return out


@pytest.fixture(scope="module")
def report(made: Path) -> Report:
    return report_of(made)


@pytest.fixture
def multirun(made: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return shutil.copytree(made.parent, tmp_path / "copy") / made.name


def section(report: Report, title: str) -> dict[str, Figure | Table]:
    [found] = [each for each in report.sections if each.title == title]
    return {part.title: part for part in found.parts}


def table_of(figure: Figure | Table) -> pd.DataFrame:
    assert figure.data is not None
    return pd.read_csv(io.StringIO(figure.data.text))


def test_the_tasks_of_every_approach_are_shown(report: Report) -> None:
    parts = section(report, "Task by task")
    assert list(parts) == [
        "Accuracy of every task through the stages",
        "Final accuracy by task",
        "Accuracy matrix of one run per approach",
        "Every stage and task",
    ]
    curves, final, matrices, _ = parts.values()
    assert "SRC 82.5 %, Sequential 82.5 %, Merge 82.5 %" in curves.alt
    assert "SRC 80.0, 85.0, 82.5; Sequential 80.0, 85.0, 82.5; Merge" in final.alt
    assert "SRC, seed 2 80.0, 85.0; Sequential, seed 0 80.0, 85.0; Merge, seed 0 80.0, 85.0." in matrices.alt
    assert [part.data.name for part in (curves, final)] == ["stages.csv"] * 2
    assert len(table_of(matrices)) == 3 * len(STAGES) * 2


def test_the_inside_is_pooled_over_the_runs_of_an_approach(report: Report) -> None:
    parts = section(report, "Inside the networks")
    assert list(parts) == [
        "The networks at the end, mean ± sd over runs",
        "Stable rank of the weights by approach",
        "Effective rank of the activations by approach",
        "Weights that sleep changed, by approach",
        "Share of each layer's variance by task, in the end",
    ]
    [text] = [each.text for each in report.sections if each.title == "Inside the networks"]
    assert text.endswith("Without an analysis, and not in these pictures: merge0.")
    end, ranks, _, changes, shares = parts.values()
    assert isinstance(end, Table)
    assert end.frame.to_numpy().tolist()[0] == ["SRC", 1, "5 ± 1", "5.5 ± 1"]
    assert end.frame["approach"].tolist() == ["SRC"] * 2 + ["Sequential"] * 2
    last = table_of(ranks).query("group == 'SRC' and phase == 'sleep' and layer == 1").iloc[0]
    # 4, 5, 6: sd 1, t(.975, 2) = 4.302653, half width 4.302653 / sqrt(3) = 2.484138
    assert last[["n", "mean", "sd", "low", "high"]].tolist() == pytest.approx([3, 5, 1, 2.515862, 7.484138], abs=1e-6)
    assert "SRC layer 1 5, layer 2 5; Sequential layer 1 5, layer 2 5." in ranks.alt
    assert table_of(changes).groupby("what")["mean"].first().to_dict() == {"decreased": 0.5, "increased": 0.25}
    assert set(table_of(changes)["group"]) == {"SRC"}
    assert table_of(shares).query("group == 'SRC' and layer == 2")["mean"].tolist() == [0.25, 0.75]


def test_classes_and_tasks_are_averaged_before_runs_are() -> None:
    uneven = [
        ("a", pd.DataFrame({"layer": [1, 1, 1], "value": [1.0, 2.0, 3.0]})),
        ("a", pd.DataFrame({"layer": [1], "value": [6.0]})),
        ("b", pd.DataFrame({"layer": [1, 1], "value": [float("nan")] * 2})),
    ]
    table = pool(uneven, "value", ["layer"])
    assert table[["group", "layer", "n"]].to_numpy().tolist() == [["a", 1, 2], ["b", 1, 0]]
    assert table["mean"].tolist()[0] == 4.0
    assert table.loc[1, ["mean", "sd", "low", "high"]].isna().all()


def test_shares_are_those_of_the_last_stage_with_all_components() -> None:
    rows = [(0, 1, 0, 1, 0.9), (1, 1, 0, 1, 0.2), (1, 1, 0, 2, 0.3), (1, 1, 1, 1, 0.5), (1, 2, 0, 1, float("nan"))]
    table = shares_at_the_end(pd.DataFrame(rows, columns=["stage", "layer", "eval_task", "component", "share"]))
    assert table.iloc[:2].to_numpy().tolist() == [[1, 0, 0.5], [1, 1, 0.5]]
    assert table["share"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("multirun-1", "../src2/report.html"),
        (".", "src2/report.html"),
        ("../pages of mine", "../outputs/src2/report.html"),
    ],
)
def test_a_run_with_a_page_of_its_own_is_linked_from_wherever_the_page_lies(
    report: Report, made: Path, page: str, link: str
) -> None:
    text = render(report, made.parent / page)
    assert text.count(f'<a href="{link}">src2</a>') == 2
    assert ">src0</a>" not in text


def test_the_page_leads_to_those_of_its_runs_and_fits_a_phone(browser: Chrome, multirun: Path) -> None:
    home = multirun.parent.rename(multirun.parent.with_name("a b #1 100%")) / multirun.name
    browser.get(write_report(home).as_uri())
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 360
    for position, link in enumerate(browser.find_elements(By.LINK_TEXT, "src2")):
        assert link.is_displayed(), position
    browser.execute_script("arguments[0].click()", browser.find_elements(By.LINK_TEXT, "src2")[1])
    assert browser.title == "The page of src2"
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_runs_of_which_none_has_an_analysis_have_no_such_section(multirun: Path) -> None:
    for index in multirun.parent.glob("*/analysis/analysis.json"):
        index.unlink()
    assert "Inside the networks" not in [each.title for each in report_of(multirun).sections]


def test_a_table_of_an_analysis_that_cannot_be_used_is_named(multirun: Path) -> None:
    (multirun.parent / "src1" / "analysis" / "weight_ranks.csv").write_text("")
    with pytest.raises(ConfigError, match=r"src1/analysis/weight_ranks.csv cannot be read \(EmptyDataError\)"):
        report_of(multirun)


def test_tables_of_an_earlier_version_say_how_to_get_the_curves(multirun: Path) -> None:
    (multirun / "stages.csv").unlink()
    report = report_of(multirun)
    assert list(section(report, "Task by task")) == ["Accuracy matrix of one run per approach", "Every stage and task"]
    assert "python scripts/aggregate.py writes" in render(report)


def test_tables_elsewhere_find_their_runs_where_they_were(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "tables"
    write_tables(find_runs([made]), out, ["method"])
    report = report_of(out)
    assert "method src" in section(report, "Results")["Final accuracy by approach"].alt
    assert "Stable rank of the weights by approach" in section(report, "Inside the networks")
    assert "src2/report.html" in render(report, out)


def test_the_typical_run_is_the_one_of_median_accuracy(made: Path) -> None:
    members = read_members(made)
    assert members is not None
    assert {title: home.name for title, home in members.typical(9).items()} == {
        "SRC, seed 2": "src2",
        "Sequential, seed 0": "sequential0",
        "Merge, seed 0": "merge0",
    }
    assert list(members.typical(2)) == ["SRC, seed 2", "Merge, seed 0"]


def test_of_too_many_approaches_the_best_are_drawn_and_the_page_says_so(tmp_path: Path) -> None:
    count = MAX_GROUPS + 2
    for number in range(count):
        add_inside(make_run(tmp_path / f"r{number}", f"m{number:02d}", 0, number / count), rank=2.0, slept=False)
    write_tables(find_runs([tmp_path]), tmp_path / "out")
    members = read_members(tmp_path / "out")
    assert members is not None
    [pooled] = inside(members)
    assert f"Of {count} approaches the {MAX_GROUPS} of highest final accuracy are drawn." in pooled.text
    assert table_of(pooled.parts[1])["group"].nunique() == MAX_GROUPS
    assert "m00" not in pooled.parts[1].alt
