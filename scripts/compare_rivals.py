"""Every method in one setting: tuned with the same small budget on validation images, then run with other seeds.

    python scripts/compare_rivals.py --record docs/results/rivals/mnist_1200 model.widths=[1200,1200] --processes 2
    python scripts/compare_rivals.py --record docs/results/rivals/mnist_4000 --tuned-in docs/results/rivals/mnist_1200
    python scripts/compare_rivals.py --page      # run nothing: the page from the records

What is tuned of each method is in scripts/rivals.yaml, the cheap methods first. The record (tuned.csv, runs.csv) is to be
committed: what it has is not done again on any machine. Take rows out of it to have them made again. The page of all records
beside it is written too: docs/results/rivals.md, with docs/results/rivals_notes.md at its end.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import yaml
from tqdm import tqdm

from src_lab.files import write_atomically
from src_lab.rivals.compare import SEEDS, Plan, compare
from src_lab.rivals.page import missing, page, records
from src_lab.rivals.record import Record
from src_lab.settings import ConfigError

ROOT = Path(__file__).resolve().parent.parent
Ranges = dict[str, list[str]]


def main() -> int:
    """Exit status: 0 when every method was compared, 1 when one failed, 2 for what cannot be done."""
    arguments = parse_arguments()
    ranges: Ranges = yaml.safe_load((ROOT / "scripts" / "rivals.yaml").read_text(encoding="utf-8"))
    try:
        if not arguments.record.parent.name:
            raise ConfigError(
                f"--record={arguments.record} has no folder above it, beside which the page goes: use FOLDER/NAME"
            )
        failed = [] if arguments.page else run(arguments, ranges)
        lines = write_page(arguments.record.parent, ranges, arguments.trials)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join([*failed, *lines]))
    return 1 if failed else 0


def run(arguments: argparse.Namespace, ranges: Ranges) -> list[str]:
    """Do what the record lacks; returns a line for each method that failed. Raises ConfigError."""
    chosen = arguments.methods.split(",") if arguments.methods else list(ranges)
    unknown = [name for name in chosen if name not in ranges]
    if unknown:
        raise ConfigError(f"--methods={unknown[0]} is not in scripts/rivals.yaml: allowed are {', '.join(ranges)}")
    record = Record(arguments.record)
    plan = Plan(
        record,
        record.setting(" ".join(arguments.setting)),
        arguments.out or ROOT / "outputs" / "rivals" / record.name,
        arguments.trials,
        SEEDS[: arguments.seeds],
        Record(arguments.tuned_in) if arguments.tuned_in else None,
    )
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        started = [pool.submit(compare, plan, name, ranges[name]) for name in chosen]
        return [line for each in tqdm(started, "methods", disable=None) if (line := each.result())]


def write_page(folder: Path, ranges: Ranges, trials: int) -> list[str]:
    """Write the page of the records in `folder` beside it; returns what is missing in each, and where the page is."""
    notes = folder.with_name(f"{folder.name}_notes.md")
    text = page(folder, list(ranges), SEEDS, notes.read_text(encoding="utf-8") if notes.exists() else "")
    write_atomically(folder.with_suffix(".md"), text)
    found = records(folder)
    lacking = [missing(record, ranges, SEEDS, trials, [other for other in found if other is not record]) for record in found]
    return [*lacking, str(folder.with_suffix(".md"))]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", nargs="*", help="overrides of every run; none: the record's, or the defaults")
    default = ROOT / "docs" / "results" / "rivals" / "mnist_1200"
    parser.add_argument(
        "--record", type=Path, default=default, metavar="FOLDER", help=f"(default: {default.relative_to(ROOT)})"
    )
    parser.add_argument("--tuned-in", type=Path, metavar="FOLDER", help="take the settings tuned in another record")
    parser.add_argument("--page", action="store_true", help="run nothing, only write the page")
    parser.add_argument("--methods", help="some of scripts/rivals.yaml, in this order, separated by commas (default: all)")
    parser.add_argument("--trials", type=int, default=8, help="of each method's search, its defaults first (default: 8)")
    parser.add_argument(
        "--seeds", type=int, default=len(SEEDS), help=f"how many, from {SEEDS[0]} on (default: {len(SEEDS)})"
    )
    parser.add_argument("--processes", type=int, default=1, help="methods side by side (default: 1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for trials and runs (default: outputs/rivals/NAME)")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(main())
