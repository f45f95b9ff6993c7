"""Where a run stands: after each training and each sleep, enough on disk to go on as if nothing had happened.

A checkpoint holds every tensor that the method's next stages depend on (networks, sums, optimizer momentum) and, as JSON,
the accuracies so far. Generators need no state: every stream of random numbers starts afresh, from the run's seed and the
name of its purpose, inside the training or the sleep that uses it (`src_lab.rng`), and no checkpoint lies inside one.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from src_lab.files import remove_partial
from src_lab.settings import ConfigError
from src_lab.tensor_files import DamagedFile, load_tensors, save_tensors

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
KEEP = 2
"""The newest, and the one before should the newest be damaged."""


class Checkpoints:
    """The checkpoints of one unfinished run, `checkpoints/step-NN.safetensors` in its folder.

    run_id       whose they are
    fingerprint  what computed them (`src_lab.fingerprint`): they are not continued by anything else
    """

    def __init__(self, folder: Path, run_id: str, fingerprint: Mapping[str, str | int]) -> None:
        self.folder = folder / FOLDER
        self._run_id = run_id
        self._fingerprint = dict(fingerprint)

    def save(self, step: int, state: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Keep the run as it stands after `step` trainings and sleeps. Raises OSError, with the older ones in place."""
        self.folder.mkdir(exist_ok=True)
        remove_partial(self.folder)
        note = {"run_id": self._run_id, "fingerprint": self._fingerprint, "step": step, "progress": progress}
        save_tensors(self._path(step), state, note)
        for old in self._files()[:-KEEP]:
            old.unlink(missing_ok=True)

    def latest(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """(step, state, progress) of the newest checkpoint that is whole, or None. Raises ConfigError for another run's."""
        for path in reversed(self._files()):
            try:
                state, note = load_tensors(path)
            except DamagedFile as damage:
                log.warning("%s: going on from the one before", damage)
                continue
            if note["run_id"] != self._run_id:
                raise ConfigError(
                    f"hydra.run.dir={self.folder.parent} holds another run, unfinished, {note['run_id']}, not "
                    f"{self._run_id}: choose another folder, or remove this one"
                )
            changed = [key for key, value in self._fingerprint.items() if note["fingerprint"].get(key) != value]
            if changed:
                log.warning("%s was made with other %s: starting again", path, ", ".join(changed))
                return None
            return note["step"], state, note["progress"]
        return None

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove those of the run in `folder`, which is finished."""
        shutil.rmtree(folder / FOLDER, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:03d}.safetensors"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))
