"""What is kept of a task's images instead of them (`sleep.summary`): their mean and a few principal components.

Images like those of task t are drawn from it as

    x = mean_t + sum_i e_i s_i v_i + u,    e_i ~ N(0, 1),    clipped to [0, 1]

with v_i the directions in which the task's images differ most and s_i their standard deviations along these. It knows no
labels and no image: (1 + r) n_0 numbers for r components. Source: ours; principal components as a small generative model are
probabilistic PCA (Tipping and Bishop 1999, doi 10.1111/1467-9868.00196), here without its noise: u = 0.

With `sleep.summary_residual` u_j ~ N(0, d_j^2) is drawn for every pixel j, d_j what the components leave of its standard
deviation: n_0 numbers more. As in factor analysis (Rubin and Thayer 1982, doi 10.1007/BF02293851) it is each pixel's own, so
that pixels that are always dark stay dark. Without it the images drawn lack most directions in which real ones differ, and
a discriminant (`sleep.discriminant`) takes these for directions that tell tasks apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from src_lab.settings import ConfigError


@dataclass(frozen=True)
class Summary:
    """Mean (n_0,) of some images, and components (r, n_0), each as long as their standard deviation along it; float32.

    outputs   of the network that these images have taught, where that is known
    residual  (n_0,), the standard deviation of each pixel that the components leave; None: as if there were none
    """

    mean: Tensor
    components: Tensor
    outputs: tuple[int, ...] = ()
    residual: Tensor | None = None

    @classmethod
    def of(cls, images: Tensor, components: int, outputs: Iterable[int] = (), *, residual: bool = False) -> "Summary":
        """The summary of `images` (n, ...). Raises ConfigError where there are fewer images or pixels than components."""
        from sklearn.decomposition import PCA  # type: ignore[import-untyped]  # slow to load, and ships no types

        flat = images.flatten(1)
        require_enough(components, *flat.shape)
        pixels = flat.cpu().double().numpy()
        found = PCA(components, random_state=0).fit(pixels)
        scaled = found.components_ * found.explained_variance_[:, None] ** 0.5
        left = None
        if residual:
            # not the difference of two variances, which rounding may make negative
            left = torch.from_numpy(pixels - found.inverse_transform(found.transform(pixels))).std(dim=0).float()
        return cls(torch.from_numpy(found.mean_).float(), torch.from_numpy(scaled).float(), tuple(outputs), left)

    @property
    def numbers(self) -> int:
        """How many it keeps."""
        return self.mean.numel() + self.components.numel() + (0 if self.residual is None else self.residual.numel())

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Images (count, n_0) like those summarised, drawn from the CPU `generator`."""
        strengths = torch.randn(count, len(self.components), generator=generator)
        drawn = self.mean + strengths @ self.components
        if self.residual is not None:
            drawn += self.residual * torch.randn(drawn.shape, generator=generator)
        return drawn.clamp(0, 1)


def require_enough(components: int, images: int, pixels: int) -> None:
    """Raise ConfigError unless so many images of so many pixels have so many components."""
    if components > min(images, pixels):
        raise ConfigError(
            f"sleep.summary={components} is more than {images} images of {pixels} pixels have components: use "
            f"sleep.summary={min(images, pixels)} or less, or null"
        )


def require_taught(summaries: Sequence[Summary]) -> None:
    """Raise ConfigError where one of several does not say which outputs it taught, as `sleep.discriminant` needs."""
    if len(summaries) > 1 and not all(summary.outputs for summary in summaries):
        raise ConfigError(
            "sleep.discriminant needs the outputs that each task has taught, and a summary has none: make it by "
            "Summary.of(images, components, outputs), or use discriminant=0"
        )


def samples(summaries: Sequence[Summary], count: int, generator: torch.Generator) -> Tensor:
    """At least `count` images (n, n_0), as many from each summary."""
    return torch.cat([summary.sample(ceil(count / len(summaries)), generator) for summary in summaries])
