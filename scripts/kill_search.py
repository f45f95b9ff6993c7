"""Kill a search at random moments and compare: it must end with the very trials of a search that was left in peace.

The search runs once uninterrupted and once with SIGKILLs in between, as `python run.py -m search=src OVERRIDES` in a process
of its own, in a temporary folder; then the best preset runs again with every seed. Exit status 1 when a number of trials, a
trial or a validation accuracy differs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

RUN = Path(__file__).resolve().parent.parent / "run.py"
RUN_SETTINGS = ["experiment=digits", "threads=1"]
TIMED = ["seconds"]
"""Columns of trials.csv that differ between two runs of the same."""


def main() -> int:
    """Exit status: 0 when everything was the same."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        whole, broken = Path(scratch) / "whole", Path(scratch) / "broken"
        started = time.perf_counter()
        subprocess.run(command_of(arguments, whole), check=True, capture_output=True)
        seconds = time.perf_counter() - started
        print(f"in peace: {arguments.trials} trials in {seconds:.0f} s")
        kill_and_restart(command_of(arguments, broken), arguments, seconds, broken)
        same = compare(whole, broken, arguments.trials)
        return 0 if same and reproduces(broken, arguments.overrides) else 1


def command_of(arguments: argparse.Namespace, folder: Path) -> list[str]:
    search = ["search=src", f"search.n_trials={arguments.trials}", f"hydra.sweep.dir={folder}"]
    return [sys.executable, str(RUN), "-m", *search, *RUN_SETTINGS, *arguments.overrides]


def kill_and_restart(command: Sequence[str], arguments: argparse.Namespace, seconds: float, folder: Path) -> None:
    """Give `command` again and again, killing it `arguments.kills` times, until it ends by itself."""
    moments, kills = random.Random(arguments.seed), 0
    while True:
        since = time.time()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not written_since(since, folder):
            time.sleep(0.02)  # what comes before is Python starting
        try:
            status = process.wait(moments.uniform(0, 2 * seconds / arguments.kills) if kills < arguments.kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            print(f"killed, {kills}: {len(list(folder.glob('trial-*/trial.json')))} trials had ended")
            continue
        print(f"ended by itself, exit status {status}, after {kills} kills")
        return


def written_since(moment: float, folder: Path) -> bool:
    """Whether anything at or below `folder` changed after `moment`."""
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # temporary files come and go
            if path.stat().st_mtime > moment:
                return True
    return False


def compare(whole: Path, broken: Path, expected: int) -> bool:
    """Whether both searches have the same trials, `expected` in number, none twice; what there is, is said."""
    left, right = (pd.read_csv(folder / "trials.csv").drop(columns=TIMED) for folder in (whole, broken))
    settings = [name for name in right if "." in str(name)]
    twice = int(right.duplicated(settings).sum())
    numbers = list(right["number"]) == list(range(expected))
    states = ", ".join(f"{count} {state}" for state, count in right["state"].value_counts().items())
    print(f"{len(right)} trials ({states}), numbered 0 to {expected - 1}: {numbers}; same point twice: {twice}")
    print(f"equal to the search in peace, every value: {left.equals(right)}")
    return numbers and not twice and left.equals(right)


def reproduces(search: Path, overrides: Sequence[str]) -> bool:
    """Whether the best preset, run again, gives the validation accuracy that the search noted for each seed."""
    table = pd.read_csv(search / "trials.csv")
    best = table.loc[table["value"].idxmax()]
    (preset,) = (search / "conf" / "sleep").glob("*_best.yaml")
    names = [str(name) for name in table if str(name).startswith("validation_s")]
    noted = {name.removeprefix("validation_s"): float(best[name]) for name in names}
    found = {}
    for seed in noted:
        folder = search / f"again-s{seed}"
        settings = [f"hydra.searchpath=[file://{search / 'conf'}]", *RUN_SETTINGS, f"sleep={preset.stem}", f"seed={seed}"]
        own = [text for text in overrides if not text.startswith(("search", "sleep"))]
        command = [sys.executable, str(RUN), *settings, *own, f"hydra.run.dir={folder}"]
        subprocess.run(command, check=True, capture_output=True)
        found[seed] = json.loads((folder / "metrics.json").read_text())["validation_accuracy"]
    print(f"best: trial {best['number']}, {100 * best['value']:.2f} %; its preset again, by seed: {found}; noted: {noted}")
    return found == noted


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="settings of the search, e.g. model.widths=[100,100]")
    parser.add_argument("--trials", type=int, default=30, help="default: 30")
    parser.add_argument("--kills", type=int, default=10, help="default: 10")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
