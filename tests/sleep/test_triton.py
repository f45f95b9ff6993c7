"""The triton backend: on the GPU where there is one, else in Triton's interpreter (slow, hence the small networks)."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from src_lab.settings import ConfigError
from src_lab.sleep import triton_kernel
from src_lab.sleep.backend import Backend, Biases, NonFiniteError, Parameters, Record
from src_lab.sleep.reference import Reference
from src_lab.sleep.triton_kernel import Triton, available

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
FLOATS = (torch.float32, torch.float64)
EVERYTHING = ("spikes", "potentials")
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # NumPy's, and meant: f saturates at 2
GOLDEN_NAMES = {
    "inc": "inc",
    "dec": "dec",
    "decay": "decay",
    "threshold": "threshold",
    "inhibition": "W_inh",
    "dc": "DC",
}


def parameters(layers: int, **changes: object) -> Parameters:
    settings = {
        "alpha": (1.5, 2.0, 2.5)[:layers],
        "beta": (1.0, 0.8, 0.6)[:layers],
        "rule": "sigmoid",
        "inc": 0.01,
        "dec": 0.004,
        "decay": 0.9,
        "threshold": 1.0,
        "inhibition": 0.0,
        "dc": 0.0,
    }
    return Parameters(**settings | changes)


def network(*widths: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pairs = zip(widths[1:], widths, strict=False)
    return [torch.randn(n, m, generator=generator, dtype=torch.float64).to(DEVICE, dtype) / m**0.5 for n, m in pairs]


def noise(steps: int, width: int, rate: float = 0.3) -> Tensor:
    return torch.rand(steps, width, generator=torch.Generator().manual_seed(1)) < rate


def asleep(
    backend: Callable[..., Backend], weights: list[Tensor], p: Parameters, inputs: Tensor, biases: Biases | None = None
) -> tuple[Backend, Record]:
    sleeper, record = backend(weights, p, biases), Record.empty(len(inputs), weights, EVERYTHING)
    sleeper.advance(inputs, record)
    return sleeper, record


def assert_same_sleep(weights: list[Tensor], p: Parameters, inputs: Tensor, biases: Biases | None = None) -> Record:
    """The same spikes as `reference`; potentials and weights to the rounding of the weights' dtype."""
    (fast, actual), (slow, expected) = (asleep(backend, weights, p, inputs, biases) for backend in (Triton, Reference))
    tight = {"rtol": 0, "atol": 1e-12 if weights[0].dtype == torch.float64 else 2e-6}
    for ours, theirs in zip(actual.spikes, expected.spikes, strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(actual.potentials, expected.potentials, strict=True):
        torch.testing.assert_close(ours, theirs, **tight)
    for ours, theirs in zip(fast.weights(), slow.weights(), strict=True):
        torch.testing.assert_close(ours, theirs, **tight)
    for ours, theirs in zip(fast.biases() or [], slow.biases() or [], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, **tight)
    assert torch.equal(actual.spike_counts, expected.spike_counts)
    torch.testing.assert_close(actual.peaks, expected.peaks, **tight)
    return actual


@pytest.mark.parametrize(
    ("file", "case", "rule", "steps"),
    [
        pytest.param("matlab_small", "A_", "tadros", 50, id="plain"),
        pytest.param("matlab_small", "Q_", "tadros", 20, id="inhibited"),
        pytest.param("matlab_tie", "", "tadros", 10, id="ties-at-the-threshold"),
    ],
)
def test_replays_the_matlab_program(file: str, case: str, rule: str, steps: int) -> None:
    golden = {key.removeprefix(case): value for key, value in np.load(GOLDEN / f"{file}.npz").items()}
    scalars = {ours: float(golden[theirs]) for ours, theirs in GOLDEN_NAMES.items()}
    p = Parameters(alpha=tuple(golden["alpha"]), beta=tuple(golden["beta"]), rule=rule, **scalars)
    weights = [torch.tensor(golden[f"W{i}_init"], device=DEVICE) for i in (1, 2, 3)]
    sleeper, record = asleep(Triton, weights, p, torch.tensor(golden["spikes_L1"][:steps]).bool())
    for layer, spikes in enumerate(record.spikes):
        assert np.array_equal(spikes.numpy(), golden[f"spikes_L{layer + 2}"][:steps])
    for layer, after in enumerate(sleeper.weights()):
        np.testing.assert_allclose(after.cpu(), golden[f"W{layer + 1}_t{steps}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rule", ["tadros", "sigmoid", "proportional"])
def test_rules_agree_with_the_reference(rule: str, dtype: torch.dtype) -> None:
    record = assert_same_sleep(network(12, 9, 5, dtype=dtype), parameters(2, rule=rule), noise(8, 12))
    assert (record.spike_counts.sum(0) > 0).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"inhibition": 0.4}, id="inhibition"),
        pytest.param({"dc": 0.3}, id="dc"),
        pytest.param({"decay": 0.0}, id="memoryless"),
        pytest.param({"inc": 0.0, "dec": 0.0}, id="no-plasticity"),
        pytest.param({"threshold": -1.0}, id="every-unit-spikes"),
        pytest.param({"threshold": 1e9}, id="no-unit-spikes"),
    ],
)
def test_settings_agree_with_the_reference(changes: dict[str, float], dtype: torch.dtype) -> None:
    assert_same_sleep(network(12, 9, 5, dtype=dtype), parameters(2, **changes), noise(3, 12))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rule", ["tadros", "sigmoid", "proportional"])
