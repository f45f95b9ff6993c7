"""Deep generative replay: old images are dreamt up by a generative model (Shin et al. 2017)."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig, Stored
from src_lab.methods.memory.vae import VariationalAutoencoder
from src_lab.methods.sequential import Sequential
from src_lab.rng import generator
from src_lab.settings import POSITIVE, Range, setting
from src_lab.training import LOSSES, PLAIN, DivergedError, Extra, part


@dataclass(frozen=True)
class GenerativeReplayConfig(MethodConfig):
    generator_hidden: int = setting(400, within=Range(1), unit="units")
    """Width of the two hidden layers of the generator's encoder and of its decoder."""
    generator_latent: int = setting(100, within=Range(1), unit="dimensions")
    generator_steps: int = setting(1000, within=Range(1), unit="minibatches")
    """How long the generator trains on each task; a minibatch is `train.batch_size` images drawn with replacement."""
    generator_learning_rate: float = setting(0.001, within=POSITIVE)
    """Of Adam, begun anew for each task."""


class GenerativeReplay(Sequential):
    """Each minibatch of task k > 1 is joined by an equally large one x' that the generator of before the task makes
    (arXiv 1705.08690), labelled by the network of before the task; r = 1/k, the new task's share.

        L_solver    = r mean l(x, y) + (1 - r) mean l(x', argmax_c y_c(x')),   c among the classes met before
        L_generator = r L_VAE(x) + (1 - r) L_VAE(x')

    The paper's generator is a GAN, here it is a variational autoencoder as in van de Ven & Tolias 2018 (arXiv 1809.10635).
    No image is stored. A sleep changes the network, thereby the labels it gives to x', and never the generator.
    """

    config = GenerativeReplayConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        super().__init__(context, config)
        assert isinstance(config, GenerativeReplayConfig)
        self._context = context
        self._settings = config
        pixels = context.stream.tasks[0].train.images.shape[1]
        self._generator = VariationalAutoencoder(pixels, config.generator_hidden, config.generator_latent, context.seed).to(
            context.device
        )

    @property
    def label(self) -> str:
        return "Generative replay"

    def learn(self, task: Task) -> None:
        dreams = self._dreams(task)
        self._trainer.fit(task.train, task.index, extra=dreams or PLAIN)
        self._train_generator(task, dreams)

    def state(self) -> dict[str, Tensor]:
        return super().state() | self._generator.state_dict(prefix="generator.")

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self._generator.load_state_dict(part(state, "generator."))

    def stored(self) -> Stored:
        return Stored(floats=sum(parameter.numel() for parameter in self._generator.parameters()), models=1)

    def _dreams(self, task: Task) -> "_Dreams | None":
        """What the scholar of before `task` can tell of the earlier ones; None for the first."""
        met = sorted({label for earlier in self._tasks if earlier.index < task.index for label in earlier.classes})
        if not met:
            return None
        noise = generator(self._context.seed, "replay", task.index)
        dreamer, network = copy.deepcopy(self._generator), copy.deepcopy(self.network)
        return _Dreams(dreamer, network, met, noise, 1 / (task.index + 1), self._context.train.loss)

    def _train_generator(self, task: Task, dreams: "_Dreams | None") -> None:
        settings, seed, train = self._settings, self._context.seed, self._context.train
        drawn, noise = (generator(seed, "generator", purpose, task.index) for purpose in ("images", "noise"))
        images = task.train.images.to(self._context.device)
        optimizer = torch.optim.Adam(self._generator.parameters(), lr=settings.generator_learning_rate, fused=True)
        for _ in tqdm(range(settings.generator_steps), f"generator {task.index}", leave=False, disable=None):
            rows = torch.randint(len(images), (train.batch_size,), generator=drawn).to(images.device)
            loss = self._generator.loss(images[rows], noise)
            if dreams is not None:
                loss = dreams.weighted(loss, self._generator.loss(dreams.images(len(rows)), noise))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            optimizer.step()
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the generator's loss is {loss.item()} after task {task.index} with method.generator_learning_rate="
                f"{settings.generator_learning_rate:g}: use a smaller one, e.g. method.generator_learning_rate="
                f"{settings.generator_learning_rate / 10:g}"
            )


class _Dreams(Extra):
    """Samples of the scholar of before a task, which are the second half of every minibatch."""

    def __init__(
        self,
        dreamer: VariationalAutoencoder,
        network: nn.Module,
        met: list[int],
        noise: torch.Generator,
        new_share: float,
        loss: str,
    ) -> None:
        self._dreamer = dreamer
        self._network = network
        self._met = met
        self._noise = noise
        self._new_share = new_share
        self._loss = LOSSES[loss]

    def images(self, count: int) -> Tensor:
        return self._dreamer.sample(count, self._noise)

    def weighted(self, new: Tensor, old: Tensor) -> Tensor:
        return self._new_share * new + (1 - self._new_share) * old

    @torch.no_grad()
    def batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        dreamt = self.images(len(labels))
        best = self._network(dreamt)[:, self._met].argmax(dim=1)
        named = torch.tensor(self._met, device=labels.device)[best]
        return torch.cat([images, dreamt]), torch.cat([labels, named])

    def loss(self, plain: Tensor, images: Tensor, labels: Tensor, outputs: Tensor) -> Tensor:  # noqa: ARG002
        (new, old), (new_labels, old_labels) = outputs.chunk(2), labels.chunk(2)
        return self.weighted(self._loss(new, new_labels), self._loss(old, old_labels))
