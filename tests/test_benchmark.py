"""The benchmark measures what it says: a run's own sleep, equal spike counts, differences in spikes found."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from src_lab.benchmark.measure import Speed, measure
from src_lab.benchmark.report import all_equal, compare, readable
from src_lab.benchmark.workloads import synthetic_workload, trained_network, trained_workload
from src_lab.sleep import SleepConfig, simulate
from src_lab.sleeper import Sleeper
from tests.test_config import compose

SCRIPT = Path(__file__).parent.parent / "scripts" / "benchmark.py"
DIGITS = ("dataset=digits", "model.widths=[60,60]", "sleep.stimulus.window=4", "sleep.iterations=120", "device=cpu")
SPEED = Speed("numba", 10, 4, 1.0, 1.0, 1.0, 0.5, [1.0], "all", "first")


def test_a_quick_run_measures_every_case_and_writes_every_field(tmp_path: Path) -> None:
    files = {"--json": tmp_path / "a.json", "--plot": tmp_path / "c.png", "--export": tmp_path / "a.npz"}
    options = [str(part) for pair in files.items() for part in pair]
    command = [sys.executable, str(SCRIPT), "sleep", "--quick", "--backends", "reference,numba", "--repeats", "1"]
    done = subprocess.run([*command, "--cache", str(tmp_path), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(files["--json"].read_text())
    assert report["threads"] == 1
    assert report["machine"]["torch"] == torch.__version__.partition("+")[0]
    assert report["first_use"]["numba"]["compile_cpu_s"] > 2 * report["first_use"]["numba"]["from_cache_cpu_s"] > 0
    labels = {"a": [{}], "b": [{}], "c": [{"width": 50}, {"width": 100}], "d": [{"networks": 1}, {"networks": 2}]}
    assert list(report["cases"]) == list(labels)
    for name, case in report["cases"].items():
        rows = case["rows"]
        expected = [label | {"backend": b} for label in labels[name] for b in ("reference", "numba")]
        assert [{key: row[key] for key in label} for row, label in zip(rows, expected, strict=True)] == expected
        for row in rows:
            assert row["equals_reference"] is True
            assert row["equals_others"] is True
            assert min(row["cpu_ms_per_step"], row["ratio"], row["copy_cpu_ms"]) > 0
            assert isinstance(row["ms_per_step"], float)
            assert min(row["spikes_per_step"][:2]) > 0
            assert isinstance(row["memory_mb"], float)
            assert (row.get("whole_sleep_cpu_s") or 0) > 0 or name in "cd" or row["backend"] == "reference"
    assert files["--plot"].read_bytes().startswith(b"\x89PNG")
    check_exported(files["--export"])


def check_exported(path: Path) -> None:
    """Another simulator gets what it needs: the reference, given the file alone, spikes as the file says."""
    data = np.load(path)
    config = SleepConfig(**{name: data[name].item() for name in ("inc", "dec", "decay", "threshold", "rule")})
    weights = [torch.from_numpy(data[f"w{index}"]) for index in range(3)]
    inputs = torch.from_numpy(data["input_spikes"])
    result = simulate(
        weights, inputs, config, alpha=data["alpha"], beta=data["beta"], backend="reference", record=["spike_counts"]
    )
    assert result.spike_counts is not None
    assert result.spike_counts.sum() > 0
    assert np.array_equal(result.spike_counts.numpy(), data["spike_counts"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backends", "numba,cuda"], "cuda is not a backend: allowed are reference, event, numba, triton"),
        (["--steps", "0"], "0 is not a whole number >= 1"),
        (["--case", "a", "--plot", "c.png"], "--plot needs case c: add it, --case a c"),
        (["--json", "nowhere/a.json"], "--json nowhere/a.json: there is no folder nowhere"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_measured(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "sleep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err.splitlines()[-1]
    assert printed.out == ""


@pytest.mark.parametrize("experiment", [(), ("experiment=tadros_mnist",)], ids=["default", "paper"])
def test_a_trained_workload_sleeps_as_the_run_itself_does(experiment: tuple[str, ...], tmp_path: Path) -> None:
    config = compose("method=src", *experiment, *DIGITS)
    workload = trained_workload(config, tmp_path, 120)
    [result] = workload.run("event", 120, ["spike_counts"])
    network, stream = trained_network(config, tmp_path)
    sleeper = Sleeper(replace(config, sleep=replace(config.sleep, backend="event")), stream, 1)
    sleeper.see(stream.tasks[0])
    own = sleeper.sleep(network, 0)
    assert own.spike_counts is not None
    assert own.spike_counts[:, 1].any()
    assert result.spike_counts is not None
    assert torch.equal(result.spike_counts, own.spike_counts)
    assert all(map(torch.equal, result.weights, own.weights))


def test_a_trained_network_is_trained_once_for_the_same_settings(tmp_path: Path) -> None:
    config = compose("method=src", *DIGITS)
    first, _ = trained_network(config, tmp_path)
    [file] = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again, _ = trained_network(config, tmp_path)
    assert file.stat().st_mtime_ns == written
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    trained_network(replace(config, seed=1), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("width", [100, 400, 1600])
def test_a_synthetic_workload_has_the_same_spike_counts_at_every_width(width: int) -> None:
    [result] = synthetic_workload(width, networks=1, spikes=20, steps=100).run("numba", 100, ["spike_counts"])
    assert result.spike_counts is not None
    assert result.spike_counts[:, :2].double().mean(dim=0).tolist() == pytest.approx([20, 20], rel=0.2)


def test_memory_is_what_a_backend_holds_beyond_its_copy_of_the_weights() -> None:
    speeds = {b: measure(partial(synthetic_workload, 2000, 1, 20, 20), b, 1) for b in ("reference", "numba")}
    layer_mb = 2000 * 2000 * 4 / 1e6
    memory = {name: speed.memory_mb for name, speed in speeds.items()}
    assert memory["reference"] > 1.5 * layer_mb  # the dense update has temporaries as large as a layer
    assert memory["numba"] < layer_mb


@pytest.mark.parametrize(
    ("other", "reference", "others"),
    [
        (replace(SPEED, backend="reference", steps=4, spikes="4", cpu_ms_per_step=300.0), True, True),
        (replace(SPEED, backend="reference", steps=4, spikes="4", first_spikes="else"), False, True),
        (replace(SPEED, backend="event"), None, True),
        (replace(SPEED, backend="event", spikes="else"), None, False),
    ],
)
def test_differences_in_spikes_are_found(other: Speed, reference: bool | None, others: bool) -> None:
    rows = compare([other, SPEED])
    row = rows[-1]
    assert (row["equals_reference"], row["equals_others"]) == (reference, others)
    assert all_equal(rows) == (reference is not False and others)
    assert row["ratio"] == (None if reference is None else other.cpu_ms_per_step)
    assert ("DIFFER" in readable(rows)["spikes equal"].iloc[-1]) == (not all_equal(rows))
