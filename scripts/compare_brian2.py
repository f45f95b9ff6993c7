"""The sleep phase in Brian2 (C++ standalone), for comparing speed; needs Brian2 and a C++ compiler, not src_lab.

    python scripts/benchmark.py sleep --case a --export sleep.npz
    python scripts/compare_brian2.py sleep.npz [--steps N] [--float32]

The equations are those of src_lab/sleep/reference.py: layers are updated in order within a step, the rule runs over the
incoming synapses of the units that spiked. Prints one JSON object: CPU ms per step of the simulation alone, seconds of
compilation, peak memory, and whether all spike counts per step and layer are ours.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import brian2 as b2
import numpy as np

FACTORS = {"tadros": "2 * (1 - 1 / (1 + exp(-w / 0.001)))", "sigmoid": "1 / (1 + exp(-w))", "proportional": "w"}
STAGES = ("synapses", "update", "threshold", "count", "learn", "reset")
"""What a layer does in a step, in this order; each is a slot of Brian2's schedule, one per layer."""


def input_group(spikes: np.ndarray) -> b2.NeuronGroup:
    """Units that spike when `spikes` (T, n) says so; `fired` tells the rule who did."""
    drive = b2.TimedArray(spikes.astype(float), dt=b2.defaultclock.dt)
    group = b2.NeuronGroup(spikes.shape[1], "fired : 1", threshold="fired > 0", namespace={"drive": drive})
    group.run_regularly("fired = drive(t, i)", when="input")
    group.thresholder["spike"].when = "input_threshold"
    return group


def add_layer(
    index: int, source: b2.NeuronGroup, w: np.ndarray, numbers: dict[str, float], rule: str
) -> tuple[b2.NeuronGroup, b2.Synapses, b2.SpikeMonitor]:
    """A layer of units with its incoming synapses and its spike counter."""
    slots = {stage: f"{stage}_{index}" for stage in STAGES}
    layer = b2.NeuronGroup(
        len(w), "v : 1\nimpulse : 1\nfired : 1", threshold="v >= theta", reset="v = 0; fired = 1", namespace=numbers
    )
    layer.run_regularly("v = decay * v + alpha * impulse; impulse = 0; fired = 0", when=slots["update"])
    layer.thresholder["spike"].when = slots["threshold"]
    layer.resetter["spike"].when = slots["reset"]
    synapses = b2.Synapses(
        source,
        layer,
        "w : 1",
        on_pre="impulse_post += w",
        on_post=f"w += (fired_pre * inc - (1 - fired_pre) * dec) * ({FACTORS[rule]})",
        namespace=numbers,
    )
    # By postsynaptic unit: most of the work is the rule's, which then reads weights in order.
    post, pre = np.divmod(np.arange(w.size), w.shape[1])
    synapses.connect(i=pre, j=post)
    synapses.w = w.ravel()
    synapses.pre.when, synapses.post.when = slots["synapses"], slots["learn"]
    return layer, synapses, b2.SpikeMonitor(layer, when=slots["count"])


def build(data: np.lib.npyio.NpzFile, steps: int) -> list[b2.SpikeMonitor]:
    """Describe network and run to the device; returns the spike counter of each layer."""
    network = b2.Network()
    source = input_group(data["input_spikes"][:steps])
    network.add(source)
    monitors: list[b2.SpikeMonitor] = []
    for index, (alpha, beta) in enumerate(zip(data["alpha"], data["beta"], strict=True)):
        numbers = {name: float(data[name]) for name in ("inc", "dec", "decay")}
        numbers |= {"alpha": float(alpha), "theta": float(data["threshold"] * beta)}
        source, synapses, monitor = add_layer(index, source, data[f"w{index}"], numbers, str(data["rule"]))
        network.add(source, synapses, monitor)
        monitors.append(monitor)
    network.schedule = ["start", "input", "input_threshold"] + [
        f"{stage}_{index}" for index in range(len(monitors)) for stage in STAGES
    ] + ["groups", "thresholds", "synapses", "resets", "end"]  # fmt: skip
    network.run(steps * b2.defaultclock.dt)
    return monitors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", type=Path, help="what scripts/benchmark.py sleep --export wrote")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--float32", action="store_true", help="halves the memory; rounding may then part the spikes")
    arguments = parser.parse_args()
    data = np.load(arguments.workload)
    steps = arguments.steps or len(data["input_spikes"])
    if arguments.float32:
        b2.prefs.core.default_float_dtype = np.float32
    b2.prefs.codegen.cpp.headers += ["<sys/resource.h>", "<fstream>", "<ctime>"]
    b2.set_device("cpp_standalone", build_on_run=False)
    b2.device.insert_code("before_network_run", "const std::clock_t _before = std::clock();")
    b2.device.insert_code(
        "after_network_run",
        "const double _cpu = double(std::clock() - _before) / CLOCKS_PER_SEC; struct rusage _usage; "
        'getrusage(RUSAGE_SELF, &_usage); std::ofstream("usage.txt") << _cpu << " " << _usage.ru_maxrss;',
    )
    monitors = build(data, steps)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        b2.device.build(directory=folder, run=False)
        compiled = time.perf_counter()
        b2.device.run(folder, with_output=False, run_args=[])
        cpu_s, peak_kb = map(float, Path(folder, "usage.txt").read_text().split())
        counts = [np.bincount(np.rint(m.t / b2.defaultclock.dt).astype(int), minlength=steps) for m in monitors]
    same = np.array_equal(np.stack(counts, 1), data["spike_counts"][:steps])
    report = {
        "brian2": b2.__version__,
        "steps": steps,
        "cpu_ms_per_step": 1000 * cpu_s / steps,
        "compile_s": compiled - began,
        "peak_memory_mb": peak_kb * 1024 / 1e6,
        "spikes_per_step": np.stack(counts, 1).mean(axis=0).tolist(),
        "same_spike_counts": same,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
