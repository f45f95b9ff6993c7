"""Runs what `tests/targets.csv` lists and writes REPRODUCTION.md: every published figure beside ours.

python scripts/reproduce.py                  # everything; finished runs are not run again
python scripts/reproduce.py 'mnist-*' patches-src --processes 2
python scripts/reproduce.py --page           # only the page, from the runs that are there
"""

import argparse
import sys
from pathlib import Path

from src_lab.files import write_atomically
from src_lab.reproduction import found, page, read_targets, run_all, select
from src_lab.settings import ConfigError

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ROOT / "tests" / "targets.csv"
NOTES = ROOT / "docs" / "reproduction_notes.md"


def main() -> int:
    """Exit status: 0 when everything asked for has run, 1 when a run failed, 2 for a target that cannot be used."""
    arguments = parse_arguments()
    try:
        targets = read_targets(TARGETS)
        chosen = [] if arguments.page else select(targets, arguments.names)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    failed = run_all(chosen, arguments.folder, arguments.processes)
    results = [(target, found(target, arguments.folder)) for target in targets]
    write_atomically(ROOT / "REPRODUCTION.md", page(results, NOTES.read_text(encoding="utf-8")))
    print("\n".join([*failed, "REPRODUCTION.md"]))
    return 1 if failed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets, or patterns of them (default: all)")
    parser.add_argument("--page", action="store_true", help="run nothing, only write the page")
    parser.add_argument("--processes", type=int, default=1, help="runs side by side (default: 1)")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs", help="where the runs are (default: outputs)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
