"""Random numbers: one named stream per purpose, all derived from the run's one seed."""

import hashlib
import json

import torch


def seed_for(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for `purpose`: the first bits of SHA-256 over (seed, *purpose) written as JSON.

    Hashing names instead of counting draws keeps streams apart: a new consumer of random numbers shifts no other.
    PyTorch's CPU generator uses the low 32 bits.
    """
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A fresh CPU generator at the start of the stream `purpose`, e.g. `generator(seed, "sleep", task)`."""
    return torch.Generator().manual_seed(seed_for(seed, *purpose))
