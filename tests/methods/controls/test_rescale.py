"""`rescale`: what it measures, on what, and that only the answers change."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src_lab.data import Stream
from src_lab.evaluation import predict
from src_lab.methods import Method
from src_lab.methods.controls.rescale import STIMULUS_IMAGES, Rescale, RescaleConfig
from src_lab.models import StraightThroughReLU
from src_lab.settings import ConfigError
from src_lab.sleep import SleepConfig, StimulusConfig, load_weights

VARIANTS = [("row_norm", "current"), *((by, over) for by in ("centre", "standardise") for over in ("current", "stimulus"))]
VISIBLE = SleepConfig(max_rate_hz=500.0, stimulus=StimulusConfig(samples_per_step=None, mask="none"))
"""The stimulus spikes with the probability of the mean image's intensity."""


def learned(make_method: Any, tasks: int = 2, **settings: Any) -> Any:
    method = make_method("rescale", **settings)
    for task in method.stages()[:tasks]:
        method.learn(task)
    return method


def answers(method: Method, images: Tensor) -> Tensor:
    return predict(method.classifier(method.network), images)


def with_context(method: Any, **changes: Any) -> Rescale:
    return Rescale(replace(method._context, **changes), method._settings)


@pytest.mark.parametrize("tasks", [1, 2])
def test_standardised_logits_have_mean_0_and_sd_1_on_the_current_images(
    make_method: Any, stream: Stream, tasks: int
) -> None:
    method, met = learned(make_method, tasks, by="standardise"), 2 * tasks
    found = answers(method, stream.tasks[tasks - 1].train.images)
    torch.testing.assert_close(found[:, :met].mean(dim=0), torch.zeros(met), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:, :met].std(dim=0, correction=0), torch.ones(met))
    assert (found[:, met:] == -torch.inf).all(), "what no task had is no answer"
    other = answers(method, stream.tasks[2 - tasks].train.images)
    assert other[:, :met].mean(dim=0).abs().max() > 0.5


def test_centred_logits_are_the_logits_less_their_mean_on_the_current_images(make_method: Any, stream: Stream) -> None:
    method, images = learned(make_method, by="centre"), stream.tasks[0].test.images
    mean = predict(method.network, stream.tasks[1].train.images).mean(dim=0)
    torch.testing.assert_close(answers(method, images), predict(method.network, images) - mean)


@pytest.mark.parametrize("by", ["centre", "standardise"])
def test_the_stimulus_is_the_sleeps_own_as_bright_as_the_images(make_method: Any, by: str) -> None:
    method = with_context(make_method("rescale", by=by, over="stimulus"), sleep=VISIBLE)
    task = method.stages()[0]
    method.learn(task)
    shown = method._measured_on()
    assert shown.shape == (STIMULUS_IMAGES, task.train.images.shape[1])
    assert shown.unique().numel() == 2, "spikes, made brighter or darker all alike"
    torch.testing.assert_close(shown.mean(), task.train.images.mean())
    torch.testing.assert_close(shown.mean(dim=0), task.train.images.mean(dim=0), rtol=0, atol=0.06)
    found = answers(method, shown)
    torch.testing.assert_close(found[:, :2].mean(dim=0), torch.zeros(2), rtol=0, atol=1e-5)
    if by == "standardise":
        torch.testing.assert_close(found[:, :2].std(dim=0, correction=0), torch.ones(2))


@pytest.mark.parametrize("over", ["current", "stimulus"])
def test_every_task_has_statistics_of_its_own(make_method: Any, over: str) -> None:
    method = learned(make_method, 1, over=over)
    first = method.classifier(method.network)
    method._learned = 1
    second = method.classifier(method.network)
    assert (first.shift - second.shift)[:2].abs().max() > 0.01
    assert torch.equal(second.shift, method.classifier(method.network).shift), "and the same ones whenever asked"


