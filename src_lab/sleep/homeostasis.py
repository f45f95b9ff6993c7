"""Homeostasis of the outputs, at the end of a sleep (`sleep.homeostasis=outputs`): no output is more excitable than another.

The noise that drives sleep is shown to the network once more, as images and without spikes. What output k answers to it,
z_k, tells how excitable it is, not what it knows: the newest classes' outputs answer most. With mean mu_k and standard
deviation sd_k over HOMEOSTASIS_STEPS steps, and s the mean sd, each output's weights become such that it answers

    z'_k = s (z_k - mu_k) / sd_k

The shift goes into the weights, along the mean activity h of what feeds them, w_k -= mu_k h / (h . h): the smallest change
that takes away the mean answer. A bias is the weight of one more input, whose activity is always 1. The factor scales all
of an output's weights. Shifting the bias alone would do the same to the noise, but less for what the network knows: 56
instead of 71 % with two layers of 400 units (split MNIST, validation, seeds 0 and 1). Source: ours; synaptic scaling in
sleep (Tononi and Cirelli 2006, doi 10.1016/j.smrv.2005.05.002) is the idea.

With `sleep.decorrelation` = a > 0 outputs that answer together then inhibit each other, with R their correlations:

    z''_k = s (R^(-a/2) z')_k / sd_k    with sd_k now that of the numerator; a = 1 makes them uncorrelated

What one has in common with the others tells classes apart least. Lateral inhibition that learns against Hebb decorrelates
(Foldiak 1990, doi 10.1007/BF02331346); the closed form and the power are ours.

The noise knows the newest task's images only. With `sleep.summary` the outputs answer instead to images drawn from a
summary of each task (`src_lab.sleep.summary`), and are levelled on what they will be asked about. Where it is known which
outputs each task taught, `sleep.discriminant` = b > 0 then lets them answer to what tells its images from the others', by
Fisher's linear discriminant (Fisher 1936, doi 10.1111/j.1469-1809.1936.tb02137.x) between tasks:

    w_k += b c (C + ridge I)^-1 (m_k - m - g_k m)

m_k is the mean of h over images drawn from the summaries of those tasks that taught output k, m over all, g_k such that the
mean answer stays 0, C the covariance of h within a summary, ridge `sleep.discriminant_ridge` times the mean of its diagonal
(or LEAST_RIDGE units / images times, if that is more: from few images C is not well known), and c such that with b = 1 what
is added varies as much, over outputs and images, as what was there. No image's label plays a part: outputs taught by the
same tasks are moved alike, and nothing changes between them. To show, asleep, a summary's images while the outputs that they
taught are active is replay, of tasks; the closed form is ours.

Discriminants that stay are learned on, and pile up: an output that answers to some image of the next task is then pushed
down by it all the harder. With `sleep.discriminant_lasts=false` they serve to answer only: before the next task is learned
the outputs are again as they were levelled (`Readout`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src_lab.sleep.feeds import feeds_of
from src_lab.sleep.layers import SleepingLayer

HOMEOSTASIS_STEPS = 1000
LEAST = 1e-3
"""Share of the largest variance below which decorrelation does not raise what outputs hardly differ in."""
LEAST_RIDGE = 1 / 40
"""Times units / images, in mean variances of a unit: the fewer the images, the less their covariance is known."""


@dataclass(frozen=True)
class Readout:
    """A layer of outputs: weights (n_out, n_in), and biases (n_out,) or None."""

    weight: Tensor
    bias: Tensor | None


def as_images(stimulus: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """The noise (T, n_0) as T images, as bright on average as `images` (n, ...); dtype and device are those of `weight`."""
    shown = stimulus.view(len(stimulus), *images.shape[1:]).to(weight)
    brightness = float(shown.mean())
    return shown * (float(images.double().mean()) / brightness) if brightness else shown


def level_outputs(
    model: nn.Module,
    last: SleepingLayer,
    shown: Tensor,
    outputs: Sequence[int] | None = None,
    decorrelation: float = 0.0,
    taught: Sequence[Collection[int]] = (),
    discriminant: float = 0.0,
    ridge: float = 0.1,
) -> Readout | None:
    """Give the outputs of `model` equal mean and spread on the images `shown` (n, ...), in place; on black ones, nothing.

    last           the model's last layer of weights
    outputs        those that have been learned; the others are left alone. None is all of them
    decorrelation  from 0, their correlations stay, to 1, they become uncorrelated
    taught         of each of several equal parts of `shown`, in order, the outputs that images like these have taught
    discriminant   how much those then answer to what tells these parts apart
    ridge          of the covariance behind that, at least, in mean variances of a unit that feeds them

    Returns the levelled layer as it was before its discriminants, None where it has got none.
    """
    if not shown.any():
        return None
    weight, bias = last.weight(), last.bias()
    feed = torch.cat([fed.flatten(1).double() for (fed,) in feeds_of(model, [last], shown)])
    chosen = torch.arange(len(weight)) if outputs is None else torch.tensor(sorted(outputs))
    rows = weight.double()[chosen]
    if bias is not None:
        feed = torch.cat([feed, feed.new_ones(len(feed), 1)], dim=1)
        rows = torch.cat([rows, bias.double()[chosen, None]], dim=1)
    h = feed.mean(dim=0)
    rows = rows - torch.outer(rows @ h, h) / h.dot(h).clamp(min=torch.finfo(torch.float64).tiny)
    sd = (feed @ rows.T).std(dim=0, correction=0)
    answering = sd > 0
    own = rows[answering] * (sd.mean() / sd[answering])[:, None]
    if decorrelation and len(own) > 1:
        own = _decorrelated(own, feed, decorrelation)
    rows[answering] = own
    levelled = _write(last, rows, chosen)
    if not (discriminant and taught):
        return None
    teaches = torch.tensor([[k in some for k in chosen.tolist()] for some in taught], device=rows.device)
    _write(last, _discriminating(rows, feed, teaches, discriminant, ridge), chosen)
    return levelled


def _write(last: SleepingLayer, rows: Tensor, chosen: Tensor) -> Readout:
    """Make `rows` (k, n_in, or n_in + 1 with the bias) the `chosen` outputs' weights; returns all of the layer's."""
    weight, bias = last.weight(), last.bias()
    weight[chosen] = rows[:, : weight.shape[1]].to(weight)
    if bias is not None:
        bias[chosen] = rows[:, -1].to(bias)
    last.write(weight, bias)
    return Readout(weight, bias)


def _discriminating(rows: Tensor, feed: Tensor, teaches: Tensor, strength: float, ridge: float) -> Tensor:
    """The weights `rows` plus their discriminants; `teaches` (tasks, outputs) is true where a task has taught an output."""
    parts = feed.view(len(teaches), -1, feed.shape[1])
    means, mean = parts.mean(dim=1), feed.mean(dim=0)
    within = (parts - means[:, None]).flatten(0, 1)
    own = teaches.any(dim=0) & ~teaches.all(dim=0)  # what every task has taught is of no task more than of another
    apart = (teaches.to(means) / teaches.sum(dim=0).clamp(min=1)).T @ (means - mean) * own[:, None]
    *discriminants, still = _over_covariance(torch.cat([apart, mean[None]]), within, ridge)
    added = torch.stack(discriminants)
    added = added - torch.outer(added @ mean / still.dot(mean), still)
    scale = (feed @ rows.T).std(correction=0) / (feed @ added.T).std(correction=0)
    return rows + strength * scale * added if torch.isfinite(scale) else rows


def _over_covariance(directions: Tensor, deviations: Tensor, ridge: float) -> Tensor:
    """(C + ridge I)^-1 times each of `directions` (k, n_in), up to one factor; C is the covariance of `deviations`, the
    ridge in means of its diagonal, and more than that where there are few deviations.

    Where a layer has no fewer units than there are images the inverse is taken among these: with X (n, n_in) the deviations
    it is d - X^T (n ridge I + X X^T)^-1 X d.
    """
    images, units = deviations.shape
    among_units = units < images
    products = deviations.T @ deviations if among_units else deviations @ deviations.T
    least = max(ridge, LEAST_RIDGE * units / images) * products.trace() / units
    if not least > 0:
        return directions
    products.diagonal().add_(least)
    if among_units:
        found: Tensor = torch.linalg.solve(products, directions.T).T
        return found
    common: Tensor = torch.linalg.solve(products, deviations @ directions.T).T @ deviations
    return directions - common


def _decorrelated(rows: Tensor, feed: Tensor, power: float) -> Tensor:
    """R^(-power/2) times the weights `rows` of outputs that answer to `feed` (n, n_in) with equal spread, which stays."""
    values, vectors = torch.linalg.eigh(torch.cov((feed @ rows.T).T, correction=0))
    strengths = values.clamp(min=LEAST * float(values.max())) ** (-power / 2)
    apart: Tensor = vectors @ torch.diag(strengths) @ vectors.T @ rows
    before, after = ((feed @ each.T).std(dim=0, correction=0) for each in (rows, apart))
    return apart * (before / after)[:, None]
