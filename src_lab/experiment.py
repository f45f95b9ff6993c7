"""One run: the task loop, from a checked configuration to the files in its folder."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from src_lab import networks
from src_lab.cache import Cache
from src_lab.checkpoint import Checkpoints
from src_lab.config import RunConfig, cache_of, device_of
from src_lab.data import Task, load_stream
from src_lab.evaluation import Accuracy, evaluate, overall
from src_lab.files import alone_at, remove_partial
from src_lab.fingerprint import fingerprint
from src_lab.inside.names import analysed
from src_lab.methods import METHODS, Context, Method
from src_lab.results import Clock, Log, Stage, discard, finished, kept_on_purpose, write_config, write_results, write_trace
from src_lab.runtime import prepare
from src_lab.settings import ConfigError
from src_lab.sleep import load_weights
from src_lab.sleeper import Phase, Sleeper
from src_lab.trace import SleepTrace

log = logging.getLogger(__name__)

FINISHED = "this run is finished already (force=true runs it again)"

AfterStage = Callable[[int, Callable[[], float]], None]
"""Called with the number of stages done and a function that measures the validation accuracy of the tasks met so far; may
raise to stop the run, which then stands as interrupted and can go on later."""


def ensure(config: RunConfig, folder: Path, after_stage: AfterStage | None = None) -> dict[str, Any]:
    """The metrics of the run that `folder` holds, or shall hold: run now unless finished, from where it was interrupted.

    Another process at the same run is waited for. Raises ConfigError when the folder holds another run, and what `run`
    raises.
    """
    done = _finished(config, folder)
    lock = folder / ".lock"
    ended = not lock.exists()  # a process that was killed leaves its lock, whatever it had still to do after its last word
    if done is not None and not config.force and analysed(folder) >= config.analyses and ended:
        log.info(FINISHED)
        return done
    folder.mkdir(parents=True, exist_ok=True)
    with alone_at(lock, f"another process is at this run, {folder}: waiting for it"):
        now = _finished(config, folder)
        if now is None or (config.force and now == done):  # else the other process has just finished it
            if now is not None:
                discard(folder)
                Checkpoints.clear(folder)
            now = run(config, folder, after_stage)[1]
        else:
            log.info(FINISHED)
            Checkpoints.clear(folder)
            remove_partial(folder)
        _look_inside(config, folder)
    return now


def _look_inside(config: RunConfig, folder: Path) -> None:
    """Make the analyses that are asked for and not there, and let go of networks that nobody asked to keep."""
    missing = config.analyses - analysed(folder)
    if missing:
        from src_lab.inside.write import look_inside  # drawing takes a second to import, which other runs need not wait for

        look_inside(config, folder, config.analyses | analysed(folder))
    if not (config.keep_networks or kept_on_purpose(folder)):
        networks.drop(folder)


def _finished(config: RunConfig, folder: Path) -> dict[str, Any] | None:
    done = finished(folder)
    if done is not None and done.get("run_id") != config.run_id and not config.force:
        raise ConfigError(
            f"hydra.run.dir={folder} holds another run, {done.get('run_id')}, not {config.run_id}: choose another folder, "
            "or force=true to replace it"
        )
    return done


@dataclass
class Progress:
    """What a run has found so far, beside its networks."""

    clock: Clock
    log: Log
    trace: SleepTrace
    cache: Cache | None
    validation: dict[str, float] = field(default_factory=dict)
    """Validation accuracy of the tasks met, by number of stages done, where someone asked."""

    def as_json(self) -> dict[str, Any]:
        found = {"rows": self.log.rows, "trace": self.trace.rows, "validation": self.validation}
        return found | self.costs()

    def costs(self) -> dict[str, Any]:
        """Seconds, and how many trainings the cache has spared."""
        return {"reused_trainings": self.cache.reused if self.cache else 0} | self.clock.totals()

    def has_validated(self, stage: int) -> bool:
        return str(stage + 1) in self.validation

    def restore(self, saved: dict[str, Any]) -> None:
        self.log.rows, self.trace.rows, self.validation = saved["rows"], saved["trace"], saved["validation"]
        self.clock.add(saved)
        if self.cache is not None:
            self.cache.reused = saved["reused_trainings"]


def run(config: RunConfig, folder: Path, after_stage: AfterStage | None = None) -> tuple[Log, dict[str, Any]]:
    """Train, evaluate, sleep, evaluate, for every stage of the method; write the results into `folder`.

    Goes on from the last checkpoint there. Returns the accuracies and the metrics. Raises ConfigError, DivergedError,
    NonFiniteError or OSError.
    """
    prepare(config.threads)
    clock = Clock()
    stream = load_stream(config.dataset, config.seed)
    device = device_of(config)
    cache = cache_of(config)
    context = Context(config.model, config.train, stream, config.seed, device, cache, config.sleep)
    method = METHODS[config.method.name](context, config.method)
    stages = method.stages()
    sleeper = Sleeper(config, stream, len(stages))
    now = Progress(clock, Log(config, method.label), SleepTrace(stream.tasks), cache)
    checkpoints = Checkpoints(folder, config.run_id, fingerprint(device))
    done = _resume(method, sleeper, now, checkpoints)
    remove_partial(folder)
    write_config(config, folder)

    keeps_networks = bool(config.analyses) or config.keep_networks
    if keeps_networks and not done:
        networks.keep(folder, 0, "initial", None, method)
    if not done and config.evaluate == "each_stage":
        _record(method, stream.tasks, None, now, "initial")
    for step, (stage, phase) in enumerate(sleeper.plan(), start=1):
        task = stages[stage]
        if phase == "train":
            sleeper.see(task)
        if step > done:
            slept = _advance(method, sleeper, now, config, stage, phase, task)
            if config.evaluate == "each_stage":
                _record(method, stream.tasks, task, now, phase, slept)
            if keeps_networks:
                networks.keep(folder, step, phase, task.index, method)
            checkpoints.save(step, method.state() | sleeper.state(), now.as_json())
        if after_stage is not None and sleeper.ends_stage(stage, phase) and (step >= done or now.has_validated(stage)):
            after_stage(stage + 1, partial(_validate, method, stages, stage, now))
    if config.evaluate == "each_stage":
        now.log.repeat_last_as("final")
    else:
        _record(method, stream.tasks, stages[-1], now, "final")
    with now.clock.phase("evaluate"):
        validation = overall(measure(method, stream.tasks, stages[-1], "validation"))
    if now.trace.rows:
        write_trace(now.trace.table(), folder)
    stored = asdict(method.stored() + sleeper.stored())
    extra = {"validation_accuracy": validation, "stage_validation": now.validation, "stored": stored}
    metrics = write_results(now.log, folder, now.costs() | extra)
    checkpoints.clear(folder)
    return now.log, metrics


def measure(method: Method, tasks: Sequence[Task], current: Task | None, split: str = "test") -> list[Accuracy]:
    """Accuracy of the method's network on every task, after learning `current` (None: nothing yet)."""
    adjust = None if current is None else method.adjust(current)
    return evaluate(method.classifier(method.network), [(getattr(task, split), task.classes) for task in tasks], adjust)


