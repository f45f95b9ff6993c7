"""Runs into tables: every finished run under the folders, summarised by group with mean, sd, n and 95 % interval, and the
differences between the groups over their common seeds."""

import argparse
import logging
import sys
from pathlib import Path

from src_lab.aggregate import find_runs
from src_lab.settings import ConfigError
from src_lab.tables import write_tables


def main() -> int:
    """Exit status: 0 when runs were aggregated, 1 when none is finished, 2 for arguments that cannot be used."""
    arguments = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("src_lab").setLevel(logging.INFO)
    out: Path = arguments.out or arguments.folders[0]
    counted = None
    try:
        runs = find_runs(arguments.folders)
        counted = len(runs.table)
        for problem in runs.problems.itertuples():
            print(f"not counted: {problem.folder}: {problem.why}")
        print(write_tables(runs, out, arguments.by, arguments.against))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1 if counted == 0 else 2
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders to search for runs, at any depth; a multirun-… folder stands for the runs of that multirun",
    )
    parser.add_argument(
        "--by",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        metavar="COLUMNS",
        help="group by these columns of runs.csv or settings instead, e.g. method,sleep.inc",
    )
    parser.add_argument(
        "--against",
        metavar="GROUP",
        help="compare every other group with this one: its name, or a value in one of its columns, e.g. sequential",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the tables (default: the first DIR)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
