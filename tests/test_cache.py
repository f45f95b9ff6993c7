"""The cache of trained networks: the same numbers with and without, shared by methods and processes, bounded, expendable."""

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from src_lab.cache import Cache
from src_lab.config import RunConfig, cache_of
from src_lab.data import default_root
from src_lab.experiment import ensure
from src_lab.training import Trainer
from tests.test_experiment import AWAKE, VARIANTS, configured
from tests.test_resume import tables


def small(folder: Path | str, *overrides: str) -> RunConfig:
    return configured("dataset.num_tasks=3", "train.epochs=2", f"cache={folder}", *overrides)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | int, ...]]:
    """The purposes of the trainings that are really computed."""
    computed: list[tuple[str | int, ...]] = []
    train = Trainer._train

    def counted(self: Trainer, data: object, *purpose: str | int) -> None:
        computed.append(purpose)
        train(self, data, *purpose)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_train", counted)
    return computed


@pytest.mark.parametrize("overrides", [*VARIANTS, ["method=sequential", "train.keep_momentum=true"]], ids=" ".join)
def test_results_are_the_same_with_and_without(overrides: list[str], tmp_path: Path) -> None:
    ensure(small("off", *overrides), tmp_path / "off")
    for name in ("filling", "using"):
        ensure(small(tmp_path / "cache", *overrides), tmp_path / name)
        for file in ("accuracy.csv", "results.csv"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "off" / file).read_bytes()


def test_what_is_the_same_is_trained_once(tmp_path: Path, trainings: list[tuple[str | int, ...]]) -> None:
    cache = tmp_path / "cache"
    ensure(small(cache, "method=sequential"), tmp_path / "sequential")
    assert trainings == [(0,), (1,), (2,)]
    trainings.clear()
    ensure(small(cache, "method=src", "method.sleep_after=last_task", *AWAKE), tmp_path / "last")
    ensure(small(cache, "method=cheat"), tmp_path / "cheat")
    assert trainings == [], "all training is the sequential run's"
    ensure(small(cache, "method=src", *AWAKE), tmp_path / "src")
    assert trainings == [(1,), (2,)], "only the first task comes before a sleep"
    assert [reused(tmp_path / name) for name in ("sequential", "last", "cheat", "src")] == [0, 3, 3, 1]
    trainings.clear()
    ensure(small(cache, "method=merge"), tmp_path / "merge")
    assert trainings == [(1,), (2,)], "its first network is the sequential run's"
    trainings.clear()
    ensure(small(cache, "method=merge", "method.sleep_after=each_task", *AWAKE), tmp_path / "merge_src")
    ensure(small(cache, "method=merge", "sleep.inc=0.5"), tmp_path / "merge_again")
    assert trainings == [], "sleeping on the merged network touches no task network"


def reused(folder: Path) -> object:
    return json.loads((folder / "metrics.json").read_text())["reused_trainings"]


@pytest.mark.parametrize(
    "change",
    ["seed=1", "train.learning_rate=0.1", "train.epochs=1", "model.widths=[40,41]", "model.dropout=0", "train.batch_size=50",
     "dataset.samples_per_task=100", "dataset.task_order=[1,0,2]", "train.keep_momentum=true", "model.bias=true"],
)  # fmt: skip
def test_what_differs_is_trained_anew(change: str, tmp_path: Path, trainings: list[tuple[str | int, ...]]) -> None:
    cache = tmp_path / "cache"
    ensure(small(cache, "method=sequential"), tmp_path / "one")
    trainings.clear()
    ensure(small(cache, "method=sequential", change), tmp_path / "other")
    assert trainings[0] == (0,)
    assert len(trainings) == 3


def test_threads_are_part_of_what_is_the_same(tmp_path: Path, trainings: list[tuple[str | int, ...]]) -> None:
    threads = torch.get_num_threads()
    try:
        ensure(small(tmp_path / "cache", "method=sequential"), tmp_path / "one")
        ensure(small(tmp_path / "cache", "method=sequential", "threads=2"), tmp_path / "two")
    finally:
        torch.set_num_threads(threads)
    assert len(trainings) == 6


def test_what_follows_a_sleep_is_not_kept(tmp_path: Path) -> None:
    ensure(small(tmp_path / "cache", "method=src", *AWAKE), tmp_path / "src")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def tensors(value: float, size: int = 100) -> dict[str, Tensor]:
    return {"x": torch.full((size,), value)}


def refuse() -> dict[str, Tensor]:
    raise AssertionError("it should have been there")


def test_a_bounded_cache_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 2300)
    for number, name in enumerate("abcd"):
        cache.get(name, lambda number=number: tensors(float(number)))
        os.utime(tmp_path / f"{name}.safetensors", (number, number))
    assert cache.get("a", refuse)["x"][0] == 0, "used just now"
    cache.get("e", lambda: tensors(4.0))
    kept = {file.stem for file in tmp_path.iterdir()}
    assert "a" in kept
    assert "e" in kept
    assert "b" not in kept
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2300 + 200


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    assert cache.get("a", lambda: tensors(1, size=1000))["x"][0] == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_entry_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path, 1e6)
    cache.get("a", lambda: tensors(1))
    entry = tmp_path / "a.safetensors"
    entry.write_bytes(entry.read_bytes()[:-1] + b"\x55")
    assert cache.get("a", lambda: tensors(2))["x"][0] == 2
    assert "made again" in caplog.text
    assert cache.get("a", refuse)["x"][0] == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache", 1e6)
    assert cache.get("a", lambda: tensors(1))["x"][0] == 1
    assert "cannot be used" in caplog.text


def test_a_failed_computation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Cache(tmp_path, 1e6).get("a", refuse)
    assert not list(tmp_path.iterdir())


def test_processes_that_want_the_same_compute_it_once(tmp_path: Path) -> None:
    def want() -> None:
        def compute() -> dict[str, Tensor]:
            (tmp_path / f"computed-{os.getpid()}").touch()
            return tensors(1)

        for name in "abc":
            assert Cache(tmp_path / "cache", 1e6).get(name, compute)["x"][0] == 1

    run_together(want, 6)
    assert 1 <= len(list(tmp_path.glob("computed-*"))) <= 3
    assert sorted(file.name for file in (tmp_path / "cache").iterdir()) == [f"{name}.safetensors" for name in "abc"]


def test_processes_that_make_room_at_once_do_not_trip(tmp_path: Path) -> None:
    def want() -> None:
        cache = Cache(tmp_path, 2500)
        for turn in range(40):
            value = (turn * 7 + os.getpid()) % 11
            assert cache.get(f"k{value}", lambda value=value: tensors(float(value)))["x"][0] == value

    run_together(want, 4)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2 * 2500


def run_together(target: Callable[[], None], count: int) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=target) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


def test_where_the_cache_is(tmp_path: Path) -> None:
    assert cache_of(small("off")) is None
    assert cache_of(small("auto", "cache_gb=2.5")) == Cache(default_root() / "training", 2.5e9)
    assert cache_of(small(tmp_path)) == Cache(tmp_path, 1e10)
    assert small("off").run_id == small("auto", "cache_gb=1").run_id, "a cache does not make another run"


def test_a_run_that_used_the_cache_resumes(tmp_path: Path) -> None:
    config = small(tmp_path / "cache", "method=merge")
    ensure(config, tmp_path / "whole")

    def stop(done: int, _: Callable[[], float]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(config, tmp_path / "broken", stop)
    ensure(config, tmp_path / "broken")
    assert tables(tmp_path / "broken") == tables(tmp_path / "whole")
    assert reused(tmp_path / "broken") == 3
