"""What is kept of images instead of them: it knows their mean and their main directions, and draws images like them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from src_lab.settings import ConfigError
from src_lab.sleep import Summary, sleep
from src_lab.sleep.summary import samples
from tests.sleep.test_homeostasis import CONFIG as LEVELLED


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 4000, pixels: int = 12) -> Tensor:
    """Images that differ along two directions only, by 0.1 and 0.03, around 0.5."""
    directions = torch.linalg.qr(torch.randn(pixels, 2, generator=dice(0), dtype=torch.float64)).Q.T
    strengths = torch.randn(n, 2, generator=dice(1), dtype=torch.float64) * torch.tensor([0.1, 0.03])
    return 0.5 + strengths @ directions


def test_a_summary_has_the_mean_and_the_directions_in_which_images_differ_most() -> None:
    shown = images()
    summary = Summary.of(shown.view(-1, 3, 4), 2)
    assert torch.allclose(summary.mean.double(), shown.mean(dim=0))
    covariance = torch.cov(shown.T)
    assert torch.allclose((summary.components.T @ summary.components).double(), covariance, atol=1e-7)
    first = Summary.of(shown, 1)
    assert float(first.components.norm().square()) == pytest.approx(float(torch.linalg.eigvalsh(covariance)[-1]))
    assert (summary.numbers, first.numbers) == (3 * 12, 2 * 12)


def test_what_is_drawn_is_like_the_images_and_the_same_for_the_same_generator() -> None:
    shown = images()
    drawn = Summary.of(shown, 2).sample(20_000, dice(2))
    assert torch.allclose(drawn.mean(dim=0), shown.mean(dim=0).float(), atol=3e-3)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(shown.T).float(), atol=3e-4)
    assert torch.equal(drawn, Summary.of(shown, 2).sample(20_000, dice(2)))
    bright = Summary(torch.full((3,), 0.9), torch.ones(1, 3)).sample(1000, dice(0))
    assert (bright.min(), bright.max()) == (0, 1)


def test_a_residual_is_what_the_components_leave_of_each_pixel() -> None:
    shown = images()
    shown[:, 3] = 0.25  # a pixel that is always the same
    plain, whole = Summary.of(shown, 1), Summary.of(shown, 1, residual=True)
    assert plain.residual is None
    assert whole.residual is not None
    assert torch.equal(whole.components, plain.components)
    assert whole.numbers == plain.numbers + 12
    variance = plain.components[0].square() + whole.residual.square()
    assert torch.allclose(variance, shown.var(dim=0).float(), atol=1e-7)
    drawn = whole.sample(20_000, dice(2))
    assert torch.allclose(drawn[:, 3], torch.tensor(0.25))
    assert torch.allclose(drawn.var(dim=0), variance, rtol=0.05, atol=1e-7)
    left = drawn - plain.sample(20_000, dice(2))
    assert torch.allclose(torch.cov(left.T), torch.diag(whole.residual.square()), atol=2e-5)


def test_every_summary_gives_as_many_images() -> None:
    dark, light = (Summary(torch.full((3,), level), torch.zeros(1, 3)) for level in (0.1, 0.9))
    drawn = samples([dark, light, dark], 10, dice(0))
    assert len(drawn) == 12
    assert (drawn[:, 0] == 0.9).sum() == 4


@pytest.mark.parametrize(("n", "pixels", "most"), [(4, 12, 4), (30, 5, 5)])
def test_more_components_than_there_can_be_are_refused(n: int, pixels: int, most: int) -> None:
    with pytest.raises(ConfigError, match=f"sleep.summary=6 is more than {n} images of {pixels} pixels have components"):
        Summary.of(torch.rand(n, pixels), 6)
    assert len(Summary.of(torch.rand(n, pixels), most).components) == most


def network(bias: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 30, bias=bias), nn.ReLU(), nn.Linear(30, 4, bias=bias)).eval()


CONFIG = replace(LEVELLED, summary=2)


@pytest.mark.parametrize("bias", [False, True])
def test_outputs_are_levelled_on_images_of_every_summary(bias: bool) -> None:
    old, new = images().float(), 1 - images().float() * torch.linspace(0.2, 1, 12)
    known = [Summary.of(old, 2), Summary.of(new, 2)]
    model, noisy, alone = network(bias), network(bias), network(bias)
    sleep(model, new, CONFIG, generator=dice(3), summaries=known)
    with torch.no_grad():
        answers = model(samples(known, 40_000, dice(4)).float())
    assert answers.mean(dim=0).abs().max() < 0.1 * answers.std()
    assert torch.allclose(answers.std(dim=0), answers.std(dim=0).mean().expand(4), rtol=0.15)
    sleep(noisy, new, replace(CONFIG, summary=None), generator=dice(3))
    assert torch.equal(model[0].weight, noisy[0].weight)
    assert not torch.allclose(model[2].weight, noisy[2].weight)
    sleep(alone, new, CONFIG, generator=dice(3))  # on a summary of what it sleeps to
    with torch.no_grad():
        answers = alone(Summary.of(new, 2).sample(20_000, dice(4)).float())
    assert answers.mean(dim=0).abs().max() < 0.1 * answers.std()


def test_a_sleep_makes_its_own_summary_as_its_settings_say() -> None:
    shown, first = images().float(), replace(CONFIG, summary=1)
    left, made, given = network(False), network(False), network(False)
    sleep(left, shown, first, generator=dice(3))
    sleep(made, shown, replace(first, summary_residual=True), generator=dice(3))
    sleep(given, shown, first, generator=dice(3), summaries=[Summary.of(shown, 1, residual=True)])
    assert torch.equal(made[2].weight, given[2].weight)
    assert not torch.equal(made[2].weight, left[2].weight)


def test_a_sleep_tells_summaries_apart_by_the_outputs_they_taught() -> None:
    old, new = images().float(), 1 - images().float() * torch.linspace(0.2, 1, 12)
    config = replace(CONFIG, discriminant=2.0)
    known = [Summary.of(old, 2, (0, 1)), Summary.of(new, 2, (2, 3))]
    plain, model = network(False), network(False)
    sleep(plain, new, CONFIG, generator=dice(3), summaries=known)
    result = sleep(model, new, config, generator=dice(3), summaries=known)
    assert torch.equal(plain[0].weight, model[0].weight)
    assert torch.equal(result.weights[-1], model[2].weight)
    with torch.no_grad():
        answers = [torch.stack([each(x).argmax(dim=1) >= 2 for x in (old, new)]) for each in (plain, model)]
    share = [float((~told[0]).double().mean() + told[1].double().mean()) / 2 for told in answers]
    assert share[1] > max(0.95, share[0])


def test_a_discriminant_without_the_outputs_of_a_summary_is_refused_before_anything_changes() -> None:
    model = network(False)
    before = model[0].weight.detach().clone()
    known = [Summary.of(images(), 2, (0, 1)), Summary.of(images(), 2)]
    with pytest.raises(ConfigError, match=r"sleep.discriminant needs the outputs that each task has taught") as error:
        sleep(model, images().float(), replace(CONFIG, discriminant=2.0), generator=dice(3), summaries=known)
    assert "\n" not in str(error.value)
    assert torch.equal(before, model[0].weight)
