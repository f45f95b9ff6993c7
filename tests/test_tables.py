import errno
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from src_lab.aggregate import find_runs, summarise
from src_lab.files import replacing
from src_lab.settings import ConfigError
from src_lab.tables import write_tables
from tests.make_runs import make_run

SCRIPT = Path(__file__).parents[1] / "scripts" / "aggregate.py"
TABLES = [
    "accuracy_table.png",
    "comparisons.csv",
    "comparisons.md",
    "runs.csv",
    "stages.csv",
    "summary.csv",
    "summary.md",
    "summary.tex",
]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Three runs of SRC (70, 72, 77 %), one of a method whose name needs escaping, and one unfinished."""
    for seed, accuracy in enumerate([0.70, 0.72, 0.77]):
        make_run(tmp_path / "outputs" / f"src{seed}", "src", seed, accuracy, metrics={"forgetting": 0.125})
    make_run(tmp_path / "outputs" / "other", "low_rank", accuracy=0.136, metrics={"approach": "A | B & 50 %"})
    (make_run(tmp_path / "outputs" / "killed", seed=4) / "metrics.json").unlink()
    return tmp_path / "outputs"


def aggregate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MPLBACKEND": ""})


def test_the_csv_files_read_back_as_the_frames(outputs: Path) -> None:
    runs = find_runs([outputs])
    write_tables(runs, outputs)
    table = pd.read_csv(outputs / "runs.csv", keep_default_na=False, na_values=[""])
    assert table["run_id"].tolist() == ["other", "src0", "src1", "src2"]
    numbers = runs.table.select_dtypes("number").columns
    pd.testing.assert_frame_equal(table[numbers], runs.table[numbers], check_dtype=False)
    summary = summarise(runs).replace({"settings": ""}, float("nan"))
    pd.testing.assert_frame_equal(pd.read_csv(outputs / "summary.csv"), summary, check_dtype=False)


def test_markdown_and_latex_give_percent_and_escape_names(outputs: Path) -> None:
    write_tables(find_runs([outputs]), outputs, ["approach", "method"])
    header, rule, other, src = (outputs / "summary.md").read_text().splitlines()
    assert header.startswith("| approach | method | n | final accuracy (%) | final accuracy (%), 95 % CI | forgetting (%)")
    assert set(rule) == {"|", "-", " "}
    assert other == r"| A \| B & 50 % | low_rank | 1 | 13.6 | - | - | - | 4.0 |"
    assert src == "| SRC | src | 3 | 73.0 ± 3.6 | 64.0 to 82.0 | 12.5 ± 0.0 | 12.5 to 12.5 | 4.0 |"
    latex = (outputs / "summary.tex").read_text()
    assert r"A | B \& 50 \% & low\_rank & 1 & 13.6 &" in latex
    assert r"SRC & src & 3 & 73.0 $\pm$ 3.6 & 64.0 to 82.0 &" in latex
    assert latex.count(r"\\") == 3


def test_a_mean_over_fewer_runs_than_there_are_says_so(tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0, accuracy=0.6)
    make_run(tmp_path / "b", seed=1, accuracy=None)
    shown = write_tables(find_runs([tmp_path]), tmp_path, ["method", "total_seconds"]).summary
    assert shown.loc[0, ["method", "total_seconds", "n", "final accuracy (%)"]].tolist() == [
        "src",
        "4.0",
        "1 of 2",
        "60.0",
    ]


def test_differences_are_shown_in_points_with_their_interval(outputs: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "a", "low_rank", 1, 0.7, metrics={"approach": "A | B & 50 %"})
    make_run(tmp_path / "b", "low_rank", 2, 0.7, metrics={"approach": "A | B & 50 %"})
    tables = write_tables(find_runs([outputs, tmp_path / "a", tmp_path / "b"]), tmp_path, ["approach"], "SRC")
    header, _, row = (tmp_path / "comparisons.md").read_text().splitlines()
    assert header == "| a | b | of | n | a - b (points) | 95 % CI (paired t) | 0 outside |"
    # differences -56.4 -2 -7: mean -21.8, sd sqrt((34.6^2 + 19.8^2 + 14.8^2) / 2) = 30.0806, t(.975, 2) = 4.302653
    assert row == r"| A \| B & 50 % | SRC | final accuracy | 3 | -21.8 ± 30.1 | -96.5 to +52.9 | no |"
    assert pd.read_csv(tmp_path / "comparisons.csv")["difference_mean"].tolist() == pytest.approx([-0.218])
    lines = str(tables).splitlines()
    assert lines[3] == ""
    assert lines[5].split()[-7:] == ["-21.8", "±", "30.1", "-96.5", "to", "+52.9", "no"]
    assert lines[6] == f"6 runs; tables and picture in {tmp_path.as_posix()}"

    write_tables(find_runs([tmp_path / "a"]), tmp_path)
    assert not list(tmp_path.glob("comparisons.*"))


def test_problems_are_written_only_while_there_are_any(outputs: Path) -> None:
    write_tables(find_runs([outputs]), outputs)
    assert pd.read_csv(outputs / "problems.csv")["why"].tolist() == ["not finished"]
    (outputs / "killed" / "config.yaml").unlink()
    write_tables(find_runs([outputs]), outputs)
    assert not (outputs / "problems.csv").exists()


def write_half(path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "disk full")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        write_half(tmp_path / "summary.csv")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("summary.csv", "old")]


def test_a_folder_that_cannot_be_written_is_refused(outputs: Path) -> None:
    blocked = outputs / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=r"--out=.*file cannot be written \(File exists\)"):
        write_tables(find_runs([outputs]), blocked)


def test_the_command_writes_into_the_first_folder_and_tells_what_it_left_out(outputs: Path) -> None:
    done = aggregate(outputs)
    assert (done.returncode, done.stderr) == (0, "")
    first, header, *rows = done.stdout.split("\n\n")[0].splitlines()
    last = done.stdout.splitlines()[-1]
    assert first == f"not counted: {outputs / 'killed'}: not finished"
    assert header.split()[:2] == ["approach", "method"]
    assert len(rows) == 2
    assert "73.0 ± 3.6" in rows[1]
    assert last.startswith("4 runs;")
    assert sorted(file.name for file in outputs.iterdir() if file.is_file()) == sorted([*TABLES, "problems.csv"])


def test_the_command_groups_warns_and_writes_where_it_is_told(outputs: Path, tmp_path: Path) -> None:
    done = aggregate(outputs / "src0", outputs / "other", "--by", "model, train", "--out", tmp_path / "new" / "tables")
    assert done.returncode == 0
    assert done.stderr.startswith("WARNING: 2 runs are in one group")
    assert done.stderr.count("\n") == 1
    assert sorted(file.name for file in (tmp_path / "new" / "tables").iterdir()) == [
        name for name in TABLES if not name.startswith("comparisons")
    ]
    assert pd.read_csv(tmp_path / "new" / "tables" / "summary.csv")["n"].tolist() == [2]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["outputs/killed"], 1, "no finished run in these folders"),
        (["outputs", "--against", "base"], 2, "--against=base is not a group: allowed are A | B & 50 %; SRC"),
        (["outputs", "--by", "sleep.incc"], 2, "--by=sleep.incc is not a column: did you mean sleep.inc?"),
    ],
)
def test_the_command_refuses_in_one_line(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(outputs.parent)
    done = aggregate(*arguments)
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_what_methods_store_is_a_column_where_any_does(tmp_path: Path) -> None:
    make_run(tmp_path / "merge0", "merge", metrics={"stored": {"floats": 19_176_000, "images": 0, "models": 1}})
    make_run(tmp_path / "src0", "src", metrics={"stored": {"floats": 0, "images": 0, "models": 0}})
    make_run(tmp_path / "older", "sequential")
    tables = write_tables(find_runs([tmp_path]), tmp_path / "out")
    stored = tables.summary.set_index("method")["stored floats"]
    assert stored.to_dict() == {"merge": "19.2M", "src": "0", "sequential": "-"}
    assert "stored images" not in tables.summary, "no method has any"
    assert pd.read_csv(tmp_path / "out" / "runs.csv").set_index("method")["stored_models"]["merge"] == 1


def test_a_number_stored_that_is_none_is_a_problem(tmp_path: Path) -> None:
    make_run(tmp_path / "odd", metrics={"stored": {"floats": "many"}})
    assert find_runs([tmp_path]).problems["why"].tolist() == ["metrics.json: floats=many is not a number"]
