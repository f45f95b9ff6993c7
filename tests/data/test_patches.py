"""The toy patterns: as many pixels as asked for, where they should be."""

import pytest
import torch

from src_lab.data.patches import patches


@pytest.mark.parametrize("active", [1, 16, 25])
@pytest.mark.parametrize("overlap", [0, 1, 12, 15, 16, 25])
def test_overlap_is_what_any_two_images_share(active: int, overlap: int) -> None:
    images = patches(active, overlap, seed=0).train.pixels.flatten(1).long()
    assert images.shape == (4, 100)
    assert images.unique().tolist() == [0, 1]
    assert (images @ images.T).fill_diagonal_(overlap).eq(overlap).all()
    assert images.sum(dim=1).tolist() == [max(active, overlap)] * 4
    assert images.sum(dim=0).eq(4).sum() == overlap, "shared by two is shared by all"


def test_an_image_is_its_own_class_and_its_own_test() -> None:
    source = patches(16, 5, seed=0)
    assert source.train.labels.tolist() == [0, 1, 2, 3]
    assert torch.equal(source.train.pixels, source.test.pixels)
    assert torch.equal(source.train.labels, source.test.labels)


def test_the_seed_draws_the_places_whatever_the_overlap() -> None:
    small, large, other = (patches(16, overlap, seed).train.pixels for overlap, seed in ((5, 1), (6, 1), (5, 2)))
    assert torch.equal(small, patches(16, 5, 1).train.pixels)
    assert not torch.equal(small, other)
    shared_by_all = [images.flatten(1).all(dim=0) for images in (small, large)]
    assert (shared_by_all[1] & shared_by_all[0]).sum() == 5
