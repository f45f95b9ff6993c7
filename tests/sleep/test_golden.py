"""Every backend against the sleeps, masks, spikes, factors and training steps recorded from the published programs."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src_lab.models import ModelConfig, UnscaledDropout, build_model
from src_lab.sleep import SleepConfig, SleepResult, network, simulate, sleep
from src_lab.sleep.backend import Record
from src_lab.sleep.rules import RULES
from src_lab.sleep.simulate import begin, start
from src_lab.sleep.stimulus import spikes_from_uniform, window_masks
from src_lab.training import TrainConfig, Trainer
from tests.sleep.golden_vectors import (
    CPU_BACKENDS,
    LAYERS,
    RecordedSleep,
    load,
    recorded_sleeps,
    recorded_ties,
)

SLEEPS = dict(recorded_sleeps())
WEIGHT_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
POTENTIAL_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
PAPER_MODEL = ModelConfig(
    name="paper",
    widths=[9, 7],
    bias=False,
    dropout=0.25,
    dropout_scaling="test",
    output="relu",
    init_range=0.01,
    rank=None,
)
PAPER_TRAINING = TrainConfig(
    name="paper",
    learning_rate=0.1,
    momentum=0.5,
    batch_size=20,
    epochs=1,
    loss="half_squared_error",
    keep_momentum=True,
)


def tensors(name: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {key: torch.tensor(value, dtype=dtype) for key, value in load(name).items()}


def close(actual: Tensor, expected: Tensor, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


def paper_network(weights: list[Tensor], dropout: float) -> nn.Sequential:
    """A network of the paper's kind with the given weights, in their dtype."""
    model = build_model(ModelConfig(**{**vars(PAPER_MODEL), "dropout": dropout}), 12, 4, seed=0).to(weights[0].dtype)
    network.load_weights(model, weights)
    return model


@pytest.mark.parametrize("biased", [False, True], ids=["", "zero-biases"])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("name", SLEEPS)
class TestRecordedSleeps:
    """Also with biases, which the programs do not have, of zero: they change nothing."""

    def test_spikes_and_potentials_at_every_step(self, name: str, backend: str, biased: bool) -> None:
        recorded = SLEEPS[name]
        result = slept(recorded, backend, record=("spikes", "potentials"), **zero_biases(recorded, biased))
        assert result.spikes is not None
        assert result.potentials is not None
        for layer in range(3):
            assert torch.equal(result.spikes[layer], recorded.spikes[layer])
            assert result.potentials[layer].dtype == recorded.weights[0].dtype
        tolerance = POTENTIAL_TOLERANCE[recorded.weights[0].dtype]
        for mine, theirs in zip(result.potentials, recorded.potentials, strict=False):
            close(mine, theirs, rtol=tolerance, atol=tolerance)

    def test_weights_at_every_checkpoint(self, name: str, backend: str, biased: bool) -> None:
        """Slept in blocks that end at the checkpoints; the first block of each case is a single step."""
        recorded = SLEEPS[name]
        tolerance = WEIGHT_TOLERANCE[recorded.weights[0].dtype]
        for step, weights in slept_to_checkpoints(recorded, backend, biased):
            for mine, theirs in zip(weights, recorded.checkpoints[step], strict=True):
                close(mine, theirs, atol=tolerance)

    def test_weights_after_the_whole_sleep_in_one_block(self, name: str, backend: str, biased: bool) -> None:
        recorded = SLEEPS[name]
        result = slept(recorded, backend, **zero_biases(recorded, biased))
        for mine, theirs in zip(result.weights, recorded.checkpoints[len(recorded.input_spikes)], strict=True):
            close(mine, theirs, atol=WEIGHT_TOLERANCE[mine.dtype])


def zero_biases(recorded: RecordedSleep, biased: bool) -> dict[str, Any]:
    return {"biases": [w.new_zeros(len(w)) for w in recorded.weights], "unit_rates": [0.5] * 3} if biased else {}


def slept(recorded: RecordedSleep, backend: str, **options: Any) -> SleepResult:
    gains = {"alpha": recorded.alpha, "beta": recorded.beta}
    return simulate(recorded.weights, recorded.input_spikes, recorded.config, **gains, backend=backend, **options)


