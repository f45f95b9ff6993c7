"""What one backend needs for one workload, measured in a process of its own."""

import ctypes
import gc
import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar, cast

import numpy as np
import torch

from src_lab.benchmark.workloads import Recipe, Workload, trained_network
from src_lab.config import RunConfig
from src_lab.runtime import prepare
from src_lab.sleep import SleepConfig, SleepResult
from src_lab.sleep.backend import Record
from src_lab.sleep.chain import find_layers
from src_lab.sleep.config import BackendName
from src_lab.sleep.simulate import start
from src_lab.sleeper import Sleeper

P = ParamSpec("P")
T = TypeVar("T")

COMPILED = ("numba", "triton")
PRELOADED = ["src_lab.benchmark.measure"]
"""What takes long to import in the processes of `isolated`: the server that they fork from imports it once."""
REFERENCE_VISITS = 1_000_000_000
"""Weights that `reference` may visit per run: its cost per step hardly varies, so few steps tell it."""


@dataclass(frozen=True)
class Speed:
    """What one backend needs for one workload; per step of all its networks together.

    ms_per_step, cpu_ms_per_step    median over the repeats of (a sleep less a sleep of no steps) / steps, so with every
                                    change of a weight however late it is made, and without copying weights in and out
    copy_cpu_ms                     that sleep of no steps: weights copied in and out
    memory_mb                       peak memory of one network asleep, less that before and less one copy of its weights:
                                    resident memory of a fresh process (CPU; None elsewhere than on Linux with glibc), or
                                    what PyTorch allocated (GPU)
    spikes_per_step                 of each layer, mean over steps and networks
    spikes, first_spikes            digests of who spiked when: in all steps, and in the first `compared` of them
    """

    backend: str
    steps: int
    compared: int
    ms_per_step: float
    cpu_ms_per_step: float
    copy_cpu_ms: float
    memory_mb: float | None
    spikes_per_step: list[float]
    spikes: str
    first_spikes: str


def device_of(backend: str) -> str:
    return "cuda" if backend == "triton" else "cpu"


def measure(recipe: Recipe, backend: str, repeats: int, keep_memory: bool = False) -> Speed:
    """Measure one backend on one workload. To be called in a fresh process (`isolated`), for the memory's sake.

    keep_memory  compute as run.py does, whose freed memory is used again at once (`src_lab.runtime`)
    """
    if keep_memory:
        prepare(threads=1)
    workload = recipe().to(device_of(backend))
    warm_up(backend, len(workload.alpha))
    visits = sum(w.numel() for network in workload.networks for w in network)
    everything = len(workload.input_spikes)
    compared = min(everything, max(2, REFERENCE_VISITS // visits))
    steps = compared if backend == "reference" else everything
    memory = _memory_mb(workload, backend, steps)
    trace = workload.run(backend, steps, ("spikes", "spike_counts"))
    copying = [timed(partial(workload.run, backend, 0)) for _ in range(repeats)]
    sleeping = [timed(partial(workload.run, backend, steps)) for _ in range(repeats)]
    (copy_wall, copy_cpu), (wall, cpu) = np.median(copying, axis=0), np.median(sleeping, axis=0)
    counts = torch.stack([result.spike_counts for result in trace if result.spike_counts is not None])
    return Speed(
        backend=backend,
        steps=steps,
        compared=compared,
        ms_per_step=float(1000 * (wall - copy_wall) / steps),
        cpu_ms_per_step=float(1000 * (cpu - copy_cpu) / steps),
        copy_cpu_ms=float(1000 * copy_cpu),
        memory_mb=memory,
        spikes_per_step=counts.double().mean(dim=(0, 1)).tolist(),
        spikes=_digest(trace, steps),
        first_spikes=_digest(trace, compared),
    )


def measure_whole_sleep(config: RunConfig, cache: Path, backend: str) -> tuple[float, float]:
    """Wall and CPU seconds of a run's first sleep, as the run does it: gains, stimulus, all steps, weights written."""
    network, stream = trained_network(config, cache)
    asked = replace(config, sleep=replace(config.sleep, backend=cast(BackendName, backend)))
    sleeper = Sleeper(asked, stream, len(stream.tasks))
    sleeper.see(stream.tasks[0])
    warm_up(backend, len(find_layers(network)))
    network.to(device_of(backend))
    return timed(lambda: sleeper.sleep(network, 0))


def first_use(backend: str) -> tuple[float, float]:
    """Wall and CPU seconds of the first sleep in this process, of a network too small to take time itself."""
    return timed(lambda: warm_up(backend, depth=3))


def warm_up(backend: str, depth: int) -> None:
    """Sleep two steps on a tiny network of `depth` layers: compiles what a large one needs."""
    tiny = torch.full((4, 4), 0.5, device=device_of(backend))
    ones = [1.0] * depth
    Workload([[tiny] * depth], torch.ones(2, 4, dtype=torch.bool), SleepConfig(), ones, ones).run(backend, 2)


def isolated(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """`function(...)` on one thread in a process that has done nothing but import this module."""
    return _in_process("forkserver", partial(function, *arguments, **named))


def first_uses(backend: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """`first_use` of a compiled backend in a new interpreter: with nothing compiled yet, then with its cache on disk."""
    with TemporaryDirectory() as folder, _environment(NUMBA_CACHE_DIR=folder, TRITON_CACHE_DIR=folder):
        return _in_process("spawn", partial(first_use, backend)), _in_process("spawn", partial(first_use, backend))


def _in_process(method: str, work: Callable[[], T]) -> T:
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(PRELOADED)  # no effect on "spawn"
    with ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.submit(work).result()


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of `work()`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _digest(trace: Sequence[SleepResult], steps: int) -> str:
    digest = hashlib.sha256()
    for result in trace:
        for spikes in result.spikes or ():
            digest.update(np.packbits(spikes[:steps].numpy()).tobytes())
    return digest.hexdigest()


def _memory_mb(workload: Workload, backend: str, steps: int) -> float | None:
    """Peak memory in MB that one network asleep takes beyond one copy of its weights; see `Speed.memory_mb`."""
    peak = _peak_on_gpu if device_of(backend) == "cuda" else _peak_resident
    trace = Record.empty(steps, workload.networks[0])
    before = peak(True)
    asleep = start(workload.networks[0], workload.config, workload.alpha, workload.beta, backend)
    asleep.advance(workload.input_spikes[:steps], trace)
    after = peak(False)
    return None if before is None or after is None else (after - before - workload.weight_bytes) / 1e6


def _peak_resident(reset: bool) -> int | None:
    """Bytes: the highest resident memory since the last reset (Linux: proc(5), VmHWM and clear_refs)."""
    try:
        if reset:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)  # or work would hide in memory that was freed but not given back
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except (OSError, AttributeError):
        return None
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def _peak_on_gpu(reset: bool) -> int:
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.max_memory_allocated())
