"""Published figures against ours: the file of targets, the marks, the page, and a real run of a target."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from src_lab.ledger import Ledger
from src_lab.reproduction import Ours, found, ledger_at, mark, missing, page, pick_up, run, run_all, run_ids
from src_lab.settings import ConfigError
from src_lab.targets import Target, read_targets, select

ROOT = Path(__file__).parents[1]
TARGET = Target("a-src", "A", "experiment=digits method=src", "final", 50.0, 5.0, 5, "somebody", 3.0, 2, "")
HEADER = "name,section,overrides,metric,published,spread,n,source,tolerance,seeds,needs\n"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), "not run"),
        ((50.0,), "incomplete"),
        ((47.0, 47.0), "agrees"),
        ((40.0, 54.1), "agrees"),
        ((40.0, 53.0), "differs"),
        ((53.1, 53.1), "differs"),
    ],
)
def test_a_mark_compares_the_means_of_all_seeds(values: tuple[float, ...], expected: str) -> None:
    assert mark(TARGET, Ours(values)) == expected


def test_a_picture_is_no_figure() -> None:
    assert mark(replace(TARGET, published=None), Ours((1.0, 2.0))) == "no figure"


def test_the_page_counts_and_shows_what_did_not_run() -> None:
    needs = replace(TARGET, name="b-src", section="B", needs="the images")
    text = page([(TARGET, Ours((50.0, 52.0))), (needs, Ours(()))], "## Notes")
    assert "Of 2 figures: 1 agrees, 1 not run." in text
    assert "| 50.00 ± 5.00 (5) | somebody | 51.00 ± 1.41 (2) | 3 | agrees |" in text
    assert "| not run: needs the images |" in text
    assert text.index("## A") < text.index("## B") < text.index("## Notes")


def test_every_target_of_the_project_can_be_configured() -> None:
    targets = read_targets(ROOT / "tests" / "targets.csv")
    assert len(targets) > 50
    for target in targets:
        if not target.needs:
            assert len(run_ids(target.overrides, 1)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,A,method=src,final,abc,,,x,1,5,\n", "targets.csv:2: could not convert string to float: 'abc'"),
        ("a,A,method=src,final,1,,,x,1,,\n", "targets.csv:2: invalid literal for int"),
        ("a,A,method=src,final,1,,,x,1,5,\n" * 2, "the name a stands twice"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "targets.csv"
    path.write_text(HEADER + line)
    with pytest.raises(ConfigError, match=message):
        read_targets(path)


def test_names_are_patterns() -> None:
    targets = [TARGET, replace(TARGET, name="a-joint"), replace(TARGET, name="b-src")]
    assert [one.name for one in select(targets, ["a-*"])] == ["a-src", "a-joint"]
    assert select(targets, []) == targets
    with pytest.raises(ConfigError, match=r"c-\* is no target"):
        select(targets, ["c-*"])


SHORT = "experiment=digits method=sequential model.widths=[20] train.epochs=1 dataset.num_tasks=2"
SMALL = replace(TARGET, overrides=SHORT, metric="task_1")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return ledger_at(tmp_path / "results" / "runs.csv")


def test_a_target_runs_once_wherever_its_ledger_goes(tmp_path: Path, ledger: Ledger) -> None:
    assert found(SMALL, ledger.rows()) == Ours(())
    assert missing([SMALL], ledger) == ["A: 2 runs missing, nothing yet to judge their time by"]
    assert run_all([SMALL], tmp_path / "here", 2, ledger) == []
    ours = found(SMALL, ledger.rows())
    assert len(ours.values) == 2
    assert [(row["overrides"], row["seed"]) for row in ledger.rows().values()] == [(SHORT, "0"), (SHORT, "1")]
    assert run_all([SMALL], tmp_path / "another machine", 1, ledger) == []
    assert not (tmp_path / "another machine").exists()
    assert "A: 2 runs missing, about 0.0 CPU hours" in missing(
        [SMALL, replace(SMALL, overrides=f"{SHORT} train.epochs=2")], ledger
    )


def test_runs_that_were_made_otherwise_are_picked_up(tmp_path: Path, ledger: Ledger) -> None:
    assert run(SHORT, 1, tmp_path) == ""
    pick_up([SMALL], tmp_path, ledger)
    (row,) = ledger.rows().values()
    assert row["seed"] == "1"
    assert found(SMALL, ledger.rows()).values == (float(row["task_1"]),)
    assert mark(SMALL, found(SMALL, ledger.rows())) == "incomplete"


def test_a_run_whose_settings_have_changed_does_not_count(ledger: Ledger) -> None:
    first, second = run_ids(SHORT, 2)
    row = {"overrides": SHORT, "seed": 0, "final": 50, "task_1": 40}
    ledger.add([row | {"run_id": first}, row | {"run_id": second.replace("-s1", "0-s1"), "seed": 1}])
    assert found(SMALL, ledger.rows()).values == (40.0,)
    assert len(ledger.rows()) == 2
    assert "do not count: 1." in page([(SMALL, Ours((1.0,)))], "", uncounted=1)


def test_a_run_that_fails_is_named_once(tmp_path: Path, ledger: Ledger) -> None:
    wrong = replace(SMALL, overrides="experiment=digits method=sequential train.epochs=-1")
    (problem,) = run_all([wrong], tmp_path, 1, ledger)
    assert "train.epochs=-1" in problem
    assert "epochs" in found(wrong, ledger.rows()).problem
    late = replace(SMALL, overrides=f"{SHORT} train.learning_rate=1e30", seeds=1)
    (problem,) = run_all([late], tmp_path, 1, ledger)
    assert problem.startswith(f"{late.overrides} seed=0: ")
    assert not ledger.path.exists()


def test_the_page_is_made_from_the_ledger_alone(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    done = script("--page", "--folder", str(tmp_path / "no runs"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == (ROOT / "REPRODUCTION.md").read_text(encoding="utf-8")


def test_a_damaged_ledger_is_said_in_one_line(tmp_path: Path, ledger: Ledger) -> None:
    ledger.path.parent.mkdir()
    ledger.path.write_text("<<<<<<< HEAD\n")
    done = script("--page", "--ledger", str(ledger.path), "--folder", str(tmp_path), "--out", str(tmp_path / "page.md"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"{ledger.path}:1: the columns are <<<<<<< HEAD: they must be run_id,overrides")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "page.md").exists()


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "reproduce.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_script_refuses_an_unknown_name() -> None:
    done = script("nobody")
    assert done.returncode == 2
    assert done.stderr.startswith("nobody is no target: allowed are patterns like mnist-*")