def slept_to_checkpoints(recorded: RecordedSleep, backend: str, biased: bool = False) -> list[tuple[int, list[Tensor]]]:
    gains = (recorded.alpha, recorded.beta)
    asleep = start(recorded.weights, recorded.config, *gains, backend, **zero_biases(recorded, biased))
    reached = []
    for first, end in pairwise([0, *recorded.checkpoints]):
        asleep.advance(recorded.input_spikes[first:end], Record.empty(end - first, recorded.weights))
        reached.append((end, asleep.weights()))
    return reached


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_potentials_equal_to_the_threshold_spike(backend: str, dtype: torch.dtype) -> None:
    """72 potentials of this sleep equal their threshold, and all its numbers are multiples of 1/16 in either dtype."""
    recorded = recorded_ties()
    cast = RecordedSleep(**{**vars(recorded), "weights": [w.to(dtype) for w in recorded.weights]})
    result = slept(cast, backend, record=("spikes", "potentials"))
    assert result.spikes is not None
    assert result.potentials is not None
    ties = [int((v == beta).sum()) for v, beta in zip(recorded.potentials, recorded.beta, strict=True)]
    assert ties == [23, 25, 24]
    for layer in range(3):
        assert torch.equal(result.spikes[layer], recorded.spikes[layer])
        assert torch.equal(result.potentials[layer].double(), recorded.potentials[layer])
    for step, reached in slept_to_checkpoints(cast, backend):
        for mine, theirs in zip(reached, recorded.checkpoints[step], strict=True):
            assert torch.equal(mine.double(), theirs)


@pytest.mark.parametrize(("weight", "factor", "tolerance"), [("w", "factor", 1e-15), ("w_single", "factor_single", 1.2e-7)])
class TestTadrosFactor:
    def test_of_the_rule_itself(self, weight: str, factor: str, tolerance: float) -> None:
        arrays = load("matlab_sigmoid")
        close(RULES["tadros"](torch.tensor(arrays[weight])), torch.tensor(arrays[factor]), atol=tolerance)

    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_of_one_learning_step_on_every_backend(self, weight: str, factor: str, tolerance: float, backend: str) -> None:
        """Every unit spikes; of its two equal weights the first grows by f(w), the second shrinks by f(w) / 2."""
        arrays = load("matlab_sigmoid")
        w, f = torch.tensor(arrays[weight]), torch.tensor(arrays[factor])
        config = SleepConfig(rule="tadros", inc=1.0, dec=0.5, threshold=-1e6)
        stimulus = torch.tensor([[True, False]])
        pairs = [torch.stack([w, w], dim=1)]
        result = simulate(pairs, stimulus, config, alpha=[1.0], beta=[1.0], backend=backend)
        grown, shrunk = result.weights[0].unbind(dim=1)
        close(grown, w + f, atol=4 * tolerance)
        close(shrunk, w - f / 2, atol=4 * tolerance)


