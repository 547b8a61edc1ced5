"""How strong structure is drawn: so that a Sersic fit leaves as much of samples as of real galaxies.

A decoder that has learned from blurred and noisy stamps draws less than is there, and a prior that has learned from its
latents less again. What is missing is found on the training galaxies, for discs and for steeper ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.encode import prior_features
from skyloom.generators.cvae.frame import node_radii, without_cusp
from skyloom.generators.cvae.instrument import (
    GridGeometry,
    Jitter,
    grid_points,
    observe,
    radius_in_pixels,
    residual_grid,
)
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import LatentPrior
from skyloom.generators.cvae.projection import unabsorbed
from skyloom.generators.cvae.structure_scale import scaled_maps
from skyloom.physics.sersic import sersic_surface_brightness

__all__ = ["GAIN", "GAINS", "drawn_maps", "fit_derivatives", "gain_at", "left_by_fit", "structure_gain"]

logger = logging.getLogger(__name__)

GAIN = "sampling.gain"
"""Name of the gain in a checkpoint."""
GAINS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Between which the gain is looked for."""
_BATCH = 64
_R = node_radii()
_FAINT = 0.05  # surface brightness, of flux 1 and half-light radius 1
_FADES, _OUTSKIRTS, _END = 2.0, 3.0, 4.4  # half-light radii
_DARKEST, _DARKEST_CORE, _CORE = 1.3, 0.5, 0.35  # -f in a galaxy's body and at its centre, and where that turns
_LIFTED = ((_R - 1.2) / (2.2 - 1.2)).clamp(0, 1)  # half-light radii between which that limit is lifted
_DARKEST_AT = (_DARKEST_CORE + (_DARKEST - _DARKEST_CORE) * (_R / _CORE).clamp(max=1)) * (3 / _DARKEST) ** _LIFTED
_BRIGHTEST = 2.0  # of f
_INNER = _R[_R < 0.45]  # where the mean profile does not fall inwards
_FIT_FLOOR = 0.03  # share of the light: `skyloom.cutouts.fit_start.MODEL_FLOOR`
_RESOLVED = 4.7  # half-light radius in sigmas of the PSF: twice its full width at half maximum
_STEP = 0.02  # of the fit's numerical derivatives, relative; of the centre pixels


def drawn_maps(f: tuple[Tensor, Tensor], sersic_n: Tensor, scale: Tensor, gain: Tensor) -> Tensor:
    """Maps as samples show them.

    Parameters
    ----------
    f : tuple of two Tensors, shape (B, ROWS, COLUMNS)
        Of `Decoder.maps`.
    sersic_n, scale : Tensor, shape (B,)
        `scale` as `scaled_maps` takes it.
    gain : Tensor, shape (B,)
        By which f is multiplied where the galaxy is bright; where it is faint stamps told little, and f stays.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        In the galaxy's own half-light radii, without what a Sersic fit would absorb.
    """
    light = sersic_surface_brightness(sersic_n[:, None], _R)
    strength = (1 + (gain[:, None] - 1) * light / (light + _FAINT))[:, :, None]
    own, reference = (strength * scaled_maps(one, scale) for one in f)
    return _fading(_without_pit(_limited(unabsorbed(own, sersic_n, reference)), sersic_n))


def _limited(f: Tensor) -> Tensor:
    """Maps of which nothing in the galaxy's body is darker than about a third of the Sersic, or brighter than 7 times.

    A gain deepens what is dark as it brightens what is bright. Of well seen galaxies all but one node in a hundred are
    above -1.1 between 0.15 and 1 half-light radii, in their posterior means (docs/models.md); further out galaxies
    do end, and next to the nucleus a dark spot is the decoder's more often than a galaxy's. Where the projection makes
    up for a ring by a nucleus, one more than some e^2 times the Sersic is a spike that pixels of the grid cannot hold:
    the light beside it was negative.
    """
    limit = _DARKEST_AT[:, None]
    bright = f / (1 + (f.clamp(min=0) / _BRIGHTEST) ** 4) ** 0.25
    return torch.where(f < 0, limit * torch.tanh(f / limit), bright)


