"""One HTML page about a run, a multirun or a search, to be read in any browser, sent around, printed."""

import argparse
import logging
import sys
from pathlib import Path

from src_lab.report import write_report
from src_lab.settings import ConfigError

MEGABYTE = 1e6
LARGE = 15 * MEGABYTE


def main() -> int:
    """Exit status: 0 when the page was written, 2 when it could not be."""
    arguments = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        path = write_report(arguments.folder, arguments.out)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    size = path.stat().st_size
    print(f"{path.as_posix()} ({size / MEGABYTE:.1f} MB)")
    if size > LARGE:
        print(f"large: more than {LARGE / MEGABYTE:.0f} MB, which some mail programs refuse", file=sys.stderr)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of a run, a multirun (multirun-…) or a search")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html in DIR)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
