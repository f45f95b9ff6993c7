"""Checkpoints: the newest whole one counts, a damaged one is noticed, another's is refused."""

import logging
from pathlib import Path

import pytest
import torch

from src_lab import tensor_files
from src_lab.checkpoint import FOLDER, KEEP, Checkpoints
from src_lab.settings import ConfigError
from src_lab.tensor_files import DamagedFile, load_tensors, save_tensors

STATE = {"network.0.weight": torch.arange(12.0).view(3, 4), "momentum.x": torch.tensor([0.5]), "merged": torch.tensor(3)}
MADE_BY = {"code": "a", "threads": 1}


def checkpoints(folder: Path, run_id: str = "src-1-s0", **made_by: object) -> Checkpoints:
    return Checkpoints(folder, run_id, {**MADE_BY, **made_by})


def files(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).iterdir())


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    progress = {"rows": [{"accuracy": 0.1 + 0.2, "sleep_step": None}], "validation": {}}
    checkpoints(tmp_path).save(1, STATE, progress)
    found = checkpoints(tmp_path).latest()
    assert found is not None
    step, state, again = found
    assert step == 1
    assert again == progress
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) and state[name].dtype == STATE[name].dtype for name in STATE)


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert checkpoints(tmp_path).latest() is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoints(tmp_path).save(step, STATE, {})
    assert len(files(tmp_path)) == KEEP
    found = checkpoints(tmp_path).latest()
    assert found is not None
    assert found[0] == 5


@pytest.mark.parametrize("where", ["header", "middle", "end", "cut", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        checkpoints(tmp_path).save(step, STATE, {"step": step})
    newest = files(tmp_path)[-1]
    data = bytearray(newest.read_bytes())
    if where == "cut":
        data = data[: len(data) // 2]
    elif where == "empty":
        data = bytearray()
    else:
        data[{"header": 20, "middle": len(data) - 30, "end": -1}[where]] ^= 1
    newest.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        found = checkpoints(tmp_path).latest()
    assert found is not None
    assert found[2] == {"step": 1}
    assert "step-002.safetensors" in caplog.text
    assert "the one before" in caplog.text


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    """Whatever byte changes, the file is refused or reads as it was: never another tensor, never another note."""
    path, note = tmp_path / "x.safetensors", {"rows": [1, 2]}
    save_tensors(path, STATE, note)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            state, found = load_tensors(path)
        except DamagedFile:
            continue
        assert found == note
        assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_another_runs_checkpoints_are_refused(tmp_path: Path) -> None:
    checkpoints(tmp_path, "merge-2-s0").save(1, STATE, {})
    with pytest.raises(ConfigError, match=r"holds another run, unfinished, merge-2-s0, not src-1-s0"):
        checkpoints(tmp_path).latest()


@pytest.mark.parametrize("change", [{"code": "b"}, {"threads": 2}])
def test_what_another_program_computed_is_not_continued(
    change: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints(tmp_path).save(1, STATE, {})
    with caplog.at_level(logging.WARNING):
        assert checkpoints(tmp_path, **change).latest() is None
    assert f"made with other {next(iter(change))}: starting again" in caplog.text


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(1, STATE, {})
    (tmp_path / FOLDER / ".step-002.safetensors.99.partial").write_bytes(b"half")
    checkpoints(tmp_path).save(2, STATE, {})
    assert [file.name for file in files(tmp_path)] == ["step-001.safetensors", "step-002.safetensors"]


@pytest.mark.parametrize("made_again", [False, True])
def test_a_file_that_goes_while_it_is_opened_is_not_found(
    made_again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may drop a cache's entry between the two openings that reading takes, and a third make it again."""
    path = tmp_path / "entry.safetensors"
    save_tensors(path, {"w": torch.ones(3)}, {})
    really_open = tensor_files.safe_open

    def open_and_lose(*arguments: object) -> object:
        path.unlink()
        try:
            return really_open(*arguments)
        except FileNotFoundError:
            if made_again:
                save_tensors(path, {"w": torch.ones(3)}, {})
            raise RuntimeError(f"unable to open file <{path}> in read-only mode: No such file or directory (2)") from None

    monkeypatch.setattr(tensor_files, "safe_open", open_and_lose)
    with pytest.raises(FileNotFoundError):
        load_tensors(path)