def _without_pit(f: Tensor, sersic_n: Tensor) -> Tensor:
    """Maps with which the mean profile does not fall towards the centre on the rows of `_INNER`.

    A core that is flatter than the Sersic is told by f < 0 there, which leaves the Sersic's cusp alone: a bright point
    in a dark ring. The mean is that of f: light's own is that of knots, and filled to it a core is a disc with an edge.
    """
    inner, outer = f.split([len(_INNER), len(_R) - len(_INNER)], 1)
    blunt = sersic_surface_brightness(sersic_n[:, None], without_cusp(_INNER))
    light = sersic_surface_brightness(sersic_n[:, None], _INNER) + blunt * torch.expm1(inner.mean(2))
    filled = light.flip(1).cummax(1).values.flip(1) - light
    return torch.cat([torch.log(torch.exp(inner) + (filled / blunt)[:, :, None]), outer], 1)


def _fading(f: Tensor) -> Tensor:
    """Maps that fade from `_FADES` on, more slowly than the decoder lets them end: no edge shows in a galaxy's wings.

    Galaxies that end stay dark outside: where the mean over phi is negative f fades so slowly that no ring of the
    Sersic's light comes back.
    """
    left = 0.5 + 0.5 * torch.cos(torch.pi * ((_R - _FADES) / (_END - _FADES)).clamp(0, 1))
    ring = f.mean(2)
    outside = _R > _OUTSKIRTS
    last = int((~outside).sum()) - 1
    held = ring[:, last : last + 1] * ((_END - _R) / (_END - _R[last])).clamp(min=0)
    faded = torch.where((ring < 0) & ~outside, ring, ring * left)
    kept = torch.where(outside, torch.minimum(faded, held), faded)
    return left[:, None] * (f - ring[:, :, None]) + kept[:, :, None]


def gain_at(table: Tensor, sersic_n: Tensor) -> Tensor:
    """The gain at Sersic indices (B,): between the rows (n, gain) of a table, logarithms in both, constant beyond."""
    at, values = (table[:, k].log().double().numpy() for k in (0, 1))
    found = np.exp(np.interp(np.log(sersic_n.double().numpy()), at, values))
    return torch.from_numpy(found).to(sersic_n)


