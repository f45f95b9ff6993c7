"""Set before any test module is imported: one thread, and Triton's interpreter where there is no GPU.

Triton reads its variable when it is first imported, which torchvision does: before any conftest under tests/.
"""

import os

import torch

torch.set_num_threads(1)  # the tests' networks are too small for threads, which only get in each other's way
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