@pytest.mark.parametrize("inhibition", [0.0, 0.4])
def test_biases_agree_with_the_reference(inhibition: float, rule: str, dtype: torch.dtype) -> None:
    """The second layer has none, and the last is a whole segment and a part of one."""
    weights = network(12, 9, 5, 20, dtype=dtype)
    biases = [torch.linspace(-0.5, 0.02, len(w)).to(w) if layer != 1 else None for layer, w in enumerate(weights)]
    learning = {"bias_drive": (0.5, 0.4, 0.3), "bias_rate": (0.02, 0.01, -0.01)}
    p = parameters(3, rule=rule, inhibition=inhibition, **learning)
    record = assert_same_sleep(weights, p, noise(8, 12), biases)
    assert (record.spike_counts.sum(0) > 0).all()
    after = asleep(Triton, weights, p, noise(8, 12), biases)[0].biases()
    assert after is not None
    assert after[1] is None
    assert not torch.equal(after[0], biases[0])  # type: ignore[arg-type]
    assert not torch.equal(after[2], biases[2])  # type: ignore[arg-type]


def test_biases_of_zero_change_no_bit() -> None:
    weights, p = network(12, 9, 5), parameters(2, bias_drive=(1.5, 1.0), bias_rate=(0.0, 0.0))
    plain, expected = asleep(Triton, weights, p, noise(6, 12))
    zero, actual = asleep(Triton, weights, p, noise(6, 12), [w.new_zeros(len(w)) for w in weights])
    assert all(map(torch.equal, plain.weights(), zero.weights()))
    assert all(map(torch.equal, expected.potentials, actual.potentials))
    assert expected.spike_counts.any()


@pytest.mark.parametrize(
    ("widths", "rate"),
    [
        pytest.param((1, 1), 1.0, id="one-unit"),
        pytest.param((16, 32, 17), 0.5, id="whole-and-broken-segments"),
        pytest.param((300, 20), 1.0, id="more-spikes-than-are-summed-at-a-time"),
        pytest.param((8300, 3), 0.01, id="more-units-than-are-searched-or-changed-at-a-time"),
        pytest.param((12, 9), 0.0, id="no-input"),
    ],
)
def test_sizes_agree_with_the_reference(widths: tuple[int, ...], rate: float) -> None:
    p = parameters(len(widths) - 1, inhibition=0.1, threshold=0.05)
    record = assert_same_sleep(network(*widths), p, noise(3, widths[0], rate))
    assert (record.spike_counts.sum() > 0) == (rate > 0)


def test_chunks_and_calls_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernel, "CHUNK", 3)
    weights, p, inputs = network(12, 9, 5), parameters(2), noise(11, 12)
    whole, expected = asleep(Triton, weights, p, inputs)
    split, actual = Triton(weights, p), Record.empty(11, weights, EVERYTHING)
    for start, stop in ((0, 0), (0, 7), (7, 11)):
        split.advance(inputs[start:stop], actual.rows(start, stop))
    assert torch.equal(actual.spike_counts, expected.spike_counts)
    assert all(map(torch.equal, actual.potentials, expected.potentials))
    assert all(map(torch.equal, split.weights(), whole.weights()))
    assert_same_sleep(weights, p, inputs)


def test_weights_are_copies() -> None:
    given = [w.T for w in reversed(network(5, 9, 12))]  # not contiguous, (9, 12) and (5, 9)
    before = [w.clone() for w in given]
    sleeper, record = asleep(Triton, given, parameters(2), noise(4, 12))
    assert record.spike_counts.sum() > 0
    assert all(map(torch.equal, given, before))
    sleeper.weights()[0].zero_()
    assert not torch.equal(sleeper.weights()[0], torch.zeros_like(given[0]))
    assert_same_sleep(given, parameters(2), noise(4, 12))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_divergence_names_the_first_layer_and_step(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernel, "CHUNK", 2)
    weights, inputs, p = network(12, 9, 5), torch.ones(6, 12, dtype=torch.bool), parameters(2)
    inputs[:2] = False
    weights[0][4] = 1.0  # so that unit 4 spikes at step 2, the first of a chunk, and not before
    weights[1][2, 4] = bad
    with pytest.raises(NonFiniteError) as expected:
        asleep(Reference, weights, p, inputs)
    with pytest.raises(NonFiniteError) as actual:
        asleep(Triton, weights, p, inputs)
    assert (actual.value.layer, actual.value.step) == (expected.value.layer, expected.value.step) == (1, 2)


def test_without_gpu_or_interpreter_the_error_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match=r"sleep.backend=triton needs .* GPU .* type sleep.backend=numba") as error:
        Triton([torch.zeros(2, 3)], parameters(1))
    assert "\n" not in str(error.value)
    assert available() == torch.cuda.is_available()


def test_importing_the_backend_does_not_import_triton() -> None:
    code = "import sys, src_lab.sleep.triton_kernel, src_lab.sleep.batch; sys.exit('triton' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_kernels_compile_without_spills_and_round_every_operation(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "compile_kernels.py", "--out", tmp_path]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    table = pd.read_csv(tmp_path / "resources.csv")
    assert len(table) == len(table.groupby(["arch", "dtype", "rule"])) == 3 * 2 * 3
    assert (table.spilled_bytes == 0).all()
    assert table.registers.between(1, triton_kernel.LAUNCH["maxnreg"]).all()
    for listing in tmp_path.glob("*float32*.ptx"):
        code = listing.read_text()
        assert not any(fused in code for fused in ("fma.", "div.full", "div.approx"))
    assert len(list(tmp_path.glob("*.sass"))) == 2 * 3
