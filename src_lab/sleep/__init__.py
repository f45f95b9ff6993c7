"""Sleep Replay Consolidation: spiking activity driven by noise shaped like the inputs, and a local Hebbian rule."""

from src_lab.sleep.backend import NonFiniteError
from src_lab.sleep.batch import simulate_batch
from src_lab.sleep.config import SleepConfig, StimulusConfig
from src_lab.sleep.network import SleepState, load_weights, restore_levelled, sleep
from src_lab.sleep.simulate import SleepResult, simulate
from src_lab.sleep.summary import Summary

__all__ = [
    "NonFiniteError",
    "SleepConfig",
    "SleepResult",
    "SleepState",
    "StimulusConfig",
    "Summary",
    "load_weights",
    "restore_levelled",
    "simulate",
    "simulate_batch",
    "sleep",
]
