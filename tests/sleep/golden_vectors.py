"""Reads `tests/golden`: sleeps recorded from the two published programs, step by step.

`matlab_*` come from the MATLAB program of Tadros et al. 2022 run under Octave, `seed_small` from the Python program;
in both the random input was replaced by stored spikes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src_lab.sleep import SleepConfig
from src_lab.sleep.simulate import BACKENDS

FOLDER = Path(__file__).parents[1] / "golden"
CPU_BACKENDS = [name for name in BACKENDS if name != "triton"]
MATLAB_CASES = ("A", "B", "C", "P", "Q")
PYTHON_CASES = ("winh0", "winh05", "winh05_dc_thr", "winh02_decay09")
LAYERS = (1, 2, 3)


@dataclass(frozen=True)
class RecordedSleep:
    """One recorded sleep of a network of three layers of weights.

    spikes       of layers 1 .. 3, (T, n_l) bool
    potentials   just before the threshold test, (T, n_l), or empty where the program does not expose them
    checkpoints  weights by the number of steps done
    """

    config: SleepConfig
    alpha: list[float]
    beta: list[float]
    weights: list[Tensor]
    input_spikes: Tensor
    spikes: list[Tensor]
    potentials: list[Tensor]
    checkpoints: dict[int, list[Tensor]]


def load(name: str) -> dict[str, Any]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def recorded_sleeps() -> Iterator[tuple[str, RecordedSleep]]:
    """Every recorded sleep by name, except the one of exact ties."""
    small, single, python = load("matlab_small"), load("matlab_small_single"), load("seed_small")
    for case in MATLAB_CASES:
        yield f"matlab-{case}", _matlab(small, f"{case}_", torch.float64)
    yield "matlab-A-float32", _matlab(single, "", torch.float32)
    for case in PYTHON_CASES:
        yield f"python-{case}", _python(python, case, torch.float64)
        yield f"python-{case}-float32", _python(python, case, torch.float32)


def recorded_ties() -> RecordedSleep:
    """A sleep in multiples of 1/16 whose potentials often equal their threshold: every sum is exact in any order."""
    return _matlab(load("matlab_tie"), "", torch.float64)


def _matlab(arrays: dict[str, Any], prefix: str, dtype: torch.dtype) -> RecordedSleep:
    def get(name: str) -> Any:
        return arrays[prefix + name]

    return RecordedSleep(
        config=_config("tadros", get("inc"), get("dec"), get("decay"), get("threshold"), get("W_inh"), get("DC")),
        alpha=get("alpha").tolist(),
        beta=get("beta").tolist(),
        weights=[torch.tensor(get(f"W{k}_init"), dtype=dtype) for k in LAYERS],
        input_spikes=torch.tensor(get("spikes_L1")).bool(),
        spikes=[torch.tensor(get(f"spikes_L{k + 1}")).bool() for k in LAYERS],
        potentials=[torch.tensor(get(f"mem_pre_L{k + 1}"), dtype=dtype) for k in LAYERS],
        checkpoints={
            step: [torch.tensor(get(f"W{k}_t{step}"), dtype=dtype) for k in LAYERS]
            for step in get("checkpoints").astype(int).tolist()
        },
    )


def _python(arrays: dict[str, Any], case: str, dtype: torch.dtype) -> RecordedSleep:
    def get(name: str) -> Any:
        return arrays[f"{case}/{name}"]

    precision = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    has_potentials = dtype == torch.float64
    return RecordedSleep(
        config=_config("sigmoid", get("inc"), get("dec"), get("decay"), get("threshold"), get("W_inh"), get("DC")),
        alpha=get("alpha").tolist(),
        beta=get("beta").tolist(),
        weights=[torch.tensor(arrays[f"W_init_{k - 1}"], dtype=dtype) for k in LAYERS],
        input_spikes=torch.tensor(arrays["input_spikes"]).bool(),
        spikes=[torch.tensor(get(f"{precision}/spikes_{k}")).bool() for k in LAYERS],
        potentials=[torch.tensor(get(f"{precision}/v_before_reset_{k}")) for k in LAYERS if has_potentials],
        checkpoints={
            step: [torch.tensor(get(f"{precision}/W_{k - 1}_t{step}"), dtype=dtype) for k in LAYERS]
            for step in arrays["checkpoints"].tolist()
        },
    )


def _config(rule: Any, inc: Any, dec: Any, decay: Any, threshold: Any, inhibition: Any, dc: Any) -> SleepConfig:
    numbers = [float(x) for x in (inc, dec, decay, threshold, inhibition, dc)]
    return SleepConfig("golden", 0, 0, rule, *numbers)
