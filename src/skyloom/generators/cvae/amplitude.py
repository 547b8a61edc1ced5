"""How strong structure is drawn: so that a Sersic fit leaves as much of samples as of real galaxies.

A decoder that has learned from blurred and noisy stamps draws less than is there, and a prior that has learned from its
latents less again. What is missing is one number, found on the training galaxies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.features import without_band
from skyloom.generators.cvae.frame import node_radii
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, observe, residual_grid
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import LatentPrior
from skyloom.generators.cvae.projection import unabsorbed
from skyloom.generators.cvae.structure_scale import scaled_maps
from skyloom.physics.sersic import sersic_surface_brightness

__all__ = ["GAIN", "GAINS", "drawn_maps", "left_by_fit", "structure_gain"]

logger = logging.getLogger(__name__)

GAIN = "sampling.gain"
"""Name of the gain in a checkpoint."""
GAINS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Between which the gain is looked for."""
_BATCH = 64
_FAINT = 0.05  # surface brightness, of flux 1 and half-light radius 1
_OUTSKIRTS, _END = 3.0, 4.0  # half-light radii
_STEP = 0.02  # of the fit's numerical derivatives, relative


def drawn_maps(f: tuple[Tensor, Tensor], sersic_n: Tensor, scale: Tensor, gain: float) -> Tensor:
    """Maps as samples show them.

    Parameters
    ----------
    f : tuple of two Tensors, shape (B, ROWS, COLUMNS)
        Of `Decoder.maps`.
    sersic_n, scale : Tensor, shape (B,)
        `scale` as `scaled_maps` takes it.
    gain : float
        By which f is multiplied where the galaxy is bright; where it is faint stamps told little, and f stays.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        In the galaxy's own half-light radii, without what a Sersic fit would absorb.
    """
    light = sersic_surface_brightness(sersic_n[:, None], node_radii())
    strength = (1 + (gain - 1) * light / (light + _FAINT))[:, :, None]
    own, reference = (strength * scaled_maps(one, scale) for one in f)
    return _without_rim(unabsorbed(own, sersic_n, reference))


def _without_rim(f: Tensor) -> Tensor:
    """Maps of discs that end stay dark outside: f fades at the map's edge, where a ring of Sersic would come back."""
    r = node_radii()
    ring = f.mean(2)
    last = int((r <= _OUTSKIRTS).sum()) - 1
    held = ring[:, last : last + 1] * torch.sigmoid((_END - r) / 0.12)
    kept = torch.where(r > r[last], torch.minimum(ring, held), ring)
    return f + (kept - ring)[:, :, None]


@torch.no_grad()
def structure_gain(
    decode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    prior: LatentPrior,
    stamps: Stamps,
    *,
    draws: int = 2,
    seed: int = 0,
) -> float:
    """The gain with which samples look as strong as the galaxies of stamps.

    A sample and its galaxy share their conditions and are compared by `left_by_fit`, in the brighter half of the
    stamps, those of one galaxy together counting once. Half of the samples shall be the stronger.

    Parameters
    ----------
    decode : callable
        As `Decoder.maps`.
    prior : LatentPrior
    stamps : Stamps
    draws : int
        Samples of each galaxy.
    seed : int

    Returns
    -------
    float
        Within `GAINS`.
    """
    power = (stamps.sersic**2 * stamps.mask).sum((1, 2))
    snr = (stamps.sersic**2 / stamps.sigma_noise**2 * stamps.mask).sum((1, 2)).sqrt()
    galaxies = Galaxies.of(stamps)
    prior_y = without_band(galaxies.mean(stamps.features))
    bright = torch.nonzero(snr >= snr.median())[:, 0]
    weight = 1 / torch.bincount(galaxies.row[bright])[galaxies.row[bright]]
    seen, drawn = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        latents = [prior.draw(prior_y, torch.randn(len(prior_y), prior.noise_size)) for _ in range(draws)]
    for index in bright.split(_BATCH):
        basis = _derivatives(stamps, index)
        noise = (stamps.sigma_noise[index] ** 2 * stamps.mask[index]).sum((1, 2))
        real = _left(stamps.image[index] - stamps.sersic[index], basis, stamps, index)
        seen.append((real - noise) / power[index])
        rows, n, y = galaxies.row[index], stamps.sersic_n[index], stamps.features[index]
        grid = grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index])
        shown = torch.empty(len(GAINS), draws, len(index))
        for d, (z, mirrored) in enumerate(latents):
            f = decode(z[rows], y)
            points = GridGeometry.of(grid, Jitter(stamps.q[index], mirrored[rows]))
            for g, gain in enumerate(GAINS):
                maps = drawn_maps(f, n, galaxies.frame[index], gain)
                image = observe(residual_grid(maps, points, n), stamps, index)
                shown[g, d] = _left(image - stamps.sersic[index], basis, stamps, index) / power[index]
        drawn.append(shown)
    real, samples = torch.cat(seen), torch.cat(drawn, 2)
    stronger = ((samples > real).float() * weight).sum(2).mean(1) / weight.sum()
    gain = float(np.exp(np.interp(0.5, stronger.numpy(), np.log(GAINS))))
    shares = ", ".join(f"{share:.2f} ({g:g})" for share, g in zip(stronger.tolist(), GAINS, strict=True))
    logger.info("samples of which a fit leaves more than of the galaxy, by gain: %s; chosen: %.3f", shares, gain)
    return gain


def left_by_fit(residual: Tensor, stamps: Stamps, index: Tensor) -> Tensor:
    """Power of residuals from stamps' Sersics after one linear step of a new fit, noise and all.

    The fit is of flux, size and index; shape and centre are those of all bands of a galaxy and stay.

    Parameters
    ----------
    residual : Tensor, shape (B, S, S)
    stamps : Stamps
    index : Tensor of int, shape (B,)

    Returns
    -------
    Tensor, shape (B,)
        Sum of squares over the usable pixels, weighted in the fit by their noise; in the stamps' own units.
    """
    return _left(residual, _derivatives(stamps, index), stamps, index)


def _left(residual: Tensor, basis: Tensor, stamps: Stamps, index: Tensor) -> Tensor:
    mask = stamps.mask[index]
    weight = mask / stamps.sigma_noise[index]
    columns = (basis * weight[:, None]).flatten(2)
    columns = columns / torch.linalg.vector_norm(columns, dim=2, keepdim=True).clamp(min=1e-20)
    data = (residual * weight).flatten(1)[:, :, None]
    small = 1e-6 * torch.eye(basis.shape[1])
    found = torch.linalg.solve(columns @ columns.mT + small, columns @ data)
    rest = (data - columns.mT @ found)[:, :, 0].view_as(residual) * stamps.sigma_noise[index]
    return (rest**2 * mask).sum((1, 2))


def _derivatives(stamps: Stamps, index: Tensor) -> Tensor:
    """Changes of the Sersics' images with flux, index and size, shape (B, 3, S, S)."""
    nothing = torch.zeros(len(index), GRID_SIZE, GRID_SIZE)
    base = observe(nothing, stamps, index)
    steeper = replace(stamps, sersic_n=stamps.sersic_n * (1 + _STEP))
    larger = replace(stamps, jacobian=stamps.jacobian * (1 + _STEP))
    return torch.stack([base, *(observe(nothing, one, index) - base for one in (steeper, larger))], 1)
