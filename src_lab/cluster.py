"""Jobs elsewhere (docs/cluster.md): how many fit on this machine, in which folder they run, why they could not."""

import os
import re
from pathlib import Path

import joblib

LOST = re.compile(r"Job (\S+) \(task: \d+\) with path (.*)_result\.pkl\nhas not produced any output \(state: (.*)\)")
"""Submitit's words for a job that died, with its number, the beginning of the names of its files, and its state."""
PRESETS = {"joblib": ("processes", "joblib"), "submitit_slurm": ("slurm", "slurm"), "ray": ("ray", "ray")}
"""Of each launcher: the file of `conf/cluster` that chooses it and the extra of this package that installs it."""
FOLDER_VARIABLE = "SRC_LAB_FOLDER"


def jobs_at_once(threads: int | None) -> int:
    """How many jobs of so many threads have a core for each thread; None: a job takes every core."""
    return 1 if threads is None else max(1, joblib.cpu_count() // threads)


def enter_folder() -> None:
    """Called in each process of a Ray cluster: go to where the sweep was started, which relative paths are meant from.

    Ray's processes start in the folder of `ray start`. Raises FileNotFoundError where this node does not have the folder.
    """
    os.chdir(Path(os.environ[FOLDER_VARIABLE]))


def explain_missing_launcher(name: str) -> str | None:
    """One line for a launcher that Hydra does not find; None for a name that is none of ours."""
    if name not in PRESETS:
        return None
    preset, extra = PRESETS[name]
    return f"cluster={preset} needs hydra-{name.partition('_')[0]}-launcher: pip install 'src-lab[{extra}]'"


def explain_launch(error: BaseException) -> str | None:
    """One line for an error of a launcher, or None for any other. The launchers' libraries need not be there."""
    text = str(error)
    if 'Could not detect "srun"' in text:
        return "cluster=slurm found no srun on the PATH: start it where SLURM's commands are, or use cluster=processes"
    if type(error).__module__.startswith("submitit."):
        return _explain_submitit(text)
    if isinstance(error, ConnectionError) and "running Ray instance" in text:
        return "cluster=ray found no Ray: ray start --head starts it; without RAY_ADDRESS and an address the sweep does"
    return None


def _explain_submitit(text: str) -> str:
    """Submitit quotes SLURM, or the whole log of a job: keep what ended it and where the log is."""
    lost = LOST.search(text)
    if lost:
        job, files, state = lost.groups()
        return f"SLURM's job {job} ended without a result (state {state}); its log is {files}_log.err"
    raised = re.findall(r"^(?:\w+\.)*(\w+: .*)$", text, re.MULTILINE)
    return str(raised[-1]) if "Traceback" in text and raised else f"SLURM: {text.strip().partition(chr(10))[0]}"
