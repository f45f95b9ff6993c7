"""Published figures against ours: the file of targets, the marks, the page, and a real run of a target."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from src_lab.reproduction import Ours, Target, configured, found, mark, page, read_targets, run_all, select
from src_lab.settings import ConfigError

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
            assert configured(target.overrides, 0).run_id


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


def test_a_target_runs_once_and_its_figure_is_read(tmp_path: Path) -> None:
    short = "experiment=digits method=sequential model.widths=[20] train.epochs=1 dataset.num_tasks=2"
    target = replace(TARGET, overrides=short, metric="task_1")
    assert found(target, tmp_path) == Ours(())
    assert run_all([target], tmp_path, 1) == []
    first = found(target, tmp_path)
    assert len(first.values) == 2
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*/metrics.json"))]
    assert run_all([target], tmp_path, 1) == []
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*/metrics.json"))] == stamps
    assert found(target, tmp_path) == first
    wrong = replace(target, overrides="experiment=digits method=sequential train.epochs=-1")
    (problem, _) = run_all([wrong], tmp_path, 1)
    assert "train.epochs=-1" in problem
    assert "epochs" in found(wrong, tmp_path).problem


def test_the_script_refuses_an_unknown_name() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "reproduce.py"), "nobody"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("nobody is no target: allowed are patterns like mnist-*")
