"""What a run's sleep may know of the past, beside the noise."""

import torch

from src_lab.data import load_stream
from src_lab.models import build_model
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
