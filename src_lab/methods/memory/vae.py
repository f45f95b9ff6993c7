"""A variational autoencoder of images, the generator of deep generative replay."""

import torch
from torch import Tensor, nn

from src_lab.rng import seed_for


class VariationalAutoencoder(nn.Module):
    """Two multilayer perceptrons with two hidden layers, trained together (Kingma & Welling 2014, arXiv 1312.6114).

        L = - E_{z ~ q(z|x)} log p(x|z) + KL(q(z|x) || N(0, 1)),   q Gaussian with diagonal covariance, p Bernoulli per pixel

    Noise comes from the generator given, on the CPU, whatever the device.
    """

    def __init__(self, pixels: int, hidden: int, latent: int, seed: int) -> None:
        super().__init__()
        self._latent = latent
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "init", "generator"))
            self.encoder = _perceptron(pixels, hidden, 2 * latent)
            self.decoder = _perceptron(latent, hidden, pixels)

    def loss(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """L for images (n, pixels) in [0, 1], a sum over pixels and a mean over images; z is drawn once per image."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        latents = mean + (log_variance / 2).exp() * self._normal(len(images), noise)
        surprise = nn.functional.binary_cross_entropy_with_logits(self.decoder(latents), images, reduction="sum")
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        loss: Tensor = (surprise + divergence) / len(images)
        return loss

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Images (count, pixels) in [0, 1] of latents drawn from N(0, 1): each pixel's mean."""
        images: Tensor = self.decoder(self._normal(count, noise)).sigmoid()
        return images

    def _normal(self, count: int, noise: torch.Generator) -> Tensor:
        return torch.randn(count, self._latent, generator=noise).to(next(self.parameters()).device)


def _perceptron(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, n_out))
