"""How much better than its Sersic the model explains a stamp: a bound on the gain in log evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skyloom.generators.cvae.correlated import correlated_posterior
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import encode, referenced
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import Jitter, log_likelihood
from skyloom.generators.cvae.net import Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies, joint_posterior
from skyloom.generators.cvae.refine import refined_posterior

__all__ = ["evidence_gain", "kl_divergence", "posterior_of"]


@torch.no_grad()
def posterior_of(
    encoder: Encoder, stamps: Stamps, index: Tensor, galaxies: Galaxies, *, mirror: bool | Tensor = False
) -> tuple[Tensor, Tensor, Jitter]:
    """Joint posterior of galaxies (mean and log variance) and the frames of their stamps, mirrored or as they are.

    `mirror` is for all of them, or of each stamp, bool, shape (B,).
    """
    frames = Jitter(stamps.q[index], mirror).spread(torch.arange(len(index)), galaxies.frame)
    told = encode(encoder, stamps, index, galaxies, frames)
    mean, log_variance = joint_posterior(told[0], told[1], galaxies)
    return mean, log_variance, frames


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of each latent from N(0, 1), nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


@torch.no_grad()
def evidence_gain(
    encoder: Encoder,
    decoder: Decoder,
    stamps: Stamps,
    draws: int = 1,
    galaxies: Galaxies | None = None,
    *,
    refine: int = 0,
    correlated: bool = False,
) -> dict[str, Tensor]:
    """Held-out figures a galaxy, each of shape (galaxies.count,).

    Parameters
    ----------
    encoder, decoder
        Are put into evaluation mode.
    stamps : Stamps
    draws : int
        Latents drawn from the posterior for the expectation; random numbers are torch's global ones.
    galaxies : Galaxies, optional
        Stamps that share one posterior; each stamp is judged by itself when left out.
    refine : int
        Gradient steps that improve each galaxy's posterior (`skyloom.generators.cvae.refine`); the bound is that of
        the encoder alone with 0.
    correlated : bool
        Also find the posterior with correlations (`skyloom.generators.cvae.correlated`): some 5 seconds a stamp. The
        better of the two, by draws of their own, gives the galaxy's figures.

    Returns
    -------
    dict
        ``gain``: ELBO less the log likelihood of the Sersics alone (f = 0), nats. ``chi2_sersic``, ``chi2``: a usable
        pixel, of the Sersic and of the posterior mean. ``kl``: nats.
    """
    encoder.eval()
    decoder.eval()
    everyone = Galaxies.alone(len(stamps)) if galaxies is None else galaxies
    rows = []
    for index, part in everyone.batches(16):
        y = referenced(stamps.features[index], part)
        guess, guess_variance, still = posterior_of(encoder, stamps, index, part)
        mean, log_variance = refined_posterior(
            decoder, stamps, index, part, (guess, guess_variance), still, steps=refine
        )
        alone, chi2_alone, _ = log_likelihood(stamps.sersic[index], stamps, index)
        gained = _Gained(decoder, stamps, index, part, y, still, alone, draws)
        scatter, kl = (log_variance / 2).exp(), kl_divergence(mean, log_variance).sum(1)
        gain = gained(mean, scatter.mul) - kl
        if correlated:
            other, told = correlated_posterior(decoder, stamps, index, part, mean, still, y=y)
            other_kl = told.divergence(other)
            better = gained(other, told.narrowed) - other_kl > gain
            gain = torch.where(better, gained(other, told.narrowed) - other_kl, gained(mean, scatter.mul) - kl)
            mean, kl = torch.where(better[:, None], other, mean), torch.where(better, other_kl, kl)
        _, chi2, _ = log_likelihood(model_images(decoder, stamps, index, mean[part.row], y, still), stamps, index)
        pixels = stamps.mask[index].sum((1, 2))
        rows.append((gain, part.mean(chi2_alone / pixels), part.mean(chi2 / pixels), kl))
    names = ("gain", "chi2_sersic", "chi2", "kl")
    return {name: torch.cat(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


@dataclass(frozen=True)
class _Gained:
    """Mean log likelihood of some galaxies' stamps, latents drawn from a posterior, less that of their Sersics."""

    decoder: Decoder
    stamps: Stamps
    index: Tensor
    part: Galaxies
    y: Tensor
    frames: Jitter
    alone: Tensor
    draws: int

    def __call__(self, mean: Tensor, scattered: Callable[[Tensor], Tensor]) -> Tensor:
        """Shape (part.count,); `scattered` makes standard normal numbers those of the posterior."""
        expected = torch.zeros(len(self.index))
        for _ in range(self.draws):
            z = mean + scattered(torch.randn_like(mean))
            images = model_images(self.decoder, self.stamps, self.index, z[self.part.row], self.y, self.frames)
            expected += log_likelihood(images, self.stamps, self.index)[0] / self.draws
        return self.part.total(expected - self.alone)
