"""Measure the speed of the lab, on one thread.

    python scripts/benchmark.py sleep [--case a b c d] [--backends reference,event,numba] [--json FILE] [--plot FILE.png]

(a) 784-4000-4000-10 after task 0 of MNIST with its own stimulus, default preset; (b) 784-1200-1200-10 likewise, the
paper's preset with all its 15,000 steps; (c) two hidden layers of growing width at equal spike counts; (d) batches of
networks. Every line of a table is measured in a process of its own. A step's time is the median of some sleeps, less
the copying of weights in and out, by the number of steps; `reference` sleeps only so many first steps, and its spikes in
them are compared with those of the others. Exit status 1 when any spikes differ.
"""

import argparse
import datetime
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from src_lab.benchmark.measure import COMPILED, device_of, first_uses, isolated, measure, measure_whole_sleep
from src_lab.benchmark.workloads import Recipe, synthetic_workload, trained_workload
from src_lab.config import RunConfig, parse, register_resolvers
from src_lab.files import replacing, write_atomically
from src_lab.settings import ConfigError
from src_lab.sleep.simulate import BACKENDS

CONF = Path(__file__).resolve().parent.parent / "conf"
CASES = "abcd"


@dataclass(frozen=True)
class Sizes:
    """Steps by case; overrides of the configuration in (a) and (b); what (c) and (d) vary."""

    steps: dict[str, int] = field(default_factory=lambda: {"a": 500, "b": 15000, "c": 500, "d": 200})
    overrides: tuple[str, ...] = ()
    widths: tuple[int, ...] = (500, 1000, 2000, 4000, 8000, 16000)
    spikes: int = 40
    batches: tuple[int, ...] = (1, 8, 32)
    batch_width: int = 1000


QUICK = Sizes(
    steps=dict.fromkeys(CASES, 400),
    overrides=("dataset=digits", "model.widths=[60,60]", "sleep.stimulus.window=4"),
    widths=(50, 100),
    spikes=5,
    batches=(1, 2),
    batch_width=50,
)


@dataclass(frozen=True)
class Case:
    """One table: its title, what tells its workloads apart and how to make them, and the run that (a) and (b) sleep in."""

    title: str
    workloads: list[tuple[dict[str, int], Recipe]]
    run: RunConfig | None = None


def make_case(name: str, sizes: Sizes, steps: int, cache: Path) -> Case:
    if name in ("a", "b"):
        preset = ["experiment=tadros_mnist"] if name == "b" else []
        config = compose_run("method=src", "device=cpu", *preset, *sizes.overrides, f"sleep.iterations={steps}")
        return Case(
            f"hidden layers {config.model.widths} after task 0 of {config.dataset.name}, sleep={config.sleep.name}",
            [({}, partial(trained_workload, config, cache, steps))],
            config,
        )
    make = partial(synthetic_workload, spikes=sizes.spikes, steps=steps)
    if name == "c":
        workloads = [({"width": width}, partial(make, width=width, networks=1)) for width in sizes.widths]
        return Case(f"784-width-width-10, about {sizes.spikes} spikes per hidden layer and step at every width", workloads)
    workloads = [({"networks": count}, partial(make, width=sizes.batch_width, networks=count)) for count in sizes.batches]
    return Case(f"batches of 784-{sizes.batch_width}-{sizes.batch_width}-10, a step is one of all networks", workloads)


def compose_run(*overrides: str) -> RunConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF)):
        return parse(compose("config", overrides=list(overrides)))


