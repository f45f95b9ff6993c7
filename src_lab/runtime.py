"""The process that a run computes in: threads, and memory that is kept for the next step."""

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`, as its header malloc.h numbers them."""


def prepare(threads: int | None) -> None:
    """Set the number of PyTorch's CPU threads (None leaves its choice) and let freed memory be used again at once.

    By default every tensor above 32 MB, such as the gradient of a 4000 x 4000 layer, is fetched from the system and given
    back at each step; clearing its pages cost a seventh of the training time (27 of 176 ms per batch, one thread).
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
        if mallopt is not None:
            mallopt(M_MMAP_MAX, 0)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
