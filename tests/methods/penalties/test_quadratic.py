"""The quadratic penalties: EWC, online EWC and SI."""

import pytest
import torch
from torch import nn

from src_lab.data import Split
from src_lab.evaluation import predict
from src_lab.methods.fisher import diagonal_fisher
from src_lab.methods.penalties.quadratic import QuadraticPenalty, copied, step_size
from src_lab.methods.penalties.si import PathIntegral
from src_lab.training import Trainer, part
from tests.methods.test_methods import learn_all


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("strength", [0.0, 0.3, 30.0, 1e6])
def test_training_rests_where_loss_and_penalty_together_are_least(strength: float, momentum: float) -> None:
    """The loss 1/2 (theta - 3)^2 and a spring of stiffness 2 strength towards -1."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    stiffness, target, anchor, rate = 2.0, 3.0, -1.0, 0.1
    held = {"weight": torch.full((1, 1), stiffness).double()}, {"weight": torch.full((1, 1), anchor).double()}
    extra = QuadraticPenalty(model, *held, strength, rate / (1 - momentum))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    for _ in range(300):
        optimizer.zero_grad()
        (0.5 * (model.weight - target).square().sum()).backward()
        optimizer.step()
        extra.after_update()
    least = (target + strength * stiffness * anchor) / (1 + strength * stiffness)
    assert model.weight.item() == pytest.approx(least, abs=1e-5)


def test_ewc_keeps_the_sum_over_all_tasks_around_what_sleep_left(make, permuted) -> None:
    """S (theta - centre) is sum_j F_j (theta - theta_j) for any theta."""
    method = make("ewc", stream=permuted, strength=1.0, train={"epochs": 1})
    noise = torch.Generator().manual_seed(0)
    fishers, centres = [], []
    for task in permuted.tasks:
        method.learn(task)
        fishers.append(part(method.state(), "latest."))
        with torch.no_grad():  # stands for a sleep
            for parameter in method.network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise))
        centres.append(copied(method.network))
    state = method.state()
    for name, theta in copied(method.network).items():
        kept = state[f"importance.{name}"] * (theta - state[f"anchor.{name}"])
        pulls = [fisher[name] * (theta - centre[name]) for fisher, centre in zip(fishers[:2], centres[:2], strict=True)]
        torch.testing.assert_close(kept, sum(pulls))


def test_online_ewc_lets_old_importance_decay(make, permuted) -> None:
    method = make("online_ewc", stream=permuted, decay=0.25, fisher="empirical", train={"epochs": 1})
    expected: dict[str, torch.Tensor] = {}
    for task in permuted.tasks:
        method.learn(task)
        latest = diagonal_fisher(method.network, task.train.images, task.train.labels)
        expected = {name: 0.25 * expected.get(name, 0) + fisher for name, fisher in latest.items()}
    for name, tensor in expected.items():
        torch.testing.assert_close(method.state()[f"importance.{name}"], tensor)


@pytest.mark.parametrize("name", ["ewc", "online_ewc"])
def test_the_fishers_labels_are_the_networks_own_or_the_true_ones(name, make, stream) -> None:
    kept = []
    for fisher in ("model", "empirical"):
        method = make(name, fisher=fisher, train={"epochs": 1})
        method.learn(stream.tasks[0])
        kept.append(
            torch.cat([tensor.flatten() for key, tensor in method.state().items() if not key.startswith("network.")])
        )
    assert not torch.equal(*kept)
    assert all((tensor >= 0).all() and tensor.sum() > 0 for tensor in kept)


@pytest.mark.parametrize(
    ("name", "settings"), [("ewc", {"strength": 10.0}), ("online_ewc", {"strength": 10.0}), ("si", {"strength": 0.03})]
)
def test_tasks_with_the_same_outputs_are_forgotten_less(name, settings, make, permuted) -> None:
    """Where these methods are known to help, unlike in learning new classes with one head."""
    first = permuted.tasks[0].test

    def forgotten(name: str, **settings: float) -> float:
        method = learn_all(make(name, stream=permuted, train={"epochs": 5, "learning_rate": 0.1}, **settings))
        return nn.functional.cross_entropy(predict(method.network, first.images), first.labels).item()

    assert forgotten(name, **settings) < 0.7 * forgotten("sequential")


@pytest.mark.parametrize("strength", [0.0, 5.0])
def test_the_path_integral_shares_out_the_fall_of_the_loss(strength: float, make, stream) -> None:
    """sum_i w_i is the loss at the start less the loss at the end: of the loss alone, with a penalty in force or without."""
    method = make("sequential", model={"dropout": 0.0})
    data = Split(stream.tasks[0].train.images, stream.tasks[0].train.labels)
    whole = {"batch_size": len(data), "epochs": 400, "learning_rate": 0.01, "momentum": 0.0}
    network = method.network
    importance = {name: torch.ones_like(p) for name, p in network.named_parameters()}
    path = PathIntegral(network, QuadraticPenalty(network, importance, copied(network), strength, 0.01))
    trainer = Trainer(network, make("sequential", train=whole)._trainer.config, seed=0)
    before = nn.functional.cross_entropy(network(data.images), data.labels)
    trainer.fit(data, 0, extra=path)
    fall = (before - nn.functional.cross_entropy(network(data.images), data.labels)).item()
    assert fall > 0.01
    assert sum(gain.sum().item() for gain in path.gains.values()) == pytest.approx(fall, rel=0.02)


def test_si_weighs_gains_by_the_distance_moved(make, stream) -> None:
    """A damping that dwarfs every distance leaves Omega = w / damping: halve it, and Omega doubles."""
    omegas = []
    for damping in (1e6, 5e5):
        method = make("si", damping=damping, train={"epochs": 2})
        method.learn(stream.tasks[0])
        omegas.append(torch.cat([tensor.flatten() for tensor in part(method.state(), "importance.").values()]))
    torch.testing.assert_close(omegas[1], 2 * omegas[0])
    assert omegas[0].sum() > 0


def test_si_never_pushes_a_weight_away(make, stream) -> None:
    """Momentum from before drives the weights uphill: much of w is negative, Omega is not."""
    method = make("si", train={"epochs": 1, "keep_momentum": True, "momentum": 0.9, "learning_rate": 0.01})
    noise = torch.Generator().manual_seed(0)
    uphill = {f"momentum.{name}": torch.randn(p.shape, generator=noise) for name, p in method.network.named_parameters()}
    method.load_state(method.state() | uphill)
    method.learn(stream.tasks[0])
    importance = torch.cat([tensor.flatten() for tensor in part(method.state(), "importance.").values()])
    assert (importance >= 0).all()
    assert 0.1 < (importance == 0).double().mean() < 0.9


def test_the_step_of_the_penalty_is_that_of_the_task_with_its_momentum(make) -> None:
    config = make("ewc", train={"learning_rate": [0.2, 0.1], "momentum": 0.75})._context.train
    assert [step_size(config, task) for task in (0, 1)] == pytest.approx([0.8, 0.4])
