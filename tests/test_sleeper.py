"""What a run's sleep may know of the past, beside the noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from src_lab.data import load_stream
from src_lab.experiment import ensure
from src_lab.methods.base import Stored
from src_lab.models import build_model
from src_lab.settings import ConfigError
from src_lab.sleeper import Sleeper
from tests.test_experiment import AWAKE, configured

LEVELLED = ["sleep=target_rate", "sleep.iterations=20"]


def test_only_outputs_of_classes_that_were_learned_are_levelled() -> None:
    config = configured("method=src", *AWAKE, *LEVELLED)
    stream = load_stream(config.dataset, config.seed)
    sleeper = Sleeper(config, stream, len(stream.tasks))
    network = build_model(config.model, stream.tasks[0].train.images.shape[1], stream.num_classes, 0).eval()
    met: set[int] = set()
    for stage, task in enumerate(stream.tasks[:2]):
        sleeper.see(task)
        met |= set(task.classes)
        assert sleeper.night(stage).outputs == sorted(met)
        before = network[-1].weight.detach().clone()
        sleeper.sleep(network, stage)
        changed = (network[-1].weight != before).any(dim=1)
        assert torch.equal(changed.nonzero().flatten(), torch.tensor(sorted(met)))


def test_a_sleep_grows_with_the_tasks_before_it() -> None:
    config = configured("method=src", *AWAKE, "sleep.inc=0.5", "sleep.dec=[1,0.5,0.25]", "sleep.growth=2")
    stream = load_stream(config.dataset, config.seed)
    sleeper = Sleeper(config, stream, len(stream.tasks))
    sleeper.see(stream.tasks[0])
    nights = [sleeper.night(stage).config for stage in (0, 1, 2)]
    assert [night.iterations for night in nights] == [60, 70, 80]
    assert [night.inc for night in nights] == [0.5, 1.0, 2.0]
    assert [night.dec for night in nights] == [[1.0, 0.5, 0.25], [2.0, 1.0, 0.5], [4.0, 2.0, 1.0]]


def seen_all(*overrides: str) -> tuple[Sleeper, int]:
    """A sleeper that has seen every task, and the pixels of an image."""
    config = configured("method=src", *AWAKE, *LEVELLED, *overrides)
    stream = load_stream(config.dataset, config.seed)
    sleeper = Sleeper(config, stream, len(stream.tasks))
    for task in stream.tasks:
        sleeper.see(task)
    return sleeper, stream.tasks[0].train.images.shape[1]


@pytest.mark.parametrize(
    ("overrides", "floats", "images"),
    [
        ([], 0, 0),
        (["sleep.summary=3"], 5 * 4, 0),
        (["sleep.summary=3", "sleep.summary_residual=true"], 5 * 5, 0),
        (["sleep.summary=3", "method.sleep_after=never"], 0, 0),
        (["sleep.stimulus.images=running_mean"], 1, 0),
    ],
)
def test_what_sleep_carries_from_task_to_task_is_counted(overrides: list[str], floats: int, images: int) -> None:
    sleeper, pixels = seen_all(*overrides)
    assert sleeper.stored() == Stored(floats=floats * pixels, images=images)


def test_images_that_the_noise_may_use_later_are_counted() -> None:
    config = configured("method=src", *AWAKE)
    tasks = [len(task.train.images) for task in load_stream(config.dataset, config.seed).tasks]
    assert seen_all("sleep.stimulus.images=seen")[0].stored().images == sum(tasks)
    assert seen_all("sleep.stimulus.images=first")[0].stored().images == tasks[0]


def test_outputs_are_levelled_on_a_summary_of_each_task_that_was_met() -> None:
    config = configured("method=src", *AWAKE, *LEVELLED, "sleep.summary=2")
    stream = load_stream(config.dataset, config.seed)
    sleeper = Sleeper(config, stream, len(stream.tasks))
    for stage, task in enumerate(stream.tasks[:3]):
        sleeper.see(task)
        means = torch.stack([summary.mean for summary in sleeper.night(stage).summaries])
        assert torch.allclose(means, torch.stack([met.train.images.mean(dim=0) for met in stream.tasks[: stage + 1]]))


def test_components_that_a_task_has_not_are_refused_before_any_work() -> None:
    config = configured("method=src", *AWAKE, *LEVELLED, "sleep.summary=65")
    stream = load_stream(config.dataset, config.seed)
    with pytest.raises(ConfigError, match=r"sleep\.summary=65 is more than \d+ images of 64 pixels have components"):
        Sleeper(config, stream, len(stream.tasks))


ANSWERING = ["sleep=one_set", "sleep.iterations=20", "sleep.summary=3"]
LEVEL_LASTING = ({"discriminant": 0.0}, {"discriminant_lasts": True})


@pytest.mark.parametrize(
    "model",
    [[], ["model.bias=true"], ["model=lowrank", "model.widths=[40,40]", "train.learning_rate=0.05"]],
    ids=" ".join,
)
def test_what_serves_to_answer_only_is_taken_out_before_the_next_task(model: list[str], tmp_path: Path) -> None:
    """Awake, a network is what it would be had its outputs only been levelled; asleep it answers otherwise."""
    answering = configured("method=src", *model, *ANSWERING)
    level, lasting = (replace(answering, sleep=replace(answering.sleep, **change)) for change in LEVEL_LASTING)
    found = {}
    for name, config in {"answering": answering, "level": level, "lasting": lasting}.items():
        ensure(config, tmp_path / name)
        table = pd.read_csv(tmp_path / name / "accuracy.csv")
        found[name] = {stage: table[table.stage == stage].accuracy.to_numpy() for stage in ("train", "sleep")}
    assert np.array_equal(found["answering"]["train"], found["level"]["train"])
    assert not np.array_equal(found["answering"]["sleep"], found["level"]["sleep"])
    assert not np.array_equal(found["answering"]["train"], found["lasting"]["train"])


def test_the_outputs_that_are_kept_to_learn_with_are_counted_and_go_through_a_checkpoint() -> None:
    config = configured("method=src", *AWAKE, *ANSWERING, "model.bias=true")
    stream = load_stream(config.dataset, config.seed)
    sleeper, again = (Sleeper(config, stream, len(stream.tasks)) for _ in range(2))
    network = build_model(config.model, stream.tasks[0].train.images.shape[1], stream.num_classes, 0).eval()
    last = network[-1]
    sleeper.see(stream.tasks[0])
    numbers = sleeper.stored().floats
    assert sleeper.state() == {}
    sleeper.see(stream.tasks[1])
    sleeper.sleep(network, 1)
    answering = last.weight.detach().clone()
    assert sleeper.stored().floats == 2 * numbers + last.weight.numel() + last.bias.numel()
    again.load_state(sleeper.state())
    sleeper.wake(network)
    levelled = last.weight.detach().clone()
    assert not torch.equal(levelled, answering)
    assert sleeper.state() == {}
    with torch.no_grad():
        last.weight.zero_()
    again.wake(network)
    assert torch.equal(last.weight, levelled)
