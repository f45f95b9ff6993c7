"""Clusters on this machine: the SLURM that is here, or else a stand-in for its commands; a Ray of two nodes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

STANDIN = Path(__file__).parent / "standin"


def slurm_answers() -> bool:
    return shutil.which("sbatch") is not None and subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands on the PATH. `tests/cluster/start_slurm.sh` starts a real one."""
    if not slurm_answers():
        monkeypatch.setenv("PATH", str(STANDIN), prepend=os.pathsep)
        monkeypatch.setenv("STANDIN_FOLDER", str(tmp_path_factory.mktemp("standin")))


@pytest.fixture
def ray_of_two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two nodes with a core each, in the address that the environment names."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield
    finally:
        cluster.shutdown()