@torch.no_grad()
def structure_gain(
    decode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    prior: LatentPrior,
    stamps: Stamps,
    *,
    draws: int = 8,
    seed: int = 0,
) -> Tensor:
    """The gain with which samples look as strong as the galaxies of stamps.

    A sample and its galaxy share their conditions and are compared by `left_by_fit`, the stamps of one galaxy together
    counting once. Half of the samples shall be the stronger: of those with a Sersic index below the median, and of
    those above. Stamps that tell are those of the brighter half whose half-light radius is twice the PSF's full width
    or more (at least a quarter of them): of smaller galaxies a fit leaves the detector's pixels and errors of the PSF.

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
    Tensor, shape (2, 2)
        The halves' median n, and their gains, within `GAINS`; for `gain_at`. One row where all n are equal.
    """
    snr = (stamps.sersic**2 / stamps.sigma_noise**2 * stamps.mask).sum((1, 2)).sqrt()
    galaxies = Galaxies.of(stamps)
    told = prior_features(stamps.features, galaxies)[galaxies.row]
    bright = snr >= snr.median()
    widths = radius_in_pixels(stamps, torch.arange(len(stamps))) / stamps.psf_sigma
    resolved = widths >= widths[bright].quantile(0.75).clamp(max=_RESOLVED)
    chosen = torch.nonzero(bright & resolved)[:, 0]
    weight = 1 / torch.bincount(galaxies.row[chosen])[galaxies.row[chosen]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = [
            _stronger(decode, prior, stamps, index, told[index], galaxies.frame[index], draws)
            for index in chosen.split(_BATCH)
        ]
    stronger = torch.cat(parts, 1)
    n = stamps.sersic_n[chosen]
    rows = []
    for half in (n < n.median(), n >= n.median()):
        if not half.any():
            continue
        share = (stronger[:, half] * weight[half]).sum(1) / weight[half].sum()
        gain = float(np.exp(np.interp(0.5, share.numpy(), np.log(GAINS))))
        rows.append([float(n[half].median()), gain])
        shares = ", ".join(f"{one:.2f} ({g:g})" for one, g in zip(share.tolist(), GAINS, strict=True))
        logger.info("n = %.2f: samples of which a fit leaves more than of the galaxy, by gain: %s; chosen: %.3f",
                    rows[-1][0], shares, gain)  # fmt: skip
    return torch.tensor(rows)


def _stronger(
    decode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    prior: LatentPrior,
    stamps: Stamps,
    index: Tensor,
    told: Tensor,
    frame: Tensor,
    draws: int,
) -> Tensor:
    """Share of the draws of each stamp that are stronger than its galaxy, at each of `GAINS`; shape (GAINS, B)."""
    basis = fit_derivatives(stamps, index)
    sky = (stamps.sigma_noise[index] ** 2 * stamps.mask[index]).sum((1, 2))
    real = left_by_fit(stamps.image[index] - stamps.sersic[index], basis, stamps, index) - sky
    n, y = stamps.sersic_n[index], stamps.features[index]
    grid = grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index])
    found = torch.zeros(len(GAINS), len(index))
    for _ in range(draws):
        z, mirrored = prior.draw(told, torch.randn(len(index), prior.noise_size))
        maps = decode(z, y)
        points = GridGeometry.of(grid, Jitter(stamps.q[index], mirrored))
        for g, gain in enumerate(GAINS):
            f = drawn_maps(maps, n, frame, torch.full_like(n, gain))
            image = observe(residual_grid(f, points, n), stamps, index)
            found[g] += (left_by_fit(image - stamps.sersic[index], basis, stamps, index) > real).float() / draws
    return found


def left_by_fit(residual: Tensor, basis: Tensor, stamps: Stamps, index: Tensor) -> Tensor:
    """Power of residuals from stamps' Sersics after one linear step of a new fit to each, noise and all.

    Parameters
    ----------
    residual : Tensor, shape (B, S, S)
    basis : Tensor, shape (B, 7, S, S)
        `fit_derivatives`.
    stamps : Stamps
    index : Tensor of int, shape (B,)

    Returns
    -------
    Tensor, shape (B,)
        Sum of squares over the usable pixels, in the stamps' own units. In the fit they weigh as in those that gave the
        conditions: a share of the light counts as error beside the noise.
    """
    mask = stamps.mask[index]
    sigma = torch.hypot(stamps.sigma_noise[index], _FIT_FLOOR * stamps.sersic[index])
    weight = mask / sigma
    columns = (basis * weight[:, None]).flatten(2)
    columns = columns / torch.linalg.vector_norm(columns, dim=2, keepdim=True).clamp(min=1e-20)
    data = (residual * weight).flatten(1)[:, :, None]
    small = 1e-6 * torch.eye(basis.shape[1])
    found = torch.linalg.solve(columns @ columns.mT + small, columns @ data)
    rest = (data - columns.mT @ found)[:, :, 0].view_as(residual) * sigma
    return (rest**2 * mask).sum((1, 2))


def fit_derivatives(stamps: Stamps, index: Tensor) -> Tensor:
    """Changes of the Sersics' images with flux, index, size, shape (2) and centre (2), shape (B, 7, S, S)."""
    nothing = torch.zeros(len(index), GRID_SIZE, GRID_SIZE)
    base = observe(nothing, stamps, index)
    changed = [replace(stamps, sersic_n=stamps.sersic_n * (1 + _STEP))]
    for stretch in ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]):
        changed.append(replace(stamps, jacobian=(torch.eye(2) + _STEP * torch.tensor(stretch)) @ stamps.jacobian))
    changed += [replace(stamps, offset=stamps.offset + _STEP * along) for along in torch.eye(2)]
    return torch.stack([base, *(observe(nothing, one, index) - base for one in changed)], 1)
