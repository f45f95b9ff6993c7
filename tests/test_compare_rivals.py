"""The comparison of methods: tuned on validation images with one seed, measured with others, nothing done twice."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_rivals.py"
SMALL = ["experiment=digits", "model.widths=[20]", "train.epochs=1", "dataset.num_tasks=2", "cache=off"]


def compare(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--trials=2", "--out", str(out), *arguments, *SMALL]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_method_is_tuned_on_validation_and_run_with_other_seeds(tmp_path: Path) -> None:
    done = compare(tmp_path, "--methods", "ewc")
    assert done.returncode == 0, done.stderr
    trials = pd.read_csv(tmp_path / "tune" / "ewc" / "trials.csv")
    assert len(trials) == 2
    best = trials.loc[trials["value"].idxmax()]
    configs = [yaml.safe_load(path.read_text()) for path in sorted((tmp_path / "runs").glob("*/config.yaml"))]
    assert [config["seed"] for config in configs] == [10, 11, 12, 13, 14]
    for config in configs:
        assert config["train"]["learning_rate"] == pytest.approx(best["train.learning_rate"])
        assert config["method"]["strength"] == pytest.approx(best["method.strength"])
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table[["approach", "n"]].to_numpy().tolist() == [["EWC", 5]]
    assert table["stored_floats"][0] > 0
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.json")}
    assert compare(tmp_path, "--methods", "ewc").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.json")} == stamps


def test_a_method_that_fails_stops_no_other_and_is_named(tmp_path: Path) -> None:
    done = compare(tmp_path, "--methods", "ncm,weight_aligning", "model.rank=2")
    assert done.returncode == 1
    assert "weight_aligning: the search failed, see " in done.stdout
    assert pd.read_csv(tmp_path / "summary.csv")["method"].tolist() == ["ncm"]


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    done = compare(tmp_path, "--methods", "nobody")
    assert done.returncode == 2
    assert done.stderr.startswith("--methods=nobody is not in scripts/rivals.yaml: allowed are sequential, src")
