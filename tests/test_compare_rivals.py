"""The comparison of methods: tuned on validation images with one seed, measured with others, nothing done twice anywhere."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from src_lab.rivals.page import missing, page
from src_lab.rivals.record import Record

ROOT = Path(__file__).parents[1]
SMALL = ["experiment=digits", "model.widths=[20,20]", "train.epochs=1", "dataset.num_tasks=2", "cache=off"]


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "compare_rivals.py"), "--trials=2", "--seeds=2", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_method_is_tuned_on_validation_run_with_other_seeds_and_not_again(tmp_path: Path) -> None:
    record, out = Record(tmp_path / "rivals" / "digits"), tmp_path / "out"
    done = compare("--record", str(record.folder), "--out", str(out), "--methods", "ewc,src", "--processes", "2", *SMALL)
    assert done.returncode == 0, done.stderr + done.stdout
    trials = pd.read_csv(out / "tune" / "ewc" / "trials.csv")
    best = trials.loc[trials["value"].idxmax()]
    tuned = record.tuned.rows()["ewc"]
    assert (tuned["trials"], tuned["seed"], tuned["tuned_in"]) == ("2", "0", "")
    assert float(tuned["validation_accuracy"]) == best["value"]
    configs = [yaml.safe_load(path.read_text()) for path in sorted(out.glob("runs/ewc-*/config.yaml"))]
    assert [config["seed"] for config in configs] == [10, 11]
    for config in configs:
        assert config["train"]["learning_rate"] == pytest.approx(best["train.learning_rate"])
        assert config["method"]["strength"] == pytest.approx(best["method.strength"])
    rows = record.counted()
    assert [(row["method"], row["seed"]) for row in rows.values()] == [
        ("ewc", "10"), ("ewc", "11"), ("src", "10"), ("src", "11")
    ]  # fmt: skip
    assert all(row["commit"] and float(row["stored_floats"]) > 0 for row in rows.values() if row["method"] == "ewc")
    text = (tmp_path / "rivals.md").read_text(encoding="utf-8")
    assert f"Setting: `{' '.join(SMALL)}`" in text
    assert "Not finished: ncm, sequential, src" in text  # two seeds of five
    before = record.runs.path.read_text(), record.tuned.path.read_text()
    again = compare("--record", str(record.folder), "--out", str(tmp_path / "another machine"), "--methods", "ewc,src")
    assert again.returncode == 0, again.stderr + again.stdout
    assert not (tmp_path / "another machine").exists()
    assert (record.runs.path.read_text(), record.tuned.path.read_text()) == before


def test_settings_tuned_in_another_record_are_taken_from_there(tmp_path: Path) -> None:
    narrow, wide = Record(tmp_path / "rivals" / "narrow"), Record(tmp_path / "rivals" / "wide")
    row = {"method": "replay", "setting": "experiment=digits", "trials": 8, "seed": 0, "validation_accuracy": 0.5}
    narrow.tuned.add([row | {"overrides": "train.learning_rate=0.02"}])
    own = ["--record", str(wide.folder), "--out", str(tmp_path / "out"), "--seeds=1", "--tuned-in", str(narrow.folder)]
    done = compare(*own, "--methods", "replay,ncm", *SMALL)
    assert done.returncode == 1
    assert f"ncm: --tuned-in={narrow.folder} has not tuned it" in done.stdout
    (tuned,) = wide.tuned.rows().values()
    assert (tuned["tuned_in"], tuned["setting"], tuned["trials"]) == ("narrow", " ".join(SMALL), "8")
    (run,) = wide.counted().values()
    assert (run["seed"], run["overrides"]) == ("10", "train.learning_rate=0.02")
    assert not (tmp_path / "out" / "tune").exists()


def test_the_page_says_what_is_chosen_missing_and_no_longer_counts(tmp_path: Path) -> None:
    record = Record(tmp_path / "rivals" / "digits")
    setting = {"setting": "experiment=digits"}
    chosen = {"ncm": "", "src": "sleep.inc=0.012345 train.learning_rate=0.1", "owm": ""}
    record.tuned.add({"method": name, "overrides": text, "trials": 8} | setting for name, text in chosen.items())
    for method, accuracies in {"ncm": (0.8, 0.9), "src": (0.7, 0.6)}.items():
        for seed, accuracy in enumerate(accuracies, start=10):
            about = {"approach": method.upper(), "method": method, "dataset": "digits", "seed": seed, "cpu_seconds": 36}
            record.runs.add([about | setting | {"run_id": record.config(method, seed).run_id, "final_accuracy": accuracy}])
    record.runs.add([about | setting | {"run_id": "src-old-s10", "final_accuracy": 0.1}])
    text = page(record.folder.parent, ["ncm", "src", "owm", "ewc"], [10, 11], "## Notes")
    assert "Not finished: owm, ewc. Runs whose settings have changed since do not count: 1." in text
    assert "| NCM | 85.0 ± 7.1 (2) | - (0) | - | - | 36 | +20.0 ± 14.1, -107.1 to +147.1 |" in text
    assert text.index("| NCM | 85.0") < text.index("| SRC | 65.0 ± 7.1 (2)") < text.index("| owm | its defaults | - | 8 |")
    assert "| src | `sleep.inc=0.0123 train.learning_rate=0.1` | - | 8 | this setting |" in text
    assert text.endswith("## Notes\n")


def test_the_time_of_a_method_that_never_ran_here_is_judged_by_another_record(tmp_path: Path) -> None:
    wide, narrow = Record(tmp_path / "rivals" / "wide"), Record(tmp_path / "rivals" / "narrow")
    for record, seconds in ((wide, {"ncm": 360}), (narrow, {"ncm": 36, "owm": 180})):
        record.tuned.add({"method": name, "overrides": "", "trials": 8, "setting": "experiment=digits"} for name in seconds)
        for method, cpu in seconds.items():
            about = {"approach": method, "method": method, "seed": 10, "final_accuracy": 0.5, "setting": "experiment=digits"}
            record.runs.add([about | {"run_id": record.config(method, 10).run_id, "cpu_seconds": cpu}])
    assert missing(wide, ["ncm", "owm"], [10], 1) == "wide: 2 runs missing (1 of them trials), about 0.2 CPU hours"
    borrowed = Record(tmp_path / "rivals" / "borrowed")
    borrowed.tuned.add([{"method": "ncm", "overrides": "", "setting": "experiment=digits", "tuned_in": "narrow"}])
    assert "2 runs missing, nothing yet" in missing(borrowed, ["ncm", "owm"], [10], 8)
    assert missing(wide, ["ncm", "owm"], [10], 1, [narrow]) == "wide: 2 runs missing (1 of them trials), about 1.0 CPU hours"


def test_the_committed_page_is_made_from_the_committed_records() -> None:
    methods = list(yaml.safe_load((ROOT / "scripts" / "rivals.yaml").read_text(encoding="utf-8")))
    results = ROOT / "docs" / "results"
    text = page(results / "rivals", methods, range(10, 15), (results / "rivals_notes.md").read_text(encoding="utf-8"))
    assert text == (results / "rivals.md").read_text(encoding="utf-8")


def test_a_method_that_fails_stops_no_other_and_is_named(tmp_path: Path) -> None:
    record = Record(tmp_path / "rivals" / "digits")
    own = ["--record", str(record.folder), "--out", str(tmp_path / "out"), "--methods", "weight_aligning,ncm"]
    done = compare(*own, *SMALL, "model.rank=2")
    assert done.returncode == 1
    assert "weight_aligning: the search failed, see " in done.stdout
    assert "digits: " in done.stdout
    assert " runs missing (" in done.stdout
    assert list(record.tuned.rows()) == ["ncm"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "nobody"], "--methods=nobody is not in scripts/rivals.yaml: allowed are ncm, sequential, src"),
        (["model.widths=[7]"], "{record} is of the setting model.widths=[20], not model.widths=[7]: leave the setting out"),
        (["--page"], "{record}/runs.csv:1: the columns are damaged: they must be run_id,"),
        (["--record", "alone"], "--record=alone has no folder above it"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    record = Record(tmp_path / "rivals" / "digits")
    record.tuned.add([{"method": "ncm", "setting": "model.widths=[20]"}])
    if "--page" in arguments:
        record.runs.path.write_text("damaged\n")
    done = compare("--record", str(record.folder), "--out", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message.format(record=record.folder))
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "rivals.md").exists()