@pytest.mark.parametrize("weight", ["w", "w_single"])
def test_positive_weights_are_frozen_and_negative_ones_move_at_the_full_rate(weight: str) -> None:
    w = torch.tensor(load("matlab_sigmoid")[weight])
    frozen, free = w > 0.0375, w < -0.0375
    assert frozen.any()
    assert free.any()
    assert torch.all(RULES["tadros"](w[frozen]) == 0)
    assert torch.all(RULES["tadros"](w[free]) == 2)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_sigmoid_factor_far_from_zero(backend: str) -> None:
    """1 / (1 + exp(-w)) where it is nearly 0 and nearly 1, against the same in Python's own floats."""
    w = torch.tensor([-700.0, -40.0, -1.5, -1.0, -0.25, 0.0, 0.25, 1.0, 1.5, 40.0, 700.0], dtype=torch.float64)
    expected = w + 1 / (1 + (-w).exp())
    config = SleepConfig(rule="sigmoid", inc=1.0, dec=0.0, threshold=-1e6)
    result = simulate([w[:, None]], torch.ones(1, 1), config, alpha=[1.0], beta=[1.0], backend=backend)
    close(result.weights[0][:, 0], expected, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    ("weights", "dropout", "expected"),
    [("W", 0.0, "factor_log_nodrop"), ("W", 0.25, "factor_log_drop25"), ("V", 0.0, "V_factor_log")],
)
def test_normalisation_factors_become_the_gains_of_a_real_network(
    weights: str, dropout: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is in training mode when it falls asleep; the factors are those of testing."""
    arrays = tensors("matlab_normalize")
    model = paper_network([arrays[f"{weights}{k}"] for k in LAYERS], dropout).train()
    gains: list[float] = []

    def spy(*args: object, **options: object) -> object:
        gains.extend(args[1].alpha)  # type: ignore[attr-defined]
        return begin(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "begin", spy)
    config = SleepConfig(iterations=1, scaling="data", alpha_scale=[2.0, 3.0, 4.0], beta=[1.0, 1.0, 1.0])
    sleep(model, arrays["x"], config, generator=torch.Generator().manual_seed(0))
    close(torch.tensor(gains, dtype=torch.float64), arrays[expected] * torch.tensor([2.0, 3.0, 4.0]), rtol=1e-12)


def test_window_masks() -> None:
    """The program's pixels run down the columns: its x is our row, and its positions count from 1."""
    arrays = tensors("matlab_masked")
    transposed = arrays["X"].mean(dim=0).view(28, 28).T
    masks = window_masks(arrays["x_pos"].long() - 1, arrays["y_pos"].long() - 1, 11, (28, 28))
    mine = transposed.flatten() * masks
    theirs = arrays["sleep_x"].view(-1, 28, 28).transpose(1, 2).flatten(1)
    assert torch.equal(mine != 0, theirs != 0)
    close(mine, theirs, atol=1e-15)


def test_input_spikes_of_the_matlab_program() -> None:
    arrays = tensors("matlab_inputspikes")
    config = SleepConfig(max_rate_hz=arrays["max_rate"].item(), dt_s=arrays["dt"].item())
    assert torch.equal(spikes_from_uniform(arrays["U"], arrays["sleep_x"], config), arrays["spikes"].bool())


def test_input_spikes_of_the_python_program() -> None:
    arrays = load("seed_small")
    u, x, spikes = (torch.tensor(arrays[f"enc/{name}"]) for name in ("U", "sleep_input", "spikes"))
    assert torch.equal(spikes_from_uniform(u, x, SleepConfig(max_rate_hz=239.515363)), spikes.bool())


@pytest.mark.parametrize(("file", "dropout"), [("matlab_train_nodrop", 0.0), ("matlab_train_drop25", 0.25)])
def test_the_papers_training_steps(file: str, dropout: float) -> None:
    """Eight minibatches with the recorded dropout masks: gradients, momenta, weights, losses, and the final output."""
    arrays = tensors(file, torch.float32)
    model = paper_network([arrays[f"W{k}_init"] for k in LAYERS], dropout).train()
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    dropouts = [layer for layer in model if isinstance(layer, UnscaledDropout)]
    assert len(dropouts) == (2 if dropout else 0)
    trainer = Trainer(model, PAPER_TRAINING, seed=0)
    labels = arrays["Y"].argmax(dim=1)
    for s in range(1, 9):
        for hidden, layer in enumerate(dropouts, start=2):
            layer.mask = lambda x, mask=arrays[f"mask{hidden}_s{s}"]: mask.expand_as(x)  # type: ignore[method-assign]
        batch = slice((s - 1) * 20, s * 20)
        loss = trainer.step(arrays["X"][batch], labels[batch])
        close(loss, arrays["L"][s - 1], rtol=1e-6)
        momenta = trainer._optimizer.state if trainer._optimizer else {}
        for k, linear in zip(LAYERS, linears, strict=True):
            assert linear.weight.grad is not None
            close(linear.weight.grad, arrays[f"dW{k}_s{s}"], atol=1e-6)
            close(0.1 * momenta[linear.weight]["momentum_buffer"], arrays[f"vW{k}_s{s}"], atol=1e-6)
            close(linear.weight.detach(), arrays[f"W{k}_s{s}"], atol=1e-6)
    with torch.no_grad():
        close(model.eval()(arrays["X"]), arrays["test_out"], atol=1e-6)
