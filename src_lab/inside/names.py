"""What `analysis=` may name, and which of it a run has."""

import json
from pathlib import Path

NAMES = (
    "ranks",
    "effective_ranks",
    "importance",
    "activity",
    "hidden_difference",
    "correlation",
    "sparseness",
    "weights",
    "spikes",
    "synapses",
)
"""Each is a section of docs/analysis.md."""
OF_UNITS = frozenset({"spikes", "synapses"})
"""Those that follow single units and their weights through a sleep, which a convolution's units share."""
FOLDER = "analysis"
INDEX = "analysis.json"
"""Written last: what it lists is there, whole."""


def analysed(folder: Path) -> frozenset[str]:
    """Which analyses of the run in `folder` are there."""
    try:
        return frozenset(json.loads((folder / FOLDER / INDEX).read_text(encoding="utf-8"))["analyses"])
    except (OSError, ValueError, KeyError):
        return frozenset()
