"""Sweeps through every launcher, as they are given on the command line: the numbers of one machine, and nothing lost."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import run as entrypoint
from src_lab.config import RunConfig
from src_lab.experiment import run
from tests.test_config import compose

SHORT = ["experiment=digits", "model.widths=[20,20]", "train.epochs=1", "sleep.iterations=20", "threads=1", "cache=off"]
CLUSTERS = {"processes": None, "slurm": "slurm", "ray": "ray_of_two_nodes"}
TABLES = ("accuracy.csv", "results.csv", "config.yaml")


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [sys.executable, entrypoint.__file__, "-m", *overrides]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run_serially(folder: Path, *overrides: str) -> RunConfig:
    config = compose(*overrides)
    (folder / config.run_id).mkdir(parents=True)
    run(config, folder / config.run_id)
    return config


@pytest.mark.parametrize(("cluster", "fixture"), CLUSTERS.items(), ids=CLUSTERS)
def test_a_launched_sweep_leaves_what_a_serial_one_leaves(
    cluster: str, fixture: str | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if fixture is not None:
        request.getfixturevalue(fixture)
    process = start(tmp_path, *SHORT, f"cluster={cluster}", "method=src,sequential")
    same = ("method=src", "method=sequential")
    serial = [run_serially(tmp_path / "serial", *SHORT, method) for method in same]
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    for config in serial:
        for table in TABLES:
            launched = tmp_path / "outputs" / config.run_id / table
            assert launched.read_bytes() == (tmp_path / "serial" / config.run_id / table).read_bytes()
    (table,) = tmp_path.glob("outputs/multirun-*/runs.csv")
    assert sorted(pd.read_csv(table)["run_id"]) == sorted(config.run_id for config in serial), "one row each"


@pytest.mark.usefixtures("slurm")
def test_a_preempted_job_goes_back_into_the_queue_and_continues(tmp_path: Path) -> None:
    long = [*SHORT, "method=src", "train.epochs=60"]
    process = start(tmp_path, *long, "cluster=slurm")
    # Not before the first sleep: while numba loads its kernels, Python drops what a signal's handler raises.
    wait_for(tmp_path, "outputs/*/checkpoints/step-003.safetensors", process)
    job = next(tmp_path.glob("outputs/.submitit/*/*_submitted.pkl")).name.partition("_")[0]
    subprocess.run(["scancel", job, "--signal", "USR2"], check=True)
    config = run_serially(tmp_path / "serial", *long)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    logs = "".join(path.read_text() for path in tmp_path.glob("outputs/.submitit/*/*_log.*"))
    assert f"Requeued job {job}" in logs
    assert re.search(r"going on after [1-9]", logs), logs
    for table in TABLES:
        whole, broken = (folder / config.run_id / table for folder in (tmp_path / "serial", tmp_path / "outputs"))
        assert whole.read_bytes() == broken.read_bytes()


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not any(folder.glob(pattern)):
        assert time.monotonic() < until, pattern
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.02)
