"""Random streams: fixed by name, apart from each other."""

import pytest
import torch

from src_lab.rng import generator, seed_for


@pytest.mark.parametrize(
    ("seed", "purpose", "digest"),
    [
        (0, (), "d0bca111f8628137"),
        (0, ("init",), "6dbca624491a7cde"),
        (7, ("dataset", "pixels", 3), "672bac3d4bf88633"),
    ],
)
def test_seed_is_the_start_of_sha256_over_seed_and_purpose(seed: int, purpose: tuple[str | int, ...], digest: str) -> None:
    """Digests by `printf '%s' '[0, "init"]' | sha256sum`; a change would silently change every result."""
    assert seed_for(seed, *purpose) == int(digest, 16) >> 1


def test_streams_differ_by_seed_and_by_every_part_of_the_purpose() -> None:
    streams = [(0,), (1,), (0, "a"), (0, "a", 1), (0, "a", "1"), (0, "a1"), (0, "a", 1, 2), (0, "a", 12), (1, "a", 1)]
    first_numbers = {torch.rand(1, generator=generator(*stream)).item() for stream in streams}
    assert len(first_numbers) == len(streams)


def test_a_stream_starts_afresh_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    draws = [torch.rand(5, generator=generator(3, "sleep", 0)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)
