"""Kill runs at random moments and compare: a resumed run must leave, byte for byte, what an uninterrupted one leaves.

Each method runs once in peace and once with SIGKILLs in between, as `python run.py METHOD OVERRIDES` in a process of its
own, in a temporary folder. With --disk (root on Linux, who can mount one) also on a disk that is too small, then read-only,
then large enough. Exit status 1 when a file differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

RUN = Path(__file__).resolve().parent.parent / "run.py"
METHODS = {
    "src": ["method=src", "sleep.record_every=100"],
    "sequential": ["method=sequential", "train.keep_momentum=true"],
    "cheat": ["method=cheat"],
    "parallel": ["method=parallel"],
    "merge": ["method=merge", "method.sleep_after=each_task"],
    "lowrank_merge": ["method=lowrank_merge"],
}
TABLES = ("accuracy.csv", "results.csv", "sleep_trace.csv", "config.yaml")


def main() -> int:
    """Exit status: 0 when everything was the same."""
    arguments = parse_arguments()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        same = [compare(name, arguments.overrides, arguments.kills, moments, Path(scratch)) for name in arguments.methods]
        if arguments.disk:
            same.append(on_a_bad_disk(arguments.overrides, Path(scratch)))
    return 0 if all(same) else 1


def command_of(name: str, overrides: Sequence[str], folder: Path) -> list[str]:
    common = ["experiment=digits", "train.epochs=40", "threads=1", "cache=off"]
    return [sys.executable, str(RUN), *common, *METHODS[name], *overrides, f"hydra.run.dir={folder}"]


def compare(name: str, overrides: Sequence[str], kills: int, moments: random.Random, scratch: Path) -> bool:
    """Run method `name` in peace and among kills; say and return whether the files are the same."""
    whole, broken = scratch / f"{name}-whole", scratch / f"{name}-broken"
    command = command_of(name, overrides, broken)
    subprocess.run(command_of(name, overrides, whole), check=True, capture_output=True)
    times = json.loads((whole / "metrics.json").read_text())["wall_seconds"]
    seconds = sum(times[phase] for phase in ("train", "sleep", "evaluate"))
    killed_at: list[str] = []
    attempts = 0
    while len(killed_at) < kills and attempts < 20 * kills:
        attempts += 1
        (broken / "config.yaml").unlink(missing_ok=True)  # it is written again where the run begins to compute
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while process.poll() is None and not (broken / "config.yaml").exists():
            time.sleep(0.01)  # what comes before is Python starting
        time.sleep(moments.uniform(0, seconds))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed_at.append(position(broken))
        process.communicate()
        if (broken / "metrics.json").exists() and len(killed_at) < kills:
            subprocess.run(command, check=True, capture_output=True)
            if not equal(name, whole, broken):
                return False
            for file in broken.iterdir():
                file.unlink()
    subprocess.run(command, check=True, capture_output=True)
    print(f"{name}: killed {len(killed_at)} times, after steps {', '.join(killed_at)}", end="; ")
    return equal(name, whole, broken)


def on_a_bad_disk(overrides: Sequence[str], scratch: Path) -> bool:
    """Run src on a full disk, a read-only one and a good one, saying the errors; whether it ended as in peace."""
    whole, disk = scratch / "src-peace", scratch / "disk"
    subprocess.run(command_of("src", overrides, whole), check=True, capture_output=True)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], check=True)
    command = command_of("src", overrides, disk / "run")
    try:
        for state in ("size=300k", "ro", "rw,size=100m"):
            subprocess.run(["mount", "-o", f"remount,{state}", str(disk)], check=True)
            tried = subprocess.run(command, capture_output=True, text=True)
            last = (tried.stderr.strip() or tried.stdout).splitlines()[-1].replace(str(scratch), "")
            print(f"disk {state}: exit status {tried.returncode}, after step {position(disk / 'run')}: {last}")
        return tried.returncode == 0 and equal("src", whole, disk / "run")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def position(folder: Path) -> str:
    """The newest checkpoint in `folder`: where a kill found the run."""
    files = sorted((folder / "checkpoints").glob("step-*.safetensors"))
    return files[-1].stem.removeprefix("step-").lstrip("0") if files else "0"


def equal(name: str, whole: Path, broken: Path) -> bool:
    """Whether both folders hold the same tables and the same names of files; what differs is said."""
    names = [sorted(file.name for file in folder.iterdir()) for folder in (whole, broken)]
    there = [table for table in TABLES if (whole / table).exists()]
    different = [table for table in there if (whole / table).read_bytes() != (broken / table).read_bytes()]
    same = names[0] == names[1] and not different
    print("same files, byte for byte" if same else f"{name} DIFFERS: {different or names}")
    return same


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="settings of the runs, e.g. model.widths=[1000,1000]")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--kills", type=int, default=20, help="kills of each method (default: 20)")
    parser.add_argument("--disk", action="store_true", help="try a full and a read-only disk as well (root on Linux)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
