"""A run that was stopped anywhere goes on where it stood and ends with the very files of a run that was not."""

import errno
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src_lab.checkpoint import FOLDER, Checkpoints
from src_lab.config import RunConfig
from src_lab.experiment import ensure
from src_lab.results import Clock, finished
from src_lab.settings import ConfigError
from tests.test_experiment import AWAKE, VARIANTS, configured

TABLES = ("accuracy.csv", "results.csv", "sleep_trace.csv", "config.yaml")
WATCHED = ["method=src", "sleep.record_every=20", "sleep.keep_best=true", *AWAKE]
METHODS = [
    *VARIANTS,
    WATCHED,
    [*WATCHED, "model.bias=true", "sleep.bias=adapt"],
    ["method=merge", "train.keep_momentum=true"],
    ["method=src", "train.keep_momentum=true", "evaluate=final", *AWAKE],
]


class Stop(Exception):
    """Stands for whatever ends a process."""


def small(*overrides: str) -> RunConfig:
    return configured("dataset.num_tasks=3", "train.epochs=2", "cache=off", *overrides)


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES if (folder / name).exists()}


def in_a_process(target: Callable[[], object]) -> multiprocessing.Process:
    """Start `target` in a process of its own, which shares nothing but files with this one."""
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    return process


@pytest.mark.parametrize("overrides", METHODS, ids=[" ".join(method) for method in METHODS])
def test_stopping_after_every_checkpoint_changes_nothing(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(*overrides)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    ensure(config, whole)
    save, starts = Checkpoints.save, 0

    def save_and_stop(self: Checkpoints, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        raise Stop

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    while finished(broken) is None:
        starts += 1
        try:
            ensure(config, broken)
        except Stop:
            assert (broken / FOLDER).is_dir()
    assert starts > (1 if config.method.name == "parallel" else 3)
    assert tables(broken) == tables(whole)
    assert sorted(file.name for file in broken.iterdir()) == sorted(file.name for file in whole.iterdir())


@pytest.mark.parametrize("overrides", [WATCHED, ["method=merge"], ["method=lowrank_merge", "model.rank=4"]])
def test_killed_at_random_moments_it_ends_the_same(overrides: list[str], tmp_path: Path) -> None:
    config = small(*overrides)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    started = time.perf_counter()
    ensure(config, whole)
    seconds = time.perf_counter() - started
    moments = random.Random(1)
    for _ in range(5):
        process = in_a_process(lambda: ensure(config, broken))
        time.sleep(moments.uniform(0, seconds))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    ensure(config, broken)
    assert tables(broken) == tables(whole)
    names = [{file.name for file in folder.iterdir()} for folder in (broken, whole)]
    assert names[0] == names[1], "nothing half-written is left"


def test_killed_after_its_last_word_it_is_tidied_by_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Between the results and the end there are networks and checkpoints to drop, and the lock."""
    config = small("method=merge")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    ensure(config, whole)

    def killed_before_it_tidies() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoints, "clear", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            ensure(config, broken)

    in_a_process(killed_before_it_tidies).join()
    assert finished(broken) is not None
    assert {file.name for file in broken.iterdir()} == {file.name for file in whole.iterdir()} | {FOLDER, ".lock"}
    caplog.clear()
    with caplog.at_level("INFO"):
        ensure(config, broken)
    assert "finished already" in caplog.text
    assert tables(broken) == tables(whole)
    assert {file.name for file in broken.iterdir()} == {file.name for file in whole.iterdir()}


def test_a_damaged_last_checkpoint_costs_one_stage_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = small("method=src", *AWAKE)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    ensure(config, whole)
    with pytest.raises(Stop):
        ensure(config, broken, stop_after(2))
    newest = max((broken / FOLDER).iterdir())
    newest.write_bytes(newest.read_bytes()[:-7])
    ensure(config, broken)
    assert "the one before" in caplog.text
    assert tables(broken) == tables(whole)


def stop_after(stages: int) -> Callable[[int, Callable[[], float]], None]:
    def after_stage(done: int, _: Callable[[], float]) -> None:
        if done == stages:
            raise Stop

    return after_stage


def test_a_stage_is_validated_once_and_remembered(tmp_path: Path) -> None:
    config = small("method=src", *AWAKE)
    seen: list[tuple[int, float]] = []

    def after_stage(done: int, validation: Callable[[], float]) -> None:
        if done < 3:
            seen.append((done, validation()))
        if len(seen) == 2:
            raise Stop

    with pytest.raises(Stop):
        ensure(config, tmp_path, after_stage)
    metrics = ensure(config, tmp_path, after_stage)
    assert seen[2:] == seen[:2]
    assert metrics["stage_validation"] == {str(done): value for done, value in seen[:2]}


def test_a_full_disk_is_said_and_costs_nothing_that_was_done(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk: tables fit, the network does not."""
    config = small("method=src", *AWAKE)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    ensure(config, whole)
    with pytest.raises(Stop):
        ensure(config, broken, stop_after(1))
    before = {file.name: file.read_bytes() for file in (broken / FOLDER).iterdir()}

    def on_a_full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            ensure(config, broken)
        except OSError as error:
            os._exit(0 if error.errno == errno.EFBIG and "step-003" in str(error.filename) else 1)
        os._exit(2)

    process = in_a_process(on_a_full_disk)
    process.join()
    assert process.exitcode == 0
    assert {file.name: file.read_bytes() for file in (broken / FOLDER).iterdir()} == before
    ensure(config, broken)
    assert tables(broken) == tables(whole)


def test_two_processes_at_one_run_never_interleave(tmp_path: Path) -> None:
    config = small("method=src", *AWAKE)
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    ensure(config, whole)
    first = [in_a_process(lambda: ensure(config, shared)) for _ in range(3)]
    for process in first:
        process.join()
    assert [process.exitcode for process in first] == [0, 0, 0]
    assert tables(shared) == tables(whole)
    seconds = finished(shared)
    ensure(config, shared)
    assert finished(shared) == seconds, "a finished run is not run again"


def test_force_runs_a_finished_run_again_and_goes_on_with_an_interrupted_one(tmp_path: Path) -> None:
    config, forced = small("method=src", *AWAKE), small("method=src", "force=true", *AWAKE)
    first = ensure(config, tmp_path)
    with pytest.raises(Stop):
        ensure(forced, tmp_path, stop_after(2))
    assert finished(tmp_path) is None
    calls: list[int] = []
    second = ensure(forced, tmp_path, lambda done, _: calls.append(done))
    assert calls == [2, 3]
    assert second["final_accuracy"] == first["final_accuracy"]
    assert second["wall_seconds"] != first["wall_seconds"]


def test_a_folder_with_another_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        ensure(small("method=src", *AWAKE), tmp_path, stop_after(1))
    with pytest.raises(ConfigError, match="holds another run, unfinished"):
        ensure(small("method=sequential"), tmp_path)
    with pytest.raises(ConfigError, match="holds another run, unfinished"):
        ensure(small("method=src", "seed=1", *AWAKE), tmp_path)


def test_seconds_count_every_start() -> None:
    clock = Clock()
    with clock.phase("train"):
        time.sleep(0.05)
    before = clock.totals()
    again = Clock()
    again.add(before)
    with again.phase("train"):
        time.sleep(0.05)
    after = again.totals()
    assert after["wall_seconds"]["train"] >= before["wall_seconds"]["train"] + 0.05
    assert after["wall_seconds"]["total"] >= before["wall_seconds"]["total"] + 0.05
    assert after["cpu_seconds"]["total"] >= before["cpu_seconds"]["total"]
