"""Supervised training of one network on one set of images, by minibatch gradient descent with momentum."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from src_lab.cache import Cache
from src_lab.data import Split
from src_lab.fingerprint import fingerprint
from src_lab.rng import generator, seed_for
from src_lab.settings import NON_NEGATIVE, POSITIVE, ConfigError, Range, setting, typed
from src_lab.tensor_files import digest


class DivergedError(FloatingPointError):
    """Training reached a loss that is not finite."""


@dataclass(frozen=True)
class TrainConfig:
    """How each task is learned; the presets in `conf/train/` name their sources."""

    name: str = setting(example="python")
    learning_rate: float | list[float] = setting(within=POSITIVE, example="0.01")
    """One number, or one per task in the order they are learned."""
    momentum: float = setting(within=Range(0, 0.9999), example="0.5")
    batch_size: int = setting(within=Range(1), unit="images", example="100")
    epochs: int | list[int] = setting(within=NON_NEGATIVE, example="2")
    """One number, or one per task in the order they are learned."""
    loss: Literal["cross_entropy", "half_squared_error"] = setting()
    keep_momentum: bool = setting(source="MATLAB program: carried across tasks and sleep; Python program: a new optimizer")

    def check_tasks(self, tasks: int) -> None:
        """Raise ConfigError for a setting with one number per task that has more or fewer than `tasks`."""
        for key in PER_TASK:
            given = getattr(self, key)
            if isinstance(given, list) and len(given) != tasks:
                raise ConfigError(
                    f"train.{key}={typed(given)} has {len(given)} values but the stream has {tasks} tasks: give one "
                    f"number, or one per task, e.g. train.{key}={typed([given[0] if given else 1] * tasks)}"
                )

    def pace(self, task: int | None) -> "Pace":
        """How fast and how long task `task` of the stream is learned; None is all tasks at once.

        Raises ConfigError for None when a setting has one number per task.
        """
        chosen = {}
        for key in PER_TASK:
            given = getattr(self, key)
            if not isinstance(given, list):
                chosen[key] = given
            elif task is not None:
                chosen[key] = given[task]
            else:
                raise ConfigError(
                    f"train.{key}={typed(given)} has one number per task, but here the tasks are learned at once: give "
                    f"one number, e.g. train.{key}={given[0]}"
                )
        return Pace(**chosen)


@dataclass(frozen=True)
class Pace:
    """The settings of `TrainConfig` that may differ from task to task."""

    learning_rate: float
    epochs: int


PER_TASK = tuple(Pace.__dataclass_fields__)


def half_squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """L = 1/2 sum (y - target)^2 / batch with one-hot targets (MATLAB program)."""
    targets = nn.functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    return (outputs - targets).square().sum() / (2 * len(outputs))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": nn.functional.cross_entropy,
    "half_squared_error": half_squared_error,
}


class Extra:
    """What a method adds to plain training. A method overrides what it needs; the rest is plain."""

    def batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The images (n, features) and labels (n,) that the next step is taken on."""
        return images, labels

    def loss(self, plain: Tensor, images: Tensor, labels: Tensor, outputs: Tensor) -> Tensor:  # noqa: ARG002
        """What the step goes down on, a scalar; `plain` is the loss of `outputs` (n, classes) as `train.loss` says."""
        return plain

    def before_update(self) -> None:
        """Called when the gradients are there; may change them."""

    def after_update(self) -> None:
        """Called when the step is taken."""


PLAIN = Extra()


