"""Drawn figures as bytes."""

import io

from matplotlib.figure import Figure

DPI = 150


def as_png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