def hand_made(last: list[list[float]]) -> nn.Sequential:
    """36 inputs, two of which reach the outputs, as they are, through one rectified layer."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False), nn.ReLU(), nn.Linear(2, 4, bias=False))
    load_weights(network, [torch.eye(2, 36), torch.tensor(last)])
    return network.eval()


DROWNING = [[1.0, 0.0], [0.0, 1.0], [4.0, 4.0], [0.0, 0.0]]
"""Output 2 drowns outputs 0 and 1 on every image; output 3 says nothing."""


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("row_norm", [[0.9, 0.1, 1.0 / 2**0.5, 0.0], [0.2, 0.4, 0.6 / 2**0.5, 0.0]]),
        ("centre", [[0.4, -0.4, 0.0, 0.0], [-0.3, -0.1, -1.6, 0.0]]),
        ("standardise", [[1.0, -1.0, 0.0, 0.0], [-0.75, -0.25, -1.6, 0.0]]),
    ],
)
def test_a_network_whose_answers_are_known(make_method: Any, stream: Stream, by: str, expected: list[list[float]]) -> None:
    """Over images (0.9, 0.1) and (0.1, 0.9): means 0.5, 0.5, 4, 0 and sds 0.4, 0.4, 0, 0, and an sd of 0 counts as 1."""
    current = torch.zeros(2, 36)
    current[:, :2] = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    shown = replace(stream.tasks[0].train, images=current, labels=torch.tensor([0, 1]))
    task = replace(stream.tasks[0], classes=(0, 1, 2, 3), train=shown)
    method = make_method("rescale", by=by, stream=replace(stream, tasks=(task,)))
    method._learned = 0
    images = torch.zeros(2, 36)
    images[:, :2] = torch.tensor([[0.9, 0.1], [0.2, 0.4]])
    network = hand_made(DROWNING)
    assert predict(network, images).argmax(dim=1).tolist() == [2, 2]
    found = predict(method.classifier(network), images)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rank", [None, 3])
def test_rows_of_equal_norm(make_method: Any, stream: Stream, rank: int | None) -> None:
    method = learned(make_method, 1, by="row_norm", rank=rank)
    last = method.network[-1].weight if rank is None else method.network[-1].product()
    images = stream.tasks[0].test.images
    expected = predict(method.network, images) / last.detach().norm(dim=1)
    torch.testing.assert_close(answers(method, images)[:, :2], expected[:, :2])


def test_logits_are_those_before_a_last_rectifier(make_method: Any, stream: Stream) -> None:
    method, images = learned(make_method, by="centre"), stream.tasks[1].test.images
    rectified = nn.Sequential(*method.network, StraightThroughReLU()).eval()
    assert torch.equal(predict(method.classifier(rectified), images), answers(method, images))
    assert not any(module.training for module in rectified.modules()), "asking leaves no dropout switched on"


@pytest.mark.parametrize(("by", "over"), VARIANTS)
class TestOnlyTheAnswersChange:
    def test_the_network_is_that_of_sequential_learning(self, make_method: Any, stream: Stream, by: str, over: str) -> None:
        rescaled, plain = make_method("rescale", by=by, over=over), make_method("sequential")
        for task in stream.tasks:
            for method in (rescaled, plain):
                method.learn(task)
            answers(rescaled, task.test.images)
        assert_equal(rescaled.network.state_dict(), plain.network.state_dict())
        assert not any(module.training for module in rescaled.network.modules())
        assert not torch.equal(answers(rescaled, stream.tasks[0].test.images), answers(plain, stream.tasks[0].test.images))

    def test_before_anything_is_learned_it_answers_plainly(self, make_method: Any, by: str, over: str) -> None:
        method = make_method("rescale", by=by, over=over)
        assert method.classifier(method.network) is method.network

    def test_it_goes_on_from_its_state(self, make_method: Any, stream: Stream, by: str, over: str) -> None:
        first = learned(make_method, 1, by=by, over=over)
        second = make_method("rescale", by=by, over=over)
        second.load_state(first.state())
        images = stream.tasks[1].test.images
        assert torch.equal(answers(first, images), answers(second, images))

    def test_a_network_that_has_changed_is_measured_anew(self, make_method: Any, stream: Stream, by: str, over: str) -> None:
        """As sleep changes it; a factor on the last layer is exactly what standardising and equal norms undo."""
        method, images = learned(make_method, by=by, over=over), stream.tasks[0].test.images
        before = answers(method, images)
        with torch.no_grad():
            method.network[-1].weight.mul_(torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None])
        undone = {"centre": before * torch.tensor([1.0, 2.0, 3.0, 4.0])}.get(by, before)
        torch.testing.assert_close(answers(method, images), undone, rtol=1e-4, atol=1e-4)


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def labels(make_method: Any) -> Iterator[str]:
    for sleep_after in ("never", "each_task"):
        for by, over in VARIANTS:
            yield make_method("rescale", by=by, over=over, sleep_after=sleep_after).label


def test_every_variant_has_a_name_of_its_own(make_method: Any) -> None:
    assert len(set(labels(make_method))) == 10
    assert make_method("rescale", over="stimulus").label == "Sequential, standardised on the sleep stimulus"
    assert make_method("rescale", by="row_norm", sleep_after="each_task").label == "SRC, rows of equal norm"


def test_a_stimulus_that_does_not_fit_the_images_is_refused_at_once(make_method: Any) -> None:
    window = SleepConfig(stimulus=StimulusConfig(mask="window", window=11))
    with pytest.raises(ConfigError, match=r"sleep\.stimulus\.window=11 is larger than the 6 x 6 images"):
        with_context(make_method("rescale", over="stimulus"), sleep=window)
    with_context(make_method("rescale", over="current"), sleep=window)
    with_context(make_method("rescale", by="row_norm", over="stimulus"), sleep=window)


def test_nothing_is_stored(make_method: Any) -> None:
    stored = learned(make_method).stored()
    assert (stored.floats, stored.images, stored.models) == (0, 0, 0)


def test_settings_have_sensible_defaults() -> None:
    config = RescaleConfig(name="rescale", sleep_after="never")
    assert (config.by, config.over) == ("standardise", "current")
