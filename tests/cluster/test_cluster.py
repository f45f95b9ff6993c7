"""What a preset of conf/cluster says to its launcher, and what the user is told when a cluster is not there."""

import os
import re
from pathlib import Path

import joblib
import pytest
from hydra import compose as compose_with_hydra
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import run as entrypoint
from src_lab.cluster import PRESETS, enter_folder, explain_launch, jobs_at_once
from tests.test_config import SMALL, compose, refuse

CONF = Path(entrypoint.__file__).parent / "conf"
STANDIN = Path(__file__).parent / "standin"
CLUSTERS = [preset for preset, _ in PRESETS.values()]


def launcher_of(*overrides: str) -> dict:
    """The launcher's settings as Hydra resolves them."""
    with initialize_config_dir(str(CONF)):
        raw = compose_with_hydra("config", overrides=list(overrides), return_hydra_config=True)
    raw.hydra.runtime.cwd = "/where/it/was/started"
    return OmegaConf.to_container(raw.hydra.launcher, resolve=True)


def test_every_preset_has_its_launcher() -> None:
    assert sorted(CLUSTERS) == sorted(path.stem for path in (CONF / "cluster").glob("*.yaml"))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_cluster_changes_nothing_of_a_run_but_its_threads(cluster: str) -> None:
    assert compose(*SMALL, f"cluster={cluster}").run_id == compose(*SMALL, "threads=1").run_id
    assert compose(*SMALL, f"cluster={cluster}", "threads=3").run_id == compose(*SMALL, "threads=3").run_id


def test_a_job_has_as_many_cores_as_threads() -> None:
    assert launcher_of("cluster=slurm", "threads=3")["cpus_per_task"] == 3
    assert launcher_of("cluster=ray", "threads=3")["ray"]["remote"]["num_cpus"] == 3
    processes = launcher_of("cluster=processes", "threads=1")
    assert processes["inner_max_num_threads"] == 1
    assert processes["n_jobs"] == joblib.cpu_count()


@pytest.mark.parametrize(("cores", "threads", "jobs"), [(8, 1, 8), (8, 3, 2), (8, 16, 1), (8, None, 1)])
def test_jobs_do_not_fight_for_cores(cores: int, threads: int | None, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    assert jobs_at_once(threads) == jobs


def test_ray_jobs_run_where_the_sweep_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF)
    (variable,) = launcher_of("cluster=ray")["ray"]["init"]["runtime_env"]["env_vars"].items()
    assert variable[1] == "/where/it/was/started"
    monkeypatch.setenv(variable[0], str(tmp_path))
    enter_folder()
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("launcher", PRESETS)
def test_a_missing_extra_is_named(launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{launcher}.yaml")
    preset, extra = PRESETS[launcher]
    said = refuse(monkeypatch, tmp_path, "-m", *SMALL, f"cluster={preset}")
    assert re.fullmatch(rf"error: cluster={preset} needs hydra-[a-z]+-launcher: pip install 'src-lab\[{extra}\]'", said)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_single_run_is_not_launched(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refuse(monkeypatch, tmp_path, *SMALL, f"cluster={cluster}")
    assert said == f"error: cluster={cluster} launches with -m only: python run.py -m cluster={cluster}"
    assert not list(tmp_path.rglob("*.*"))


def test_where_there_is_no_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refuse(monkeypatch, tmp_path, "-m", *SMALL, "cluster=slurm")
    assert said.startswith("1 of 1 runs failed: cluster=slurm found no srun on the PATH")
    assert "\n" not in said


def test_what_slurm_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, script in (("srun", ""), ("sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")):
        (tmp_path / command).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    said = refuse(monkeypatch, tmp_path, "-m", *SMALL, "cluster=slurm", "hydra.launcher.partition=x")
    assert said.startswith("1 of 1 runs failed: SLURM: sbatch: error: invalid partition specified: x;")


def test_the_state_and_the_log_of_a_job_that_died_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(STANDIN), prepend=os.pathsep)
    monkeypatch.setenv("STANDIN_FOLDER", str(tmp_path / "slurm"))
    monkeypatch.setenv("STANDIN_DEATH", "OUT_OF_MEMORY")
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)  # it waits for slow file systems
    dies = "hydra.launcher.setup=[kill -9 $$]"
    said = refuse(monkeypatch, tmp_path, "-m", *SMALL, "cluster=slurm", dies)
    assert "SLURM's job 1 ended without a result (state OUT_OF_MEMORY); its log is" in said
    assert "\n" not in said


def test_the_last_error_of_a_jobs_log_is_told() -> None:
    from submitit.core.utils import FailedJobError

    trace = "Traceback (most recent call last):\n  File x\nmodule.First: a\n\nDuring that:\nmodule.Second: too: b\n  key: c"
    said = explain_launch(FailedJobError(f"Job (task=0) failed during processing with trace:\n---\n{trace}\n---\nYou can"))
    assert said == "Second: too: b"


def test_where_there_is_no_ray_one_line_says_so() -> None:
    said = explain_launch(ConnectionError("Could not find any running Ray instance. Please specify the one to connect to"))
    assert said is not None
    assert said.startswith("cluster=ray found no Ray: ray start --head starts it")


def test_other_errors_are_left_to_others() -> None:
    assert explain_launch(ConnectionError("some other connection")) is None
    assert explain_launch(ValueError("some other error")) is None
