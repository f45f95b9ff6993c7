"""Tensors on disk, with a checksum, and their hash."""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from src_lab.files import replacing


class DamagedFile(Exception):
    """A file of tensors that is not as it was written. The message is one line."""


def digest(tensors: Mapping[str, Tensor], *facts: object) -> str:
    """SHA-256 in hexadecimal of tensors (names, types, shapes, bytes) and of `facts`, which JSON can write."""
    state = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(json.dumps([name, str(tensor.dtype), tensor.shape]).encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors, and beside them `note`, as one safetensors file: its header holds the note as JSON and a checksum."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"note": json.dumps(note), "sha256": digest(whole, note)}
    with replacing(path) as partial:
        partial.write_bytes(save(whole, header))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """What `save_tensors` wrote, on the CPU. Raises DamagedFile when a bit of it has changed, FileNotFoundError."""
    try:
        with safe_open(path, "pt") as stream:
            header = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  # no mapping
        note = json.loads(header["note"])
        intact = header["sha256"] == digest(tensors, note)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read ({error})") from error
    except RuntimeError as error:
        # PyTorch opens the file a second time, and another process may have removed it meanwhile (and made it again by now,
        # so that only the message tells).
        if os.strerror(errno.ENOENT) not in str(error):
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    if not intact:
        raise DamagedFile(f"{path} has another checksum than when it was written")
    return tensors, note
