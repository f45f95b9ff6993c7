"""Runs what `tests/targets.csv` lists and writes REPRODUCTION.md: every published figure beside ours.

python scripts/reproduce.py                  # everything that is not in the ledger
python scripts/reproduce.py 'mnist-*' patches-src --processes 2
python scripts/reproduce.py --page           # run nothing: the page from the ledger, and finished runs in --folder

The ledger, docs/results/reproduction/runs.csv, has a row for every finished run and is committed: what has run on one
machine is not run again on another. Take a row out of it to have its run made again.
"""

import argparse
import sys
from pathlib import Path

from src_lab.files import write_atomically
from src_lab.reproduction import found, ledger_at, missing, page, pick_up, planned, run_all
from src_lab.settings import ConfigError
from src_lab.targets import read_targets, select

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ROOT / "tests" / "targets.csv"
LEDGER = ROOT / "docs" / "results" / "reproduction" / "runs.csv"
NOTES = ROOT / "docs" / "reproduction_notes.md"


def main() -> int:
    """Exit status: 0 when all asked for has run, 1 when a run failed, 2 for a target or ledger that cannot be used."""
    arguments = parse_arguments()
    ledger = ledger_at(arguments.ledger)
    try:
        targets = read_targets(TARGETS)
        chosen = [] if arguments.page else select(targets, arguments.names)
        pick_up(targets, arguments.folder, ledger)
        failed = run_all(chosen, arguments.folder, arguments.processes, ledger)
        rows = ledger.rows()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    uncounted = len(rows.keys() - planned(targets).keys())
    results = [(target, found(target, rows)) for target in targets]
    write_atomically(arguments.out, page(results, NOTES.read_text(encoding="utf-8"), uncounted))
    print("\n".join([*failed, *missing(targets, ledger), str(arguments.out)]))
    return 1 if failed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets, or patterns of them (default: all)")
    parser.add_argument("--page", action="store_true", help="run nothing, only write the page")
    parser.add_argument("--processes", type=int, default=1, help="runs side by side (default: 1)")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs", help="where the runs are (default: outputs)")
    parser.add_argument(
        "--ledger", type=Path, default=LEDGER, metavar="CSV", help="finished runs (default: the committed one)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "REPRODUCTION.md", help="the page (default: REPRODUCTION.md)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
