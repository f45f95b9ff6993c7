"""Four binary patterns with pixels in common: the toy data of Tadros et al. 2022 (doi 10.1038/s41467-022-34938-7)."""

import torch

from src_lab.data.config import NUM_CLASSES
from src_lab.data.sources import Images, Source
from src_lab.rng import generator

SIDE = 10


def patches(active_pixels: int, overlap: int, seed: int) -> Source:
    """Four images of 10 x 10, one of each class: `active_pixels` are on in each, `overlap` of them in all four.

    Where the pixels are is drawn from the seed, as in the MATLAB program; the drawing is the same for every overlap. With
    overlap 0 no two images share a pixel, from `active_pixels` on all are the same image. Training and test images are the
    same: what is measured is recall.
    """
    drawn = torch.randperm(SIDE * SIDE, generator=generator(seed, "dataset", "patches"))
    count, own = NUM_CLASSES["patches"], max(0, active_pixels - overlap)
    pixels = torch.zeros(count, SIDE * SIDE, dtype=torch.uint8)
    pixels[:, drawn[:overlap]] = 1
    for label, places in enumerate(drawn[overlap : overlap + count * own].view(count, own)):
        pixels[label, places] = 1
    images = Images(pixels.view(count, SIDE, SIDE), torch.arange(count))
    return Source(images, images, white=1)