def measure_case(case: Case, backends: Sequence[str], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from src_lab.benchmark.report import compare

    for label, recipe in case.workloads:
        speeds = [isolated(measure, recipe, name, arguments.repeats, arguments.keep_memory) for name in backends]
        for row in compare(speeds):
            yield label | row | (whole_sleep(case.run, arguments.cache, row["backend"]) if case.run else {})


def whole_sleep(config: RunConfig, cache: Path, backend: str) -> dict[str, float | None]:
    """Seconds of `sleep` on the network, stimulus included; not for `reference`, with which it takes minutes."""
    seconds = (None, None) if backend == "reference" else isolated(measure_whole_sleep, config, cache, backend)
    return dict(zip(("whole_sleep_s", "whole_sleep_cpu_s"), seconds, strict=True))


def export(path: Path, recipe: Recipe) -> None:
    """Write a workload for another simulator to repeat: weights w0, w1, .., input spikes, settings, our spike counts."""
    workload = recipe()
    [ours] = workload.run("auto", len(workload.input_spikes), ["spike_counts"])
    assert ours.spike_counts is not None
    settings = {name: getattr(workload.config, name) for name in ("inc", "dec", "decay", "threshold", "rule")}
    weights = {f"w{index}": w.numpy() for index, w in enumerate(workload.networks[0])}
    with replacing(path) as partial_file, partial_file.open("wb") as stream:
        np.savez(
            stream,
            input_spikes=workload.input_spikes.numpy(),
            spike_counts=ours.spike_counts.numpy(),
            alpha=np.array(workload.alpha),
            beta=np.array(workload.beta),
            **settings,
            **weights,
        )


def benchmark_sleep(arguments: argparse.Namespace) -> bool:
    """Measure, print and write what the command line asks for; returns whether all backends spiked alike."""
    # Not above: every process that measures imports this file, and would draw in pandas and seaborn.
    from src_lab.benchmark.report import all_equal, machine, readable, time_against_width
    from src_lab.tables import to_markdown

    sizes: Sizes = QUICK if arguments.quick else Sizes()
    here = [name for name in arguments.backends if device_of(name) == "cpu" or torch.cuda.is_available()]
    missing = [name for name in arguments.backends if name not in here]
    about = {
        "date": datetime.date.today().isoformat(),
        "threads": torch.get_num_threads(),
        "repeats": arguments.repeats,
        "keep_memory": arguments.keep_memory,
        "not_here": missing,
        "machine": machine(),
    }
    print(json.dumps(about, indent=2))
    uses = {name: first_use_seconds(name) for name in here if name in COMPILED}
    tables: dict[str, Any] = {}
    for name in arguments.case:
        case = make_case(name, sizes, arguments.steps or sizes.steps[name], arguments.cache)
        rows = list(measure_case(case, here, arguments))
        tables[name] = {"title": case.title, "rows": rows}
        print(f"\n({name}) {case.title}\n\n{to_markdown(readable(rows))}", flush=True)
        if name == "a" and arguments.export is not None:
            export(arguments.export, case.workloads[0][1])
    if arguments.json is not None:
        report = about | {"first_use": uses, "cases": tables}
        write_atomically(arguments.json, json.dumps(report, indent=2, allow_nan=False) + "\n")
    if arguments.plot is not None:
        with replacing(arguments.plot) as partial_file:
            time_against_width(tables["c"]["rows"]).savefig(partial_file, format="png", dpi=150)
    return all(all_equal(table["rows"]) for table in tables.values())


def first_use_seconds(backend: str) -> dict[str, float]:
    """What compiling costs: seconds of a first sleep without and with a cache of compiled code on disk."""
    (wall, cpu), (cached_wall, cached_cpu) = first_uses(backend)
    print(
        f"\n{backend}: the first sleep takes {cpu:.1f} s of CPU to compile, {cached_cpu:.2f} s once that is on disk",
        flush=True,
    )
    return {"compile_s": wall, "compile_cpu_s": cpu, "from_cache_s": cached_wall, "from_cache_cpu_s": cached_cpu}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sleep = parser.add_subparsers(required=True).add_parser("sleep", help="the sleep phase, backend by backend")
    sleep.set_defaults(measure=benchmark_sleep)
    sleep.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), help="which cases (default: all)")
    sleep.add_argument("--backends", type=backend_names, default=list(BACKENDS), metavar="NAMES", help="comma-separated")
    sleep.add_argument("--steps", type=whole_number, help="steps of every case instead of its own")
    sleep.add_argument("--repeats", type=whole_number, default=3, help="sleeps of which a figure is the median (default: 3)")
    sleep.add_argument("--cache", type=Path, default=Path("outputs/benchmark"), metavar="DIR", help="trained networks")
    sleep.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    sleep.add_argument("--plot", type=Path, metavar="FILE.png", help="draw case c")
    sleep.add_argument("--export", type=Path, metavar="FILE.npz", help="write the workload of case a for another simulator")
    sleep.add_argument("--keep-memory", action="store_true", help="use freed memory again at once, as run.py does")
    sleep.add_argument("--quick", action="store_true", help="tiny networks: does the benchmark work?")
    arguments = parser.parse_args()
    refusal = refuse(arguments)
    if refusal is not None:
        parser.error(refusal)
    return arguments


def refuse(arguments: argparse.Namespace) -> str | None:
    """Why a file asked for could not be written after all the measuring, if so."""
    for option, case in (("plot", "c"), ("export", "a"), ("json", None)):
        path = getattr(arguments, option)
        if path is not None and case not in (None, *arguments.case):
            return f"--{option} needs case {case}: add it, --case {' '.join([*arguments.case, str(case)])}"
        if path is not None and not path.parent.is_dir():
            return f"--{option} {path}: there is no folder {path.parent}: make it, or name another"
    return None


def backend_names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in BACKENDS:
            raise argparse.ArgumentTypeError(f"{name} is not a backend: allowed are {', '.join(BACKENDS)}")
    return names


def whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number >= 1")
    return int(text)


def main() -> int:
    """Exit status: 0, 1 when spikes differ, 2 for what cannot be done."""
    arguments = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    torch.set_num_threads(1)
    try:
        alike: bool = arguments.measure(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename} cannot be used: {error.strerror}; name another file or folder", file=sys.stderr)
        return 2
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
