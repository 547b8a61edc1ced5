"""How strong structure is drawn: so that a Sersic fit leaves as much of samples as of real galaxies.

A decoder that has learned from blurred and noisy stamps draws less than is there, and a prior that has learned from its
latents less again. What is missing is one number, found on the training galaxies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.features import without_band
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, observe, residual_grid
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import LatentPrior
from skyloom.generators.cvae.projection import unabsorbed
from skyloom.generators.cvae.structure_scale import scaled_maps

__all__ = ["GAIN", "GAINS", "drawn_maps", "left_by_fit", "structure_gain"]

logger = logging.getLogger(__name__)

GAIN = "sampling.gain"
"""Name of the gain in a checkpoint."""
GAINS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Between which the gain is looked for."""
_BATCH = 64
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
        By which f is multiplied.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        In the galaxy's own half-light radii, without what a Sersic fit would absorb.
    """
    own, reference = (gain * scaled_maps(one, scale) for one in f)
    return unabsorbed(own, sersic_n, reference)


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

    Both are compared by `left_by_fit`, in the brighter half of the stamps, those of one galaxy together counting once:
    the medians shall agree.

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
    target = _median(torch.cat(seen), weight)
    found = [_median(values.flatten(), weight.repeat(draws)) for values in torch.cat(drawn, 2)]
    if not target > 0 or not min(found) > 0:
        logger.warning("no structure to compare samples with: they are drawn as decoded")
        return 1.0
    gain = float(np.exp(np.interp(math.log(target), np.log(found), np.log(GAINS))))
    logger.info("a fit leaves %.3f of real galaxies, %s of samples: gain %.3f", math.sqrt(target),
                ", ".join(f"{math.sqrt(v):.3f} ({g:g})" for v, g in zip(found, GAINS, strict=True)), gain)  # fmt: skip
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


def _median(values: Tensor, weight: Tensor) -> float:
    """Where half of the weight lies below."""
    values, order = values.sort()
    share = weight[order].cumsum(0) / weight.sum()
    return float(values[int(torch.searchsorted(share, 0.5))])
