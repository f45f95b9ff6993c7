"""Does a cluster give the numbers of one machine? A sweep of 40 short runs, serially here and through `cluster=NAME`.

    python scripts/check_cluster.py slurm hydra.launcher.partition=short

Both sweeps go below --out, which the nodes must share. Every table of every run is compared byte for byte, and the runs
are counted: exit status 1 when anything differs. Runs that are there already are not run again.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from src_lab.aggregate import find_runs

RUN = Path(__file__).resolve().parent.parent / "run.py"
SHORT = ["experiment=digits", "model.widths=[40,40]", "train.epochs=2", "sleep.iterations=60", "cache=off"]
TABLES = ("accuracy.csv", "results.csv", "config.yaml")


def main() -> int:
    """Exit status: 0 when both sweeps are equal, 1 when not, that of a sweep when it failed."""
    arguments = parse_arguments()
    runs = [*SHORT, "method=src,sequential", f"seed=range(0,{arguments.seeds})", f"threads={arguments.threads}"]
    serial, launched = arguments.out.absolute() / "serial", arguments.out.absolute() / arguments.cluster
    seconds = []
    for folder, extra in ((serial, []), (launched, [f"cluster={arguments.cluster}", *arguments.overrides])):
        start = time.monotonic()
        command = [sys.executable, str(RUN), "-m", *runs, *extra, f"hydra.sweep.dir={folder}"]
        status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        seconds.append(time.monotonic() - start)
        if status:
            return status
    problems = differences(serial, launched, 2 * arguments.seeds)
    print("\n".join([f"serial: {seconds[0]:.0f} s; cluster={arguments.cluster}: {seconds[1]:.0f} s", *problems]))
    if not problems:
        print(f"{2 * arguments.seeds} runs, one row each, every table the same byte for byte")
    return 1 if problems else 0


def differences(serial: Path, launched: Path, expected: int) -> Sequence[str]:
    """What is not as it should be, a line each."""
    here, there = find_runs([serial]), find_runs([launched])
    problems = [f"{problem.folder}: {problem.why}" for runs in (here, there) for problem in runs.problems.itertuples()]
    for folder, runs in ((serial, here), (launched, there)):
        if len(runs.table) != expected:
            problems.append(f"{folder} has {len(runs.table)} runs instead of {expected}")
    for run_id in here.table.run_id:
        for table in TABLES:
            files = [folder / run_id / table for folder in (serial, launched)]
            if not all(file.exists() for file in files) or files[0].read_bytes() != files[1].read_bytes():
                problems.append(f"{run_id}/{table} differs")
    return problems


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", help="a file of conf/cluster: processes, slurm, ray")
    parser.add_argument("overrides", nargs="*", help="settings of the launched sweep, e.g. hydra.launcher.partition=short")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each of two methods (default: 20)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a run (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("outputs/check_cluster"), help="folder (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
