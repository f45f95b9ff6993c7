"""How the first layer's incoming weights change in a sleep, as the frames of an animation."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from src_lab.plots.panels import DIVERGING, Array, symmetric_limit
from src_lab.plots.png import DPI

SIZE_IN = (1.6, 1.8)
"""Of a frame: 240 x 270 pixels."""
COLORS, GREYS = 200, 32
"""Of a frame's palette."""
FRAME_MS, LAST_FRAME_MS = 150, 1500


def synapse_frames(
    frames: Array, steps: Sequence[int], shape: tuple[int, int], *, common_scale: bool = True
) -> list[Image.Image]:
    """Pictures of incoming weights, one per recorded step and named by it, with one palette.

    frames        (frames, pixels), see `src_lab.analysis.Replay`
    steps         sleep step of each frame
    shape         height and width of an input image
    common_scale  one colour scale for all frames; else each has its own. Zero is always the middle colour.

    Raises ValueError unless there are as many steps as frames and pixels fit the shape.
    """
    if len(frames) != len(steps) or not len(frames) or frames.shape[1:] != (shape[0] * shape[1],):
        raise ValueError(f"frames of shape {frames.shape} for {len(steps)} steps and images of {shape[0]}x{shape[1]}")
    pictures = frames.reshape(-1, *shape)
    limits = [symmetric_limit(pictures)] * len(steps) if common_scale else [symmetric_limit([each]) for each in pictures]
    return list(_drawn(pictures, steps, limits))


def as_png(frame: Image.Image) -> bytes:
    """A frame as the bytes of a PNG with a palette: a few kB."""
    buffer = io.BytesIO()
    frame.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def as_gif(frames: Sequence[Image.Image]) -> bytes:
    """The frames in their order as the bytes of an endless GIF that rests on the last one."""
    buffer = io.BytesIO()
    pauses = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    frames[0].save(buffer, format="gif", save_all=True, append_images=frames[1:], duration=pauses, loop=0)
    return buffer.getvalue()


def _drawn(pictures: Array, steps: Sequence[int], limits: Sequence[float]) -> Iterator[Image.Image]:
    """One figure, drawn again for every frame: a tenth of the time of a figure each."""
    figure = Figure(figsize=SIZE_IN, dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.06, 0.2, 0.88, 0.7))
    scale = figure.add_axes((0.12, 0.13, 0.76, 0.035))
    image = axes.imshow(pictures[0], cmap=DIVERGING, interpolation="nearest")
    axes.set_axis_off()
    figure.colorbar(image, cax=scale, orientation="horizontal")
    scale.tick_params(labelsize=6, length=2, pad=1)
    palette = _palette()
    for picture, step, limit in zip(pictures, steps, limits, strict=True):
        image.set_data(picture)
        image.set_clim(-limit, limit)
        scale.set_xticks([-limit, 0, limit], [f"{-limit:.2g}", "0", f"{limit:.2g}"])
        axes.set_title(f"step {step}", fontsize=8, pad=3)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="rgba")
        full = Image.frombytes("RGBA", figure.canvas.get_width_height(), drawn.getvalue()).convert("RGB")
        yield full.quantize(palette=palette, dither=Image.Dither.NONE)


def _palette() -> Image.Image:
    """The colours of the map and greys for the text: the same in all frames, so that equal weights look equal."""
    map_ = colormaps[DIVERGING](np.linspace(0, 1, COLORS))[:, :3]
    greys = np.repeat(np.linspace(0, 1, GREYS)[:, None], 3, axis=1)
    image = Image.new("P", (1, 1))
    image.putpalette((255 * np.concatenate([map_, greys])).round().astype(np.uint8).tobytes())
    return image
