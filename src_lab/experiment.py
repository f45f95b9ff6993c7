"""One run: the task loop, from a checked configuration to the files in its folder."""

from pathlib import Path
from typing import Any

from src_lab.config import RunConfig, device_of
from src_lab.data import Task, load_stream
from src_lab.evaluation import Accuracy, evaluate, overall
from src_lab.methods import METHODS, Context, Method
from src_lab.results import Clock, Log, write_config, write_results, write_trace
from src_lab.runtime import prepare
from src_lab.sleep import load_weights
from src_lab.sleeper import Sleeper
from src_lab.trace import SleepTrace


def run(config: RunConfig, folder: Path) -> tuple[Log, dict[str, Any]]:
    """Train, evaluate, sleep, evaluate, for every stage of the method; write the results into `folder`.

    Returns the accuracies and the metrics. Raises ConfigError, DivergedError, NonFiniteError or OSError.
    """
    prepare(config.threads)
    clock = Clock()
    stream = load_stream(config.dataset, config.seed)
    context = Context(config.model, config.train, stream, config.seed, device_of(config))
    method = METHODS[config.method.name](context, config.method)
    stages = method.stages()
    sleeper = Sleeper(config, stream, len(stages))
    write_config(config, folder)

    log = Log(config, method.label)
    trace = SleepTrace(stream.tasks)
    with clock.phase("evaluate"):
        log.add("initial", measure(method, stream.tasks, None))
    for stage, task in enumerate(stages):
        with clock.phase("train"):
            method.learn(task)
        with clock.phase("evaluate"):
            log.add("train", measure(method, stream.tasks, task), task.index)
        sleeper.see(task)
        if sleeper.due(stage):
            steps = _sleep(method, sleeper, trace, config, stage, task, clock)
            with clock.phase("evaluate"):
                log.add("sleep", measure(method, stream.tasks, task), task.index, steps)
    log.repeat_last_as("final")
    with clock.phase("evaluate"):
        validation = measure(method, stream.tasks, stages[-1], "validation")
    if trace.rows:
        write_trace(trace.table(), folder)
    return log, write_results(log, folder, clock.totals() | {"validation_accuracy": overall(validation)})


def measure(method: Method, tasks: tuple[Task, ...], current: Task | None, split: str = "test") -> list[Accuracy]:
    """Accuracy of the method's network on every task, after learning `current` (None: nothing yet)."""
    adjust = None if current is None else method.adjust(current)
    return evaluate(method.network, [(getattr(task, split), task.classes) for task in tasks], adjust)


def _sleep(
    method: Method, sleeper: Sleeper, trace: SleepTrace, config: RunConfig, stage: int, task: Task, clock: Clock
) -> int:
    """Let the method's network sleep, watched when `sleep.record_every` says so; returns the steps slept."""
    watch = trace.watch(method.network, task.index, method.adjust(task)) if config.sleep.record_every else None
    with clock.phase("sleep"):
        slept = sleeper.sleep(method.network, stage, watch)
    if config.sleep.keep_best and watch is not None and watch.best_weights is not None:
        load_weights(method.network, watch.best_weights)
    return slept.steps
