"""Posteriors with correlations between latents: a bound on the evidence tighter than that of independent numbers.

What stamps tell is seldom one latent: they see a blurred sum of several. A Gaussian of independent numbers must then be
as narrow along each as if the others were known, and pays for it. Here the covariance is Laplace's, from the images'
derivatives, and the mean climbs the bound itself under it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import Jitter, log_likelihood
from skyloom.generators.cvae.measurement import Measurement, measured
from skyloom.generators.cvae.net import Decoder
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.refine import descended

__all__ = ["correlated_posterior"]

_ROUNDS = 2  # of derivatives and climbing: the first climb leaves where the images were taken to be linear
_STEPS = 60


def correlated_posterior(
    decoder: Decoder,
    stamps: Stamps,
    index: Tensor,
    galaxies: Galaxies,
    start: Tensor,
    frames: Jitter,
    *,
    y: Tensor,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Measurement]:
    """Gaussian posteriors under the prior N(0, 1), with all correlations that the stamps' images make.

    Parameters
    ----------
    decoder : Decoder
        In evaluation mode.
    stamps : Stamps
    index : Tensor of int, shape (B,)
        The galaxies' stamps.
    galaxies : Galaxies
        Of these stamps.
    start : Tensor, shape (galaxies.count, latents)
        Means to start from, best those of `skyloom.generators.cvae.refine.refined_posterior`.
    frames : Jitter
        Of the stamps.
    y : Tensor, shape (B, WIDTH)
        Features for the decoder.
    generator : torch.Generator, optional
        Of the draws; torch's global numbers without it.

    Returns
    -------
    mean : Tensor, shape (galaxies.count, latents)
    told : Measurement
        Which narrows the posterior's scatter: `Measurement.narrowed`, `Measurement.divergence`.
    """
    mean = start.detach()
    own = replace(stamps.subset(index.tolist()), features=y)
    for _ in range(_ROUNDS):
        told = measured(decoder, own, galaxies, mean, frames)

        def objective(mean: Tensor, told: Measurement = told) -> Tensor:
            z = mean + told.narrowed(torch.randn(mean.shape, generator=generator))
            images = model_images(decoder, stamps, index, z[galaxies.row], y, frames)
            return 0.5 * mean.square().sum() - log_likelihood(images, stamps, index)[0].sum()

        (mean,) = descended((mean,), objective, _STEPS)
    return mean, told