class Trainer:
    """Trains one network on one data set after another, as `config` says.

    `seed` fixes the order of the images and the dropout masks of every task, whatever else draws random numbers.
    `cache` spares training what was trained before, in this run or another.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, seed: int, cache: Cache | None = None) -> None:
        self.model = model
        self.config = config
        self._seed = seed
        self._cache = cache
        self._pace = config.pace(0)
        self._optimizer: torch.optim.SGD | None = None
        self._left: str | None = None

    def fit(self, data: Split, *purpose: str | int, extra: Extra = PLAIN) -> None:
        """Train for `config.epochs` epochs; `purpose` names the random stream, with the task's index unless it is all tasks.

        extra   what the method adds to plain training; such training is not kept in the cache, which cannot know it

        Raises DivergedError when the loss stops being finite.
        """
        self._pace = self.config.pace(next((part for part in purpose if isinstance(part, int)), None))
        if self._optimizer is None or not self.config.keep_momentum:
            self._optimizer = self._new_optimizer()
        for group in self._optimizer.param_groups:
            group["lr"] = self._pace.learning_rate
        if self._cache is None or extra is not PLAIN:
            return self._train(data, *purpose, extra=extra)
        found = digest(self.state())
        if self._left not in (None, found):
            # A network that something other than training has changed, a sleep say, is one of as many as there are
            # settings of that: keeping it would only push out what others can use.
            return self._train(data, *purpose)
        self.load_state(self._cache.get(self._key(found, data, *purpose), lambda: self._trained(data, *purpose)))
        self._left = digest(self.state())
        return None

    def state(self) -> dict[str, Tensor]:
        """The network and, where the next task goes on with it, the optimizer's momentum, by name."""
        return self.model.state_dict(prefix="network.") | self.momentum()

    def momentum(self) -> dict[str, Tensor]:
        """The momentum of each parameter that has one; none where every task starts with a new optimizer."""
        if self._optimizer is None or not self.config.keep_momentum:
            return {}
        state = self._optimizer.state
        buffers = {name: state[p].get("momentum_buffer") for name, p in self.model.named_parameters() if p in state}
        return {f"momentum.{name}": buffer for name, buffer in buffers.items() if buffer is not None}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(part(state, "network."))
        self._optimizer = self._new_optimizer()
        parameters = dict(self.model.named_parameters())
        for name, buffer in part(state, "momentum.").items():
            parameter = parameters[name]
            self._optimizer.state[parameter]["momentum_buffer"] = buffer.to(parameter.device, copy=True)

    def _key(self, found: str, data: Split, *purpose: str | int) -> str:
        """The name of what training will end in: a hash of all that it depends on."""
        streams = [seed_for(self._seed, stream, *purpose) for stream in ("order", "dropout")]
        device = next(self.model.parameters()).device
        settings = {key: value for key, value in (asdict(self.config) | asdict(self._pace)).items() if key != "name"}
        facts = [found, repr(self.model), settings, streams, fingerprint(device)]
        return digest({"images": data.images, "labels": data.labels}, *facts)

    def _trained(self, data: Split, *purpose: str | int) -> dict[str, Tensor]:
        self._train(data, *purpose)
        return self.state()

    def _train(self, data: Split, *purpose: str | int, extra: Extra = PLAIN) -> None:
        assert self._optimizer is not None
        device = next(self.model.parameters()).device
        images, labels = data.images.to(device), data.labels.to(device)
        order = generator(self._seed, "order", *purpose)
        self.model.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed_for(self._seed, "dropout", *purpose))
            for epoch in range(self._pace.epochs):
                shuffled = torch.randperm(len(images), generator=order).to(device)
                label = f"train {' '.join(map(str, purpose))} epoch {epoch + 1}/{self._pace.epochs}"
                for batch in tqdm(torch.split(shuffled, self.config.batch_size), label, leave=False, disable=None):
                    loss = self.step(images[batch], labels[batch], extra)
                if len(images) and not torch.isfinite(loss):
                    raise DivergedError(
                        f"the training loss is {loss.item()} after epoch {epoch + 1} with train.learning_rate="
                        f"{self._pace.learning_rate:g}: use a smaller one, e.g. train.learning_rate="
                        f"{self._pace.learning_rate / 10:g}"
                    )
        self.model.eval()

    def step(self, images: Tensor, labels: Tensor, extra: Extra = PLAIN) -> Tensor:
        """One gradient step on one minibatch; returns its loss."""
        if self._optimizer is None:
            self._optimizer = self._new_optimizer()
        self._optimizer.zero_grad()
        images, labels = extra.batch(images, labels)
        outputs = self.model(images)
        loss = extra.loss(LOSSES[self.config.loss](outputs, labels), images, labels, outputs)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        extra.before_update()
        self._optimizer.step()
        extra.after_update()
        return loss.detach()

    def _new_optimizer(self) -> torch.optim.SGD:
        # The fused update passes over the weights once where the default passes three times.
        return torch.optim.SGD(
            self.model.parameters(), lr=self._pace.learning_rate, momentum=self.config.momentum, fused=True
        )


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
