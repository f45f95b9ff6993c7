"""How the first layer's incoming weights change in a sleep, as the frames of an animation."""

import functools
import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from src_lab.plots.panels import DIVERGING, Array, symmetric_limit

WIDTH, HEIGHT, SIDE = 240, 284, 224
"""Of a picture, and of the square in it that the weights fill, in pixels."""
TOP, BAR, MARGIN, FONT_SIZE = 24, 254, 10, 14
COLORS = 201
BLACK, WHITE = COLORS, COLORS + 1
"""Indices in a frame's palette."""
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
    scale = "common scale" if common_scale else "own scale"
    return list(_drawn(pictures, [f"step {step}, {scale}" for step in steps], limits))


def side_by_side(frames: Array, steps: Sequence[int], shape: tuple[int, int]) -> list[Image.Image]:
    """The same pictures twice on each frame: left on one scale for all of them, right on the frame's own.

    The left shows how far the weights have come, the right what shape they have, be they ever so small. Arguments and errors
    as of `synapse_frames`.
    """
    common, own = (synapse_frames(frames, steps, shape, common_scale=each) for each in (True, False))
    return [_joined(*pair) for pair in zip(common, own, strict=True)]


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


def _joined(left: Image.Image, right: Image.Image) -> Image.Image:
    page = Image.new("P", (left.width + right.width, left.height))
    page.putpalette(_palette())
    page.paste(left, (0, 0))
    page.paste(right, (left.width, 0))
    return page


def _drawn(pictures: Array, headings: Sequence[str], limits: Sequence[float]) -> Iterator[Image.Image]:
    """Frames put together from pixels: a hundred times as fast as a figure each, and there are hundreds."""
    font = ImageFont.load_default(FONT_SIZE)
    for picture, heading, limit in zip(pictures, headings, limits, strict=True):
        page = np.full((HEIGHT, WIDTH), WHITE, dtype=np.uint8)
        levels = ((picture / limit + 1) / 2 * (COLORS - 1)).round().clip(0, COLORS - 1).astype(np.uint8)
        pixel = max(1, SIDE // max(picture.shape))
        shown = levels.repeat(pixel, axis=0).repeat(pixel, axis=1)[:SIDE, :SIDE]
        top, left = TOP + (SIDE - shown.shape[0]) // 2, (WIDTH - shown.shape[1]) // 2
        page[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        page[BAR : BAR + 6, MARGIN:-MARGIN] = np.linspace(0, COLORS - 1, WIDTH - 2 * MARGIN).round()
        image = Image.fromarray(page)
        image.putpalette(_palette())
        draw = ImageDraw.Draw(image)
        draw.fontmode = "1"  # no shades, which the palette does not have
        for x, y, anchor, text in (
            (WIDTH // 2, 4, "mt", heading),
            (MARGIN, HEIGHT - 4, "lb", f"{-limit:.2g}"),
            (WIDTH // 2, HEIGHT - 4, "mb", "0"),
            (WIDTH - MARGIN, HEIGHT - 4, "rb", f"{limit:.2g}"),
        ):
            draw.text((x, y), text, fill=BLACK, font=font, anchor=anchor)
        yield image


@functools.cache
def _palette() -> bytes:
    """The colours of the map, then black and white: the same in all frames, so that equal weights look equal."""
    map_ = colormaps[DIVERGING](np.linspace(0, 1, COLORS))[:, :3]
    return (255 * np.concatenate([map_, [[0, 0, 0], [1, 1, 1]]])).round().astype(np.uint8).tobytes()
