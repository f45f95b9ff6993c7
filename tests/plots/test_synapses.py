"""Frames of incoming weights: each colour is the one that the weight has on the frame's scale."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from src_lab.plots import synapses
from src_lab.plots.panels import DIVERGING

FRAMES = np.array([[1.0, 0, 0.5, 0], [-2, 1, 0, 0], [0, 0, 4, -1], [0, 0, 0, 0]])
STEPS = [0, 20, 100, 3000]
COMMON = [[0.25, 0, 0.125, 0], [-0.5, 0.25, 0, 0], [0, 0, 1, -0.25], [0, 0, 0, 0]]
OWN = [[1, 0, 0.5, 0], [-1, 0.5, 0, 0], [0, 0, 1, -0.25], [0, 0, 0, 0]]
Colour = tuple[int, ...]


def cells(frame: Image.Image) -> list[Colour]:
    """The colours of a 2 x 2 picture, row by row."""
    at = [(frame.width // 2 + x, synapses.TOP + synapses.SIDE // 2 + y) for y in (-50, 50) for x in (-50, 50)]
    return [frame.convert("RGB").getpixel(place) for place in at]


def colours(of_scale: Sequence[float]) -> list[Colour]:
    """The colour map at parts of the scale from -1 to 1."""
    return [tuple((255 * np.array(colormaps[DIVERGING]((part + 1) / 2)[:3])).round().astype(int)) for part in of_scale]


def halves(frame: Image.Image) -> tuple[Image.Image, Image.Image]:
    middle = frame.width // 2
    return frame.crop((0, 0, middle, frame.height)), frame.crop((middle, 0, frame.width, frame.height))


def ends(frame: Image.Image) -> list[bytes]:
    """What is written below the two ends of the colour bar."""
    third, top = frame.width // 3, synapses.BAR + 6
    return [frame.crop((left, top, left + third, frame.height)).tobytes() for left in (0, 2 * third)]


@pytest.mark.parametrize(("common_scale", "shown"), [(True, COMMON), (False, OWN)], ids=["common", "own"])
def test_a_weight_has_the_colour_of_its_part_of_the_scale(common_scale: bool, shown: list[list[float]]) -> None:
    drawn = synapses.synapse_frames(FRAMES, STEPS, (2, 2), common_scale=common_scale)
    for frame, parts in zip(drawn, shown, strict=True):
        assert np.abs(np.subtract(cells(frame), colours(parts))).max() <= 4  # a step of the palette


def test_only_the_largest_weight_of_all_reaches_an_end_of_the_common_scale_but_each_frame_one_of_its_own() -> None:
    blue, red = colours([-1, 1])
    reached = []
    for common_scale in (True, False):
        drawn = synapses.synapse_frames(FRAMES, STEPS, (2, 2), common_scale=common_scale)
        reached.append([[place for place, colour in enumerate(cells(frame)) if colour in (blue, red)] for frame in drawn])
    assert reached == [[[], [], [2], []], [[0], [0], [2], []]]


@pytest.mark.parametrize("end", [0, 1], ids=["lowest", "highest"])
def test_the_scale_written_below_is_the_frames_own_or_that_of_all(end: int) -> None:
    common, own = (
        [ends(frame)[end] for frame in synapses.synapse_frames(FRAMES, STEPS, (2, 2), common_scale=each)]
        for each in (True, False)
    )
    assert len(set(common)) == 1
    assert len(set(own[:3])) == 3, "1, 2 and 4"
    assert own[2] == common[2]


def test_side_by_side_is_the_common_scale_left_and_the_own_right() -> None:
    drawn = synapses.side_by_side(FRAMES, STEPS, (2, 2))
    assert len(drawn) == len(STEPS)
    for frame, common, own in zip(drawn, COMMON, OWN, strict=True):
        left, right = halves(frame)
        assert np.abs(np.subtract(cells(left), colours(common))).max() <= 4
        assert np.abs(np.subtract(cells(right), colours(own))).max() <= 4


def test_every_frame_names_its_step() -> None:
    drawn = synapses.side_by_side(np.zeros((4, 4)), STEPS, (2, 2))
    assert len({frame.crop((0, 0, frame.width, synapses.TOP)).tobytes() for frame in drawn}) == 4


def test_a_gif_has_the_frames_in_their_order_and_their_colours() -> None:
    drawn = synapses.side_by_side(FRAMES, STEPS, (2, 2))
    film = Image.open(io.BytesIO(synapses.as_gif(drawn)))
    assert film.n_frames == len(drawn)
    for number, frame in enumerate(drawn):
        film.seek(number)
        assert film.convert("RGB").tobytes() == frame.convert("RGB").tobytes()


def test_a_png_has_every_pixel() -> None:
    frame = synapses.side_by_side(FRAMES, STEPS, (2, 2))[1]
    assert Image.open(io.BytesIO(synapses.as_png(frame))).convert("RGB").tobytes() == frame.convert("RGB").tobytes()


def test_the_pixels_of_an_mnist_image_are_whole_squares() -> None:
    checks = np.indices((28, 28)).sum(axis=0).reshape(1, -1) % 2 * 2.0 - 1
    left, right = halves(synapses.side_by_side(checks, [0], (28, 28))[0])
    margin = (synapses.WIDTH - synapses.SIDE) // 2
    for half in (left, right):
        shown = np.asarray(half)[synapses.TOP : synapses.TOP + synapses.SIDE, margin : margin + synapses.SIDE]
        assert len(np.unique(shown)) == 2
        assert (np.diff(shown.astype(int), axis=1) != 0).sum(axis=1).tolist() == [27] * synapses.SIDE


def test_all_frames_of_a_run_of_five_sleeps_fit_into_a_page() -> None:
    noise = np.random.default_rng(0).normal(size=(8, 784))
    bytes_per_frame = sum(len(synapses.as_png(frame)) for frame in synapses.side_by_side(noise, range(8), (28, 28))) / 8
    assert 5 * 2 * 41 * bytes_per_frame * 4 / 3 < 3_500_000, "of the 15 MB of a report; 4/3: base64"


@pytest.mark.parametrize(("frames", "steps", "shape"), [(2, 3, (2, 2)), (2, 2, (2, 3)), (0, 0, (2, 2))])
def test_frames_that_do_not_fit_are_refused(frames: int, steps: int, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="frames of shape"):
        synapses.side_by_side(np.zeros((frames, 4)), range(steps), shape)
