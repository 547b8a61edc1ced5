"""How much stamps tell of a galaxy's structure as a whole, against what they tell of its latents one by one.

A posterior of independent numbers has, for each latent, the width it would have were all others known. Latents blur
into each other in the image, so stamps tell more of a pattern that many share than the sum of what they tell of each.
A prior of N(0, 1) does not mind; one that knows patterns, and lets them be strong, would take the difference for
ignorance and draw structure that the image forbids.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import referenced
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import Jitter
from skyloom.generators.cvae.net import Decoder
from skyloom.generators.cvae.noise_filter import whiten, whitening
from skyloom.generators.cvae.posterior import Galaxies

__all__ = ["coherence_factors", "typical_factors"]

_STEP = 0.1  # of the amplitude, by which the images' derivative is taken
_TOLD = 20.0  # precision along the structure above which a factor can be told
_MOST = 30.0


@torch.no_grad()
def coherence_factors(
    decoder: Decoder,
    stamps: Stamps,
    index: Tensor,
    galaxies: Galaxies,
    posterior: tuple[Tensor, Tensor],
    frames: Jitter,
) -> Tensor:
    """Precision along each galaxy's own structure over the sum of its latents' precisions along it.

    With m the posterior mean, D the latents' own precisions beyond the prior's and H the precision matrix of the
    measurement (Gauss-Newton: the images' derivatives in units of the noise), ``m H m / m D m``.

    Parameters
    ----------
    decoder : Decoder
        In evaluation mode.
    stamps : Stamps
    index : Tensor of int, shape (B,)
        The galaxies' stamps.
    galaxies : Galaxies
        Of these stamps.
    posterior : pair of Tensor, shape (galaxies.count, latents)
        Mean and log variance.
    frames : Jitter
        Of the stamps.

    Returns
    -------
    Tensor, shape (galaxies.count,)
        Within 1 and 30; NaN where the stamps tell too little of the structure.
    """
    mean, log_variance = posterior
    y, mask = referenced(stamps.features[index], galaxies), stamps.mask[index]
    stronger, weaker = (
        model_images(decoder, stamps, index, (scale * mean)[galaxies.row], y, frames)
        for scale in (1 + _STEP, 1 - _STEP)
    )
    slope = (stronger - weaker) / (2 * _STEP) * mask / stamps.sigma[index]
    if stamps.likelihood.whitened:
        slope = whiten(slope, whitening(mask, stamps.neighbours[index], stamps.correlation[index]))
    together = galaxies.total(slope.square().sum((1, 2)))
    apart = ((torch.exp(-log_variance) - 1) * mean**2).sum(1)
    factor = (together / apart.clamp(min=1e-6)).clamp(1, _MOST)
    return torch.where(together > _TOLD, factor, torch.nan)


def typical_factors(factors: Tensor) -> Tensor:
    """The same with the median of the known ones, 1 if there are none, where a factor is NaN."""
    middle = factors.nanmedian()
    return torch.where(torch.isfinite(factors), factors, middle if torch.isfinite(middle) else torch.ones(()))
