"""What runs that are missing will take, judged by those that are there."""

import math
from collections.abc import Iterable, Sequence
from statistics import mean

Kinds = tuple[str, ...]
"""What a run is like, the closest likeness first: runs of one method in one setting, then all of that setting."""


def expected_seconds(wanted: Kinds, done: Sequence[tuple[Kinds, float]]) -> float:
    """Mean of the runs that are like `wanted` in the closest way that any is, else of all; NaN when there is none."""
    measured = [(kinds, seconds) for kinds, seconds in done if math.isfinite(seconds)]
    for place, kind in enumerate(wanted):
        alike = [seconds for kinds, seconds in measured if kinds[place] == kind]
        if alike:
            return mean(alike)
    return mean([seconds for _, seconds in measured]) if measured else math.nan


def missing_line(where: str, wanted: Iterable[Kinds], done: Sequence[tuple[Kinds, float]], of_them: str = "") -> str:
    """How many runs are missing and the CPU hours they will take, in a line."""
    seconds = [expected_seconds(kinds, done) for kinds in wanted]
    if not seconds:
        return f"{where}: nothing is missing"
    hours = (
        f"about {sum(seconds) / 3600:.1f} CPU hours"
        if not math.isnan(sum(seconds))
        else "nothing yet to judge their time by"
    )
    return f"{where}: {len(seconds)} {'run' if len(seconds) == 1 else 'runs'} missing{of_them}, {hours}"
