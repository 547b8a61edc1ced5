"""Posteriors better than the encoder's guess: a few gradient steps on each galaxy's own bound.

An encoder sees every galaxy with the same weights, and is rounder than the bound allows (the amortisation gap: Cremer
et al. 2018, ICML). Starting from its guess the posterior of a galaxy is improved by itself (semi-amortised inference:
Kim et al. 2018, ICML). The result is a Gaussian of independent numbers still, so the bound stays a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import referenced
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import Jitter, log_likelihood
from skyloom.generators.cvae.net import Decoder
from skyloom.generators.cvae.posterior import Galaxies

__all__ = ["REFINE_STEPS", "descended", "refined_posterior"]

REFINE_STEPS = 40
"""Gradient steps where posteriors matter more than time."""
_RATE = 0.08
_LEAST = -9.0  # log variance


def refined_posterior(
    decoder: Decoder,
    stamps: Stamps,
    index: Tensor,
    galaxies: Galaxies,
    posterior: tuple[Tensor, Tensor],
    frames: Jitter,
    *,
    y: Tensor | None = None,
    steps: int = REFINE_STEPS,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Improve joint posteriors under the prior N(0, 1).

    Parameters
    ----------
    decoder : Decoder
        In evaluation mode; its parameters are left alone.
    stamps : Stamps
    index : Tensor of int, shape (B,)
        The galaxies' stamps.
    galaxies : Galaxies
        Of these stamps.
    posterior : pair of Tensor, shape (galaxies.count, latents)
        Mean and log variance to start from.
    frames : Jitter
        Of the stamps.
    y : Tensor, shape (B, WIDTH), optional
        Features for the decoder; `referenced` ones when left out.
    steps : int
        Of Adam, whose rate falls to nothing; 0 gives back what came.
    generator : torch.Generator, optional
        Of draws that all galaxies share, so that none depends on the others. Without it each has its own, of torch's
        global numbers.

    Returns
    -------
    mean, log_variance : Tensor, shape (galaxies.count, latents)
        Variances at most 1, the prior's.
    """
    if not steps:
        return posterior
    y = referenced(stamps.features[index], galaxies) if y is None else y
    inverse = torch.exp(-posterior[1].detach()) - 1  # what the stamps add to the prior's precision

    def objective(mean: Tensor, raw: Tensor) -> Tensor:
        log_variance = _log_variance(raw)
        noise = torch.randn_like(mean) if generator is None else torch.randn(1, mean.shape[1], generator=generator)
        z = mean + noise * (log_variance / 2).exp()
        images = model_images(decoder, stamps, index, z[galaxies.row], y, frames)
        likelihood = log_likelihood(images, stamps, index)[0].sum()
        divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance).sum()
        return divergence - likelihood

    mean, raw = descended((posterior[0], torch.log(inverse.clamp(min=1e-4))), objective, steps)
    return mean, _log_variance(raw)


def descended(start: Sequence[Tensor], objective: Callable[..., Tensor], steps: int) -> list[Tensor]:
    """Numbers at which an objective, which may draw at random, is lower: steps of Adam, whose rate falls to nothing.

    Parameters
    ----------
    start : sequence of Tensor
    objective : callable
        Of as many Tensors.
    steps : int

    Returns
    -------
    list of Tensor
    """
    with torch.inference_mode(False), torch.enable_grad():
        found = [part.detach().clone().requires_grad_(True) for part in start]
        optimiser = torch.optim.Adam(found, betas=(0.8, 0.98))
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = _RATE * (1 - step / steps)
            gradients = torch.autograd.grad(objective(*found), found)
            for part, gradient in zip(found, gradients, strict=True):
                part.grad = gradient
            optimiser.step()
    return [part.detach() for part in found]


def _log_variance(raw: Tensor) -> Tensor:
    return -F.softplus(raw).clamp(max=-_LEAST)
