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
summary of each task (`src_lab.sleep.summary`), and are levelled on what they will be asked about.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src_lab.sleep.feeds import feeds_of
from src_lab.sleep.layers import SleepingLayer

HOMEOSTASIS_STEPS = 1000
LEAST = 1e-3
"""Share of the largest variance below which decorrelation does not raise what outputs hardly differ in."""


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
) -> None:
    """Give the outputs of `model` equal mean and spread on the images `shown` (n, ...), in place; on black ones, nothing.

    last           the model's last layer of weights
    outputs        those that have been learned; the others are left alone. None is all of them
    decorrelation  from 0, their correlations stay, to 1, they become uncorrelated
    """
    if not shown.any():
        return
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
    weight[chosen] = rows[:, : weight.shape[1]].to(weight)
    if bias is not None:
        bias[chosen] = rows[:, -1].to(bias)
    last.write(weight, bias)


def _decorrelated(rows: Tensor, feed: Tensor, power: float) -> Tensor:
    """R^(-power/2) times the weights `rows` of outputs that answer to `feed` (n, n_in) with equal spread, which stays."""
    values, vectors = torch.linalg.eigh(torch.cov((feed @ rows.T).T, correction=0))
    strengths = values.clamp(min=LEAST * float(values.max())) ** (-power / 2)
    apart: Tensor = vectors @ torch.diag(strengths) @ vectors.T @ rows
    before, after = ((feed @ each.T).std(dim=0, correction=0) for each in (rows, apart))
    return apart * (before / after)[:, None]
