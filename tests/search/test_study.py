"""A study gives the same trials however often, and wherever, the processes that work on it are killed."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import Trial, TrialState

from src_lab.search.samplers import SAMPLERS
from src_lab.search.study import Search
from src_lab.search.trial import Outcome
from src_lab.settings import ConfigError
from tests.search.conftest import among_kills, bare, told, work_through


def in_a_process(target: Callable[[], object]) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    return process


def test_samplers_differ_and_so_do_seeds(tmp_path: Path) -> None:
    names = {"tpe": 5, "cmaes": 5, "random": 5, "another seed": 6}
    searches = [bare(tmp_path / name, name if seed == 5 else "random", 5, seed=seed) for name, seed in names.items()]
    for search in searches:
        work_through(search)
    assert len({str(told(search)) for search in searches}) == 4


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "random"])
def test_killed_at_random_moments_nothing_is_lost_or_done_twice(sampler: str, tmp_path: Path) -> None:
    whole = bare(tmp_path / "whole", sampler)
    started = time.perf_counter()
    work_through(whole)
    seconds = time.perf_counter() - started
    for folder in among_kills(lambda folder: work_through(bare(folder, sampler)), tmp_path, seconds / 2, kills=8):
        trials = told(bare(folder, sampler))
        assert trials == told(whole)
        assert [trial[0] for trial in trials] == list(range(6))
        assert len({str(trial[2]) for trial in trials}) == 6, "every trial is another point"


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path) -> None:
    work_through(bare(tmp_path / "at once", n_trials=6))
    for n_trials in (4, 2, 6):
        work_through(bare(tmp_path / "grown", n_trials=n_trials))
    assert told(bare(tmp_path / "grown")) == told(bare(tmp_path / "at once"))


def test_a_grid_ends_when_it_is_exhausted(tmp_path: Path) -> None:
    search = bare(tmp_path, "grid", n_trials=50)
    work_through(search)
    points = {tuple(sorted(trial.params.items())) for trial in search.study().get_trials()}
    assert points == {(("a", a), ("n", n)) for a in "xy" for n in (0, 2, 4)}
    assert search.total == len(search.study().get_trials()) == 6


def test_processes_share_a_study(tmp_path: Path) -> None:
    bare(tmp_path)
    processes = [in_a_process(lambda: work_through(bare(tmp_path, n_trials=12))) for _ in range(3)]
    for process in processes:
        process.join()
    trials = bare(tmp_path).study().get_trials()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [trial.number for trial in trials] == list(range(12))
    assert all(trial.state is TrialState.COMPLETE for trial in trials)
    assert len({str(trial.params) for trial in trials}) == 12


def test_a_trial_is_held_by_one_process_and_taken_up_when_that_is_gone(tmp_path: Path) -> None:
    here, there = bare(tmp_path), bare(tmp_path)
    with here.take() as first, there.take() as second:
        assert (first.number, second.number) == (0, 1)
    with there.take() as again:
        assert (again.number, again.params) == (0, first.params)


def test_what_became_of_a_trial_is_told_again_after_a_kill_between(tmp_path: Path) -> None:
    search = bare(tmp_path)
    outcome = Outcome("pruned", intermediates=[0.5, 0.3], validation={"0": 0.6}, reason="below")
    with search.take() as trial:
        Trial(search.study(), trial._trial_id).report(0.5, 0)  # as far as a killed process may have come
    with bare(tmp_path).take() as again:
        search.tell(again, outcome)
    (left,) = search.study().get_trials()
    assert left.state is TrialState.PRUNED
    assert left.intermediate_values == {0: 0.5, 1: pytest.approx(0.4)}, "means of the first seeds"
    assert left.user_attrs["reason"] == "below"


def test_floors_are_quantiles_of_what_earlier_trials_had_reached(tmp_path: Path) -> None:
    search = bare(tmp_path)
    looks = [[0.2, 0.4, 0.6], [0.6], [0.5, 0.5], [0.9]]
    floors = []
    for intermediates in looks:
        with search.take() as trial:
            floors.append(trial.user_attrs["floors"])
            search.tell(trial, Outcome("pruned", intermediates=intermediates))
    with search.take() as trial:
        floors.append(trial.user_attrs["floors"])
        search.tell(trial, Outcome("failed"))
    assert floors[:2] == [[], []], "startup_trials=2 have not been told"
    assert floors[2] == [pytest.approx(0.4)], "median of 0.2 and 0.6; one trial alone has two seeds"
    assert floors[3] == [pytest.approx(0.5), pytest.approx(0.4)], "medians of 0.2, 0.5, 0.6 and of 0.3, 0.5"
    assert floors[4] == [pytest.approx(0.55), pytest.approx(0.4)]
    with bare(tmp_path, prune_below=0.0).take() as trial:
        assert trial.user_attrs["floors"] == [pytest.approx(0.2), pytest.approx(0.3)], "the lowest of all"


def test_failed_trials_count_and_keep_their_reason(tmp_path: Path) -> None:
    search = bare(tmp_path, n_trials=3)
    for _ in range(2):
        with search.take() as trial:
            search.tell(trial, Outcome("failed", reason="the loss is nan"))
    work_through(search)
    states = [trial.state for trial in search.study().get_trials()]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert search.study().get_trials()[0].user_attrs["reason"] == "the loss is nan"


def test_the_settings_as_they_are_come_first(tmp_path: Path) -> None:
    plain = bare(tmp_path)
    preset = {"a": 0.5, "b": 0.0, "n": 3}
    search = Search(plain.folder, plain.id, plain.config, plain.space, preset, [], [], 2)
    with search.take() as trial:
        assert trial.params == preset
        assert trial.user_attrs["threads"] == 2


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    search = bare(tmp_path)
    other = Search(tmp_path, "ffff0000", search.config, search.space, None, [], [], None)
    with pytest.raises(ConfigError, match="holds another search, 0123abcd, not ffff0000: choose another folder"):
        other.open()


def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^search\.storage cannot be used: .*$") as refused:
        bare(tmp_path, storage="nosuch://me:secret@host/x")
    assert "secret" not in str(refused.value)
