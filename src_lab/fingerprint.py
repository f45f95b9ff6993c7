"""What the numbers of a run depend on beyond its configuration: code, library, processor and threads."""

import functools
import hashlib
import platform
from pathlib import Path

import torch

COMPUTING = ("data", "methods", "sleep", "evaluation.py", "experiment.py", "models.py", "rng.py", "sleeper.py", "trace.py",
             "training.py")  # fmt: skip
"""The rooms of `src_lab` whose code decides a number. Others may change without making stored work stale."""


def fingerprint(device: torch.device) -> dict[str, str | int]:
    """Facts that must all be equal for two computations of one configuration to be bit for bit the same."""
    gpu = device.type == "cuda"
    return {
        "code": _code(),
        "torch": torch.__version__,
        "processor": torch.cuda.get_device_name(device) if gpu else f"{platform.machine()} {_capability()}",
        "threads": torch.get_num_threads(),
    }


def _capability() -> str:
    return torch.backends.cpu.get_cpu_capability()


@functools.cache
def _code() -> str:
    """SHA-256 of the source of the rooms that compute."""
    here = Path(__file__).parent
    rooms = [here / name for name in COMPUTING]
    files = sorted(file for room in rooms for file in ([room] if room.is_file() else room.rglob("*.py")))
    state = hashlib.sha256()
    for file in files:
        state.update(file.relative_to(here).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return state.hexdigest()
