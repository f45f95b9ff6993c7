"""iCaRL: exemplars, distillation and nearest class means (Rebuffi et al. 2017)."""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from src_lab.data import Task
from src_lab.methods.base import Context, MethodConfig
from src_lab.methods.memory.base import Budgeted, ExemplarConfig, penultimate, unit_features
from src_lab.models import ModelConfig
from src_lab.settings import ConfigError, setting
from src_lab.training import PLAIN, Extra


@dataclass(frozen=True)
class ICaRLConfig(ExemplarConfig):
    choice: Literal["random", "herding"] = setting("herding")
    distillation: bool = setting(True)
    """Whether the old classes' targets are what the network answered before the task, as in iCaRL; false: the labels."""
    classify: Literal["exemplar_means", "outputs"] = setting("exemplar_means")
    """`exemplar_means`: the class whose exemplars' mean is nearest in feature space, as in iCaRL; or the outputs."""


class ICaRL(Budgeted):
    """Incremental classifier and representation learning (arXiv 1611.07725).

    Trains on the task's images and all exemplars, shuffled together, with targets t_c: one-hot for the task's classes, and
    for the old ones what the network answered before the task; outputs of classes to come are left alone. With
    `train.loss=cross_entropy` this is the paper's

        L = - sum_c [ t_c log sigma(y_c) + (1 - t_c) log(1 - sigma(y_c)) ],   t_c = sigma(y_c before) for old classes

    and with `half_squared_error` L = 1/2 sum_c (y_c - t_c)^2, t_c = y_c before. Answers with the nearest mean of exemplars,
    argmin_c | phi(x) - mu_c |, phi the penultimate activations and mu_c the mean of phi over the exemplars of c, each of
    norm 1. The means are made when asked for, from the weights of then: after a sleep they are those of the network that
    slept, which is also what distillation keeps to in the next task. The sleep itself never sees the exemplars.
    """

    config = ICaRLConfig

    def __init__(self, context: Context, config: MethodConfig) -> None:
        super().__init__(context, config)
        assert isinstance(config, ICaRLConfig)
        self._distils = config.distillation
        self._by_means = config.classify == "exemplar_means"

    @classmethod
    def check(cls, config: MethodConfig, model: ModelConfig) -> None:
        super().check(config, model)
        assert isinstance(config, ICaRLConfig)
        if config.classify == "exemplar_means" and not model.is_deep:
            raise ConfigError(
                "method.classify=exemplar_means needs hidden features, but model.widths=[] has no hidden layer: use "
                "method.classify=outputs or give widths, e.g. model.widths=[400]"
            )

    @property
    def label(self) -> str:
        variants = {
            "random exemplars": not self._herds,
            "no distillation": not self._distils,
            "outputs": not self._by_means,
        }
        named = ", ".join(name for name, holds in variants.items() if holds)
        return f"iCaRL ({named})" if named else "iCaRL"

    def learn(self, task: Task) -> None:
        extra = self._distillation(task) if self._distils else PLAIN
        self._trainer.fit(self._memory.joined(task.train), task.index, extra=extra)
        self._remember(task)

    def classifier(self, network: nn.Module) -> nn.Module:
        if not self._by_means or not len(self._memory):
            return network
        kept = self._memory.all()
        features = unit_features(network, kept.images)
        means = {label: features[kept.labels == label].mean(dim=0) for label in set(kept.labels.tolist())}
        return NearestMean(penultimate(network), means, self._context.stream.num_classes).to(self._context.device)

    def _distillation(self, task: Task) -> "_Distillation":
        earlier = (met.classes for met in self._tasks if met.index < task.index)
        old = sorted({label for classes in earlier for label in classes} - set(task.classes))
        squared = self._context.train.loss == "half_squared_error"
        return _Distillation(copy.deepcopy(self.network), old, list(task.classes), squared)


class NearestMean(nn.Module):
    """Answers -| phi(x) / |phi(x)| - mu_c / |mu_c| |^2 for each class c (n, classes); -inf for a class without a mean."""

    known: Tensor

    def __init__(self, features: nn.Module, means: dict[int, Tensor], classes: int) -> None:
        super().__init__()
        self.features = features
        table = torch.zeros(classes, len(next(iter(means.values()))))
        for label, mean in means.items():
            table[label] = nn.functional.normalize(mean, dim=0)
        self.means = nn.Parameter(table, requires_grad=False)
        self.register_buffer("known", torch.tensor([label in means for label in range(classes)]))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.normalize(self.features(images))
        distances: Tensor = torch.cdist(features, self.means).square()
        return (-distances).masked_fill(~self.known, -torch.inf)


class _Distillation(Extra):
    """The loss on the outputs `old` and `new`, with targets of `before`, the network as it was, for the old ones."""

    def __init__(self, before: nn.Module, old: list[int], new: list[int], squared: bool) -> None:
        self._before = before.eval()
        self._old = old
        self._learned = sorted(old + new)
        self._squared = squared

    def loss(self, plain: Tensor, images: Tensor, labels: Tensor, outputs: Tensor) -> Tensor:  # noqa: ARG002
        targets = nn.functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
        if self._old:
            with torch.no_grad():
                answers = self._before(images)[:, self._old]
            targets[:, self._old] = answers if self._squared else answers.sigmoid()
        outputs, targets = outputs[:, self._learned], targets[:, self._learned]
        if self._squared:
            return (outputs - targets).square().sum() / (2 * len(outputs))
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / len(outputs)