def _resume(method: Method, sleeper: Sleeper, now: Progress, checkpoints: Checkpoints) -> int:
    """Bring `method`, `sleeper` and `now` to where the newest checkpoint stands; returns the trainings and sleeps done."""
    found = checkpoints.latest()
    if found is None:
        return 0
    step, state, progress = found
    method.load_state(state)
    sleeper.load_state(state)
    now.restore(progress)
    log.info("going on after %d of the run's trainings and sleeps", step)
    return step


def _record(
    method: Method, tasks: Sequence[Task], current: Task | None, now: Progress, stage: Stage, steps: int | None = None
) -> None:
    """Measure the test accuracy on every task and note it."""
    with now.clock.phase("evaluate"):
        accuracies = measure(method, tasks, current)
    trained = None if current is None or stage == "final" else current.index
    now.log.add(stage, accuracies, trained, steps)


def _advance(
    method: Method, sleeper: Sleeper, now: Progress, config: RunConfig, stage: int, phase: Phase, task: Task
) -> int | None:
    """Train, or let the network sleep, watched when `sleep.record_every` says so; returns the steps slept, if any."""
    if phase == "train":
        with now.clock.phase("train"):
            sleeper.wake(method.network)
            method.learn(task)
        return None
    watch = None
    if config.sleep.record_every:
        watch = now.trace.watch(method.network, task.index, method.adjust(task), method.classifier)
    with now.clock.phase("sleep"):
        slept = sleeper.sleep(method.network, stage, watch)
    if config.sleep.keep_best and watch is not None and watch.best is not None:
        load_weights(method.network, watch.best.weights, watch.best.biases)
        sleeper.forget()
    return slept.steps


def _validate(method: Method, stages: Sequence[Task], stage: int, now: Progress) -> float:
    """Validation accuracy over the tasks met up to `stage`, measured unless it has been."""
    if not now.has_validated(stage):
        with now.clock.phase("evaluate"):
            met = measure(method, stages[: stage + 1], stages[stage], "validation")
        now.validation[str(stage + 1)] = overall(met)
    return now.validation[str(stage + 1)]
