"""The networks of a run, kept stage by stage for those who look inside: `networks/NN-<phase>.safetensors`."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from src_lab.methods import Method
from src_lab.results import Stage
from src_lab.tensor_files import load_tensors, save_tensors
from src_lab.training import part

FOLDER = "networks"


@dataclass(frozen=True)
class Moment:
    """A network as it was at one moment of a run.

    order  0 before all training, then one for each training and each sleep
    phase  initial, train or sleep: what has just happened
    task   what was trained last (-1: all at once), None before anything
    """

    order: int
    phase: Stage
    task: int | None
    state: Mapping[str, Tensor]

    @property
    def expert(self) -> Mapping[str, Tensor]:
        """The task's own network, before it was merged; empty for methods that have none."""
        return part(self.state, "expert.")

    def load(self, network: nn.Module) -> nn.Module:
        """Put the answering network's weights into `network`, of the same shape."""
        network.load_state_dict(part(self.state, "network."))
        return network


def keep(folder: Path, order: int, phase: Stage, task: int | None, method: Method) -> None:
    """Keep the networks of `method` as they are. Safe to repeat. Raises OSError."""
    (folder / FOLDER).mkdir(exist_ok=True)
    state = method.network.state_dict(prefix="network.")
    for name, network in method.experts().items() if phase == "train" else ():
        state |= network.state_dict(prefix=f"{name}.")
    save_tensors(folder / FOLDER / f"{order:03d}-{phase}.safetensors", state, {"order": order, "phase": phase, "task": task})


def kept(folder: Path) -> Iterator[Moment]:
    """What `keep` kept, in order. Raises DamagedFile."""
    for path in sorted((folder / FOLDER).glob("*.safetensors")):
        state, note = load_tensors(path)
        yield Moment(note["order"], note["phase"], note["task"], state)


def drop(folder: Path) -> None:
    """Remove what was kept."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
