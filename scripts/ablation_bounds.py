"""Bounds on the log evidence of stamps under any prior of the latents (`scripts/ablations.py`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import encode, prior_features, referenced
from skyloom.generators.cvae.evidence import kl_divergence, model_images
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.instrument import Jitter
from skyloom.generators.cvae.likelihood import log_likelihood
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import LatentPrior
from skyloom.generators.cvae.refine import refined_posterior
from skyloom.generators.cvae.structure import winding

__all__ = ["bounds", "noise_posterior"]

_RATE = 0.1


def bounds(
    model: CVAEGenerator, prior: LatentPrior, stamps: Stamps, *, draws: int = 3, steps: int = 300
) -> dict[str, list[float]]:
    """Bounds on the gain in log evidence over the Sersics, a stamp, each alone; nats.

    Each is less ln 2, for a prior knows galaxies mirrored to one sense of winding only.

    Parameters
    ----------
    model : CVAEGenerator
        Whose networks are used.
    prior : LatentPrior
        With ``log_density``.
    stamps : Stamps
    draws : int
        Latents for each expectation.
    steps : int
        See `noise_posterior`.

    Returns
    -------
    dict
        ``encoder``: E_q[log p(x | z) + log p(z | y) - log q(z)], q the encoder's posterior, refined for N(0, 1).
        ``adapted``: the same in the numbers e that the prior makes its latents z(e) of, whose prior is N(0, 1) for
        every prior: E_q[log p(x | z(e))] - KL(q(e) || N(0, 1)), with q of `noise_posterior`.
    """
    rows: dict[str, list[float]] = {"encoder": [], "adapted": []}
    for index in torch.arange(len(stamps)).split(16):
        known = prior_features(stamps.features[index], Galaxies.alone(len(index)))
        with torch.no_grad():
            mean, log_variance, frame = _wound(model, stamps, index)
        centre, spread = noise_posterior(prior, known, mean, log_variance, steps=steps)
        found = {kind: torch.zeros(len(index)) for kind in rows}
        for _ in range(draws):
            noise = torch.randn_like(mean)
            z = mean + noise * (log_variance / 2).exp()
            entropy = 0.5 * (noise**2 + log_variance + math.log(2 * math.pi)).sum(1)  # -log q at this draw
            log_prior = prior.log_density(z, known)[0].detach().float()
            found["encoder"] += (_told(model, stamps, index, z, frame) + log_prior + entropy) / draws
            z = _latents(prior, known, centre + torch.randn_like(centre) * (spread / 2).exp()).detach()
            found["adapted"] += _told(model, stamps, index, z, frame) / draws
        found["adapted"] -= kl_divergence(centre, spread).sum(1)
        for kind, values in found.items():
            rows[kind] += (values - math.log(2)).tolist()
    return rows


def noise_posterior(
    prior: LatentPrior, y: Tensor, mean: Tensor, log_variance: Tensor, *, steps: int = 300
) -> tuple[Tensor, Tensor]:
    """The Gaussian of independent numbers e closest to their posterior, given what a stamp tells of z(e).

    That is the encoder's Gaussian with N(0, 1) divided out. Found by descent on the divergence (Kingma & Welling 2014).

    Parameters
    ----------
    prior : LatentPrior
    y : Tensor, shape (B, WIDTH)
    mean, log_variance : Tensor, shape (B, latents)
        Of the encoder.
    steps : int
        Of Adam.

    Returns
    -------
    mean, log_variance : Tensor, shape (B, noise_size - 1)
        The last number of a prior's noise chooses the sense of winding and is left out.
    """
    inverse = torch.exp(-log_variance)
    precision, weighted = inverse - 1, mean * inverse
    centre = torch.zeros(len(y), prior.noise_size - 1, requires_grad=True)
    spread = torch.full_like(centre, -0.5).requires_grad_(True)
    optimiser = torch.optim.Adam([centre, spread], betas=(0.9, 0.98))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _RATE * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-3
        z = _latents(prior, y, centre + torch.randn_like(centre) * (spread / 2).exp())
        loss = (0.5 * precision * z**2 - weighted * z).sum() + kl_divergence(centre, spread).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return centre.detach(), spread.detach()


def _latents(prior: LatentPrior, y: Tensor, noise: Tensor) -> Tensor:
    return prior.draw(y, torch.cat([noise, torch.zeros_like(noise[:, :1])], 1))[0]


@torch.no_grad()
def _told(model: CVAEGenerator, stamps: Stamps, index: Tensor, z: Tensor, frame: Jitter) -> Tensor:
    """Log likelihood of latents less that of the Sersics, shape (B,)."""
    images = model_images(model.decoder, stamps, index, z, stamps.features[index], frame)
    alone = log_likelihood(stamps.sersic[index], stamps, index)[0]
    return log_likelihood(images, stamps, index)[0] - alone


def _wound(model: CVAEGenerator, stamps: Stamps, index: Tensor) -> tuple[Tensor, Tensor, Jitter]:
    """Posteriors of stamps, each mirrored where that makes it wind as the priors' galaxies do, and these frames."""
    alone, found = Galaxies.alone(len(index)), []
    for mirror in (False, True):
        mean, _ = encode(model.encoder, stamps, index, alone, Jitter(stamps.q[index], mirror))
        found.append(winding(model.decoder(mean, referenced(stamps.features[index], alone))))
    frame = Jitter(stamps.q[index], mirror=False)
    frame.matrix[found[0] < found[1], 1, 1] = -1.0
    told = encode(model.encoder, stamps, index, alone, frame)
    y = stamps.features[index]  # where latents are defined is what priors know, not what the encoder chose
    return *refined_posterior(model.decoder, stamps, index, alone, told, frame, y=y), frame
