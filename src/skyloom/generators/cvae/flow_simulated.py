"""Latents of simulated structure, found by fitting the decoder to the known map.

Through a telescope's PSF and noise even a bright simulated galaxy tells its latents only in part, and what is not told
is N(0, 1): mottle. The map is known, though, so its latents are too: those with which the decoder draws it.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from skyloom.generators.cvae.features import known_values, with_wavelength, without_band
from skyloom.generators.cvae.frame import node_radii
from skyloom.generators.cvae.net import Decoder
from skyloom.generators.cvae.prior import Posteriors
from skyloom.generators.cvae.simulate import simulate_structure
from skyloom.generators.cvae.simulate_parameters import drawn_redshifts
from skyloom.generators.cvae.structure import winding

__all__ = ["fit_latents", "simulated_posteriors"]

logger = logging.getLogger(__name__)

_BATCH = 32
_PROBES = 4
_BANDS = 0.6, 1.0
"""Shortest wavelength seen, micron, and in how many e-folds lie each of two: one in the shorter, one in the longer."""


def simulated_posteriors(
    decoder: Decoder,
    sersic_n: Tensor,
    q: Tensor,
    features: Tensor,
    *,
    louder: float = 1.6,
    steps: int = 60,
    error: float = 0.05,
    seed: int = 0,
) -> Posteriors:
    """Draw structure for given conditions and find its latents.

    Parameters
    ----------
    decoder : Decoder
    sersic_n, q : Tensor, shape (N,)
    features : Tensor, shape (N, WIDTH)
    louder : float
        The maps are amplified by up to so much, evenly in the logarithm: real structure is the stronger.
    steps, error
        See `fit_latents`.
    seed : int

    Returns
    -------
    Posteriors
        All wound the same way, none of them real.
    """
    means, variances, errors, told = [], [], [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for rows in torch.arange(len(q)).split(_BATCH):
            y = features[rows]
            seen = _BANDS[0] * torch.exp(torch.rand(len(rows), 2) * _BANDS[1])
            seen[:, 1] *= torch.exp(torch.tensor(_BANDS[1]))
            redshift = drawn_redshifts(known_values(y, "redshift"))
            f = simulate_structure(sersic_n[rows], q[rows], redshift, seen / (1 + redshift[:, None]))
            gain = louder ** torch.rand(len(rows))[:, None, None, None]
            f = 3 * torch.tanh(f * gain / 3)
            f = torch.where((winding(f.mean(1)) < 0)[:, None, None, None], f.flip(3), f)
            bands = with_wavelength(y.repeat_interleave(2, 0), 1000 * seen.flatten())
            mean, log_variance, missed = fit_latents(decoder, f, bands.view(len(rows), 2, -1), steps=steps, error=error)
            told.append(without_band(y))
            means.append(mean)
            variances.append(log_variance)
            errors.append(missed)
    logger.info("simulated structure: %d maps, fitted to %.3f rms", len(q), float(torch.cat(errors).mean()))
    return Posteriors(torch.cat(means), torch.cat(variances), torch.cat(told), torch.zeros(len(q), dtype=torch.bool))


def fit_latents(
    decoder: Decoder, f: Tensor, y: Tensor, *, steps: int = 60, error: float = 0.05
) -> tuple[Tensor, Tensor, Tensor]:
    """The Gaussian posterior of latents given maps, about its maximum (Laplace's approximation, cell by cell).

    Parameters
    ----------
    decoder : Decoder
    f : Tensor, shape (B, K, ROWS, COLUMNS)
        Of each galaxy at K wavelengths.
    y : Tensor, shape (B, K, WIDTH)
    steps : int
        Of Adam.
    error : float
        Error of f at each node, the inner ones, which crowd together, counting less.

    Returns
    -------
    mean, log_variance : Tensor, shape (B, latents)
        Under N(0, 1). The latents' information is estimated with a few random probes, and multiplied by what keeps
        the maps of samples about within `error` of the mean's: cells that blur into each other, each left free to the
        width it has while the others hold still, would add mottle of several times that.
    missed : Tensor, shape (B,)
        What the decoder cannot draw, rms.
    """
    bands = f.shape[1]
    f, y = f.flatten(0, 1), y.flatten(0, 1)

    def total(values: Tensor) -> Tensor:
        """Sum over a galaxy's maps and their nodes, shape (B,)."""
        return values.sum((1, 2)).view(-1, bands).sum(1)

    def decoded(z: Tensor) -> Tensor:
        drawn: Tensor = decoder(z.repeat_interleave(bands, 0), y)
        return drawn

    r = node_radii()
    weight = (r / (r + 0.15))[:, None]
    weight = weight / weight.mean() / error**2
    trained = [p for p in decoder.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        z = torch.zeros(len(f) // bands, decoder.arch.latents, requires_grad=True)
        optimiser = torch.optim.Adam([z], betas=(0.8, 0.98))
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / steps) + 0.005
            square = (decoded(z) - f) ** 2
            # neighbouring nodes say the same thing about twice over
            loss = 0.5 * (total(square * weight) / 32 + (z**2).sum(1)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        missed = (total(square.detach()) / f[0].numel() / bands).sqrt()
        information = torch.zeros_like(z)
        for _ in range(_PROBES):
            probe = torch.randn_like(f) * (weight / 32).sqrt()
            (gradient,) = torch.autograd.grad((decoded(z) * probe).sum(), z)
            information += gradient**2 / _PROBES
        mean = z.detach()
        with torch.no_grad():
            found, strayed = decoded(mean), torch.zeros(len(mean))
            for _ in range(_PROBES):
                drawn = decoded(mean + torch.randn_like(mean) * (1 + information) ** -0.5)
                strayed += total((drawn - found) ** 2 * weight) / (bands * f[0].numel() * _PROBES)
    finally:
        for p in trained:
            p.requires_grad_(True)
    return mean, -torch.log1p(information * strayed.clamp(min=1)[:, None]), missed
