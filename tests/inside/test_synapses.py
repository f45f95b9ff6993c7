"""Films of the first layer's synapses: their files, their order, and what the experiment made for them shows."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src_lab.analysis import Replay
from src_lab.config import RunConfig
from src_lab.data import load_stream
from src_lab.experiment import ensure
from src_lab.inside.findings import Findings
from src_lab.inside.pictures import Film, films
from tests.test_config import compose

EXPERIMENT = "experiment=synapses_aggressive"
SMALL = ["model.widths=[60,20]", "dataset.num_tasks=2", "dataset.samples_per_task=200", "threads=1", "cache=off"]


def replay_of(mean: Sequence[Sequence[float]], steps: list[int]) -> Replay:
    frames = np.array(mean)
    return Replay(steps[-1], [], [], steps, frames, strongest=3, unit_frames=2 * frames)


def films_of(replays: dict[int, Replay]) -> list[Film]:
    return list(films(Findings("a run", (2, 2), replays=replays)))


def aggressive(*overrides: str) -> RunConfig:
    return compose(EXPERIMENT, *overrides)


def test_every_sleep_has_a_film_of_the_mean_and_of_the_strongest_unit() -> None:
    steps = {0: [0, 50, 100], 1: [0, 200]}
    made = films_of({task: replay_of(np.ones((len(at), 4)).tolist(), at) for task, at in steps.items()})
    assert [film.file for film in made] == ["mean_frames_0", "unit_frames_0", "mean_frames_1", "unit_frames_1"]
    assert [film.title.rpartition(", ")[2] for film in made[::2]] == ["sleep after task 0", "sleep after task 1"]
    assert [film.steps for film in made] == [steps[0], steps[0], steps[1], steps[1]]
    assert [len(film.frames) for film in made] == [3, 3, 2, 2]


def test_a_film_says_what_it_shows_with_its_numbers() -> None:
    mean, unit = films_of({0: replay_of([[0, 0, 0, 1], [-1, 0, 0, 3]], [0, 40])})
    assert mean.alt.endswith("At step 0: 0 to 1; at step 40: -1 to 3.")
    assert unit.alt.endswith("At step 0: 0 to 2; at step 40: -2 to 6.")
    assert mean.how_to_read != unit.how_to_read


def test_the_experiment_is_what_it_is_called() -> None:
    config, default = aggressive(), compose()
    assert config.dataset.name == "mnist"
    assert (config.dataset.num_tasks, config.dataset.classes_per_task) == (10, 1)
    assert min(config.sleep.steps(task) for task in range(10)) > 2000
    assert (config.sleep.inc, config.sleep.dec) == pytest.approx((10 * default.sleep.inc, 10 * default.sleep.dec))
    assert (config.sleep.alpha, config.sleep.beta) == (default.sleep.alpha, default.sleep.beta)
    assert (config.sleep.alpha_scale, config.sleep.beta_scale) == (1, 1)
    assert config.analyses == {"synapses"}
    assert config.sleeps


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    config = aggressive(*SMALL, f"dataset.root={tmp_path_factory.mktemp('data')}")
    folder = tmp_path_factory.mktemp("run")
    ensure(config, folder)
    return SimpleNamespace(config=config, made=folder / "analysis", stream=load_stream(config.dataset, config.seed))


def animations(made: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((made / "animations.json").read_text())
    return entries


def test_frames_are_in_the_order_of_their_steps_in_names_index_and_gif(ran: SimpleNamespace) -> None:
    entries = animations(ran.made)
    assert len(entries) == 4
    for entry in entries:
        assert entry["steps"] == list(range(0, 3001, 75))
        assert entry["frames"] == sorted(entry["frames"])
        film = Image.open(ran.made / f"{entry['frames'][0].rpartition('-')[0]}.gif")
        assert film.n_frames == len(entry["frames"]) == 41
        for number, name in enumerate(entry["frames"]):
            film.seek(number)
            with Image.open(ran.made / "figures" / name) as frame:
                assert film.convert("RGB").tobytes() == frame.convert("RGB").tobytes()


@pytest.mark.parametrize("task", [0, 1])
def test_sleep_writes_the_digit_of_its_task(ran: SimpleNamespace, task: int) -> None:
    unit = np.load(ran.made / f"synapses_{task}.npz")["unit"]
    digits = [other.train.images.mean(dim=0).numpy() for other in ran.stream.tasks]
    likeness = [[np.corrcoef(frame - unit[0], digit)[0, 1] for digit in digits] for frame in (unit[1], unit[-1])]
    assert likeness[-1][task] > 0.6
    assert likeness[-1][task] > likeness[-1][1 - task], "it is this digit, not the other"
    assert likeness[-1][task] > likeness[0][task], "and grows clearer"
