"""Outputs are levelled at the end of a sleep: equal mean and spread on its noise, nothing else."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from src_lab.sleep import SleepConfig, StimulusConfig, restore_levelled, sleep
from src_lab.sleep.chain import find_layers
from src_lab.sleep.homeostasis import as_images, level_outputs


def network(bias: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Linear(20, 50, bias=bias), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 5, bias=bias)).double().train()
    )


STIMULUS = torch.rand(400, 20, generator=torch.Generator().manual_seed(1)) < 0.3
IMAGES = torch.rand(10, 20, generator=torch.Generator().manual_seed(2))


CONFIG = SleepConfig(
    iterations=50,
    scaling="target_rate",
    plasticity="relative",
    dec=0.3,
    inc=0.0,
    homeostasis="outputs",
    stimulus=StimulusConfig(mask="none"),
)

SHOWN = as_images(STIMULUS, IMAGES, torch.zeros(1, dtype=torch.float64))


def answers(model: nn.Sequential) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(SHOWN)


def rows(model: nn.Sequential) -> torch.Tensor:
    """Weights of each output, its bias at the end where there is one."""
    last = model[3]
    own = [last.weight] if last.bias is None else [last.weight, last.bias[:, None]]
    return torch.cat(own, dim=1).detach().clone()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("outputs", [None, [1, 3, 4]])
def test_levelled_outputs_have_mean_0_and_the_mean_of_their_spreads(bias: bool, outputs: list[int] | None) -> None:
    model = network(bias)
    before = answers(model)
    level_outputs(model, find_layers(model)[-1], SHOWN, outputs)
    after = answers(model)
    chosen = list(range(5)) if outputs is None else outputs
    assert after[:, chosen].mean(dim=0).abs().max() < 1e-12
    spread = after[:, chosen].std(dim=0)
    assert torch.allclose(spread, spread.mean().expand_as(spread), rtol=1e-10)
    others = [k for k in range(5) if k not in chosen]
    assert torch.equal(after[:, others], before[:, others])


@pytest.mark.parametrize("bias", [False, True])
def test_rows_change_along_the_mean_activity_and_by_a_factor_a_bias_being_the_weight_of_a_constant(bias: bool) -> None:
    model = network(bias)
    before, hidden = rows(model), model[0].weight.detach().clone()
    model.eval()
    with torch.no_grad():
        h = model[:3](SHOWN).mean(dim=0)
    if bias:
        h = torch.cat([h, torch.ones(1, dtype=torch.float64)])
    level_outputs(model, find_layers(model)[-1], SHOWN)
    across = before - torch.outer(before @ h, h) / h.dot(h)
    factors = rows(model) / across
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-9)
    assert torch.equal(model[0].weight, hidden)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("outputs", [None, [1, 3, 4]])
def test_decorrelated_outputs_stay_level(bias: bool, outputs: list[int] | None) -> None:
    chosen = list(range(5)) if outputs is None else outputs
    correlations = []
    for power in (0.0, 0.5, 1.0):
        model = network(bias)
        before = answers(model)
        level_outputs(model, find_layers(model)[-1], SHOWN, outputs, power)
        after = answers(model)[:, chosen]
        assert after.mean(dim=0).abs().max() < 1e-10
        assert torch.allclose(after.std(dim=0), after.std(dim=0).mean().expand(len(chosen)), rtol=1e-8)
        others = [k for k in range(5) if k not in chosen]
        assert torch.equal(answers(model)[:, others], before[:, others])
        correlations.append((torch.corrcoef(after.T) - torch.eye(len(chosen))).abs().max().item())
    assert correlations[0] > 1.5 * correlations[1] > 0
    assert correlations[2] < 1e-8


def test_an_output_that_never_answers_is_not_decorrelated() -> None:
    model = network(False)
    with torch.no_grad():
        model[3].weight[2] = 0
    level_outputs(model, find_layers(model)[-1], SHOWN, None, 1.0)
    assert torch.isfinite(model[3].weight).all()
    assert not model[3].weight[2].any()


TAUGHT = [(0, 1), (2, 3), (4,)]
"""The outputs that each third of `PARTS` has taught."""
PARTS = torch.cat([SHOWN[:100] * torch.linspace(0, 1, 20).roll(7 * part) for part in range(3)])


def discriminated(
    model: nn.Sequential, strength: float, taught: list[tuple[int, ...]], shown: torch.Tensor = PARTS, ridge: float = 0.1
) -> torch.Tensor:
    """What is added to the weights of the outputs."""
    plain = copy.deepcopy(model)
    level_outputs(plain, find_layers(plain)[-1], shown)
    level_outputs(model, find_layers(model)[-1], shown, taught=taught, discriminant=strength, ridge=ridge)
    return rows(model) - rows(plain)


@pytest.mark.parametrize("ridge", [0.1, 0.003])
@pytest.mark.parametrize("every", [1, 10], ids=["300-images", "30-images"])
@pytest.mark.parametrize("bias", [False, True])
def test_discriminants_are_fishers_between_the_tasks(bias: bool, every: int, ridge: float) -> None:
    """Beside the formula itself, with the covariance of all 50 units inverted, of more images than units and of fewer."""
    shown = PARTS[::every]
    model = network(bias)
    added = discriminated(model, 0.5, TAUGHT, shown, ridge)
    with torch.no_grad():
        h = model.eval()[:3](shown)
    h = torch.cat([h, torch.ones(len(h), 1)], dim=1).double() if bias else h.double()
    means = h.view(3, 100 // every, -1).mean(dim=1)
    within = h - means.repeat_interleave(100 // every, dim=0)
    c = within.T @ within / len(shown)
    most = max(ridge, len(c) / len(shown) / 40) * c.diagonal().mean() * torch.eye(len(c), dtype=c.dtype)
    apart, mean = (means - h.mean(dim=0))[[0, 0, 1, 1, 2]], h.mean(dim=0)
    solved = torch.linalg.solve(c + most, torch.cat([apart, mean[None]]).T).T
    directions = solved[:5] - torch.outer(solved[:5] @ mean / (solved[5] @ mean), solved[5])
    factor = (added * directions).sum() / directions.square().sum()
    assert torch.allclose(added, factor * directions, rtol=1e-6)
    assert factor > 0
    plain = network(bias)
    level_outputs(plain, find_layers(plain)[-1], shown)
    with torch.no_grad():
        present = plain.eval()(shown)
    assert (factor * h @ directions.T).std(correction=0) == pytest.approx(0.5 * float(present.std(correction=0)))


def test_a_discriminant_tells_tasks_apart_and_nothing_within_one() -> None:
    plain, model = network(False), network(False)
    level_outputs(plain, find_layers(plain)[-1], PARTS)
    level_outputs(model, find_layers(model)[-1], PARTS, taught=TAUGHT, discriminant=3.0)
    with torch.no_grad():
        before, after = plain.eval()(PARTS), model.eval()(PARTS)
    assert after.mean(dim=0).abs().max() < 1e-10
    assert torch.allclose(after[:, 0] - after[:, 1], before[:, 0] - before[:, 1])
    assert torch.allclose(after[:, 2] - after[:, 3], before[:, 2] - before[:, 3])
    task = torch.arange(300) // 100

    def right(answers: torch.Tensor) -> float:
        return (answers.argmax(dim=1).div(2, rounding_mode="floor") == task).double().mean().item()

    assert right(before) < 0.5
    assert right(after) > 0.75


@pytest.mark.parametrize(
    "taught", [[], [(0, 1, 2, 3, 4)], [(0, 1, 2, 3, 4)] * 3], ids=["unknown", "one-task", "all-teach-all"]
)
def test_without_tasks_of_their_own_outputs_have_no_discriminant(taught: list[tuple[int, ...]]) -> None:
    assert discriminated(network(False), 0.5, taught).abs().max() < 1e-12


@pytest.mark.parametrize("bias", [False, True])
def test_what_was_levelled_is_given_back_as_it_was_without_discriminants(bias: bool) -> None:
    model, plain = network(bias), network(bias)
    levelled = level_outputs(model, find_layers(model)[-1], PARTS, taught=TAUGHT, discriminant=3.0)
    assert level_outputs(plain, find_layers(plain)[-1], PARTS) is None
    assert not torch.equal(model[3].weight, plain[3].weight)
    restore_levelled(model, levelled)
    assert torch.equal(rows(model), rows(plain))
    restore_levelled(model, None)
    assert torch.equal(rows(model), rows(plain))


def test_training_flags_stay_and_an_output_that_never_answers_is_left_at_rest() -> None:
    model = network(False)
    with torch.no_grad():
        model[3].weight[2] = 0
    level_outputs(model, find_layers(model)[-1], SHOWN)
    assert model.training
    assert model[2].training
    assert torch.isfinite(model[3].weight).all()
    assert not model[3].weight[2].any()


def test_noise_without_a_spike_levels_nothing() -> None:
    model = network(True)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    level_outputs(model, find_layers(model)[-1], torch.zeros_like(SHOWN))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("bias", [False, True])
def test_a_sleep_ends_with_it_and_says_so_in_its_result(bias: bool) -> None:
    model, plain = network(bias), network(bias)
    result = sleep(model, IMAGES, CONFIG, generator=torch.Generator().manual_seed(0), outputs=[0, 1])
    without = replace(CONFIG, homeostasis="none")
    sleep(plain, IMAGES, without, generator=torch.Generator().manual_seed(0))
    assert torch.equal(result.weights[-1], model[3].weight)
    assert torch.equal(model[0].weight, plain[0].weight)
    assert torch.equal(model[3].weight[2:], plain[3].weight[2:])
    assert not torch.equal(model[3].weight[:2], plain[3].weight[:2])
