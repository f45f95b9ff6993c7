"""The pictures of the README's gallery, from one run that was looked inside of: `make gallery` makes the run, too."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from src_lab.files import replacing
from src_lab.plots import run_report as plots
from src_lab.plots.png import as_png

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"

DRAWN: Mapping[str, tuple[str, Callable[[pd.DataFrame], Figure]]] = {
    "accuracy_curves.png": ("accuracy.csv", plots.accuracy_curves),
    "sleep_accuracy.png": ("sleep_trace.csv", plots.sleep_accuracy),
}
"""Drawn here, as a report does, from a table of the run."""
MADE = (
    "figures/stable_ranks.png",
    "figures/effective_ranks.png",
    "figures/activity_means_4.png",
    "figures/class_correlations.png",
    "figures/task_overlaps.png",
    "figures/hidden_difference.png",
    "mean_frames_4.gif",
)
"""Copied from the run's analysis; 4 is the last of its five sleeps."""


def main() -> int:
    """Exit status: 0 when every picture was written, 2 when the run lacks one of them."""
    run = parse_arguments().run
    try:
        pictures = {name: as_png(draw(pd.read_csv(run / table))) for name, (table, draw) in DRAWN.items()}
        pictures |= {Path(name).name: (run / "analysis" / name).read_bytes() for name in MADE}
    except FileNotFoundError as error:
        print(f"{error.filename} is missing: give a run with analysis=all sleep.record_every=100", file=sys.stderr)
        return 2
    GALLERY.mkdir(exist_ok=True)
    for name, content in pictures.items():
        with replacing(GALLERY / name) as partial:
            partial.write_bytes(content)
        print(f"docs/gallery/{name} ({len(content) / 1e3:.0f} kB)")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
