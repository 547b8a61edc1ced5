"""The gain with which samples look like real galaxies: found on the training galaxies, for discs and steeper ones.

A sample and its galaxy share their conditions and are compared by what a Sersic fit leaves of their images. Half of the
samples shall be the stronger, and samples shall differ in strength as galaxies do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyloom.generators.cvae.amplitude import drawn_maps, gain_at, strength_of
from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.encode import prior_features
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
from skyloom.physics.tables import SERSIC_N_RANGE

__all__ = ["GAIN", "GAINS", "POWERS", "fit_derivatives", "left_by_fit", "structure_gain"]

logger = logging.getLogger(__name__)

GAIN = "sampling.gain"
"""Name of the gain in a checkpoint."""
GAINS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""At which samples are drawn; a gain is looked for among all but the first and the last."""
POWERS = (1.0, 1.25, 1.5, 1.75, 2.0)
"""Between which the power of a sample's strength is looked for."""
_BATCH = 64
_FIT_FLOOR = 0.03  # share of the light: `skyloom.cutouts.fit_start.MODEL_FLOOR`
_RESOLVED = 4.7  # half-light radius in sigmas of the PSF: twice its full width at half maximum
_STEP = 0.02  # of the fit's numerical derivatives, relative; of the centre pixels


@torch.no_grad()
def structure_gain(
    decode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    prior: LatentPrior,
    stamps: Stamps,
    *,
    draws: int = 8,
    seed: int = 0,
) -> Tensor:
    """The gain with which samples look as strong, and of as different strength, as the galaxies of stamps.

    A sample and its galaxy share their conditions and are compared by `left_by_fit`, the stamps of one galaxy together
    counting once. Half of the samples shall be the stronger, and the logarithm of what is left shall scatter as much as
    that of galaxies (16 to 84 %): of those with a Sersic index below the median, and of those above. Stamps that tell
    are those of the brighter half whose half-light radius is twice the PSF's full width or more (at least a quarter of
    them): of smaller galaxies a fit leaves the detector's pixels and errors of the PSF.

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
    Tensor, shape (2, 3)
        The halves' median n, their gains (0.5 to 2.8) and powers (within `POWERS`); for `gain_at`. One row where all n
        are equal.
    """
    snr = (stamps.sersic**2 / stamps.sigma_noise**2 * stamps.mask).sum((1, 2)).sqrt()
    galaxies = Galaxies.of(stamps)
    told = prior_features(stamps.features, galaxies)[galaxies.row]
    bright = snr >= snr.median()
    widths = radius_in_pixels(stamps, torch.arange(len(stamps))) / stamps.psf_sigma
    resolved = widths >= widths[bright].quantile(0.75).clamp(max=_RESOLVED)
    chosen = torch.nonzero(bright & resolved)[:, 0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = [
            _drawn(decode, prior, stamps, index, told[index], galaxies.frame[index], draws)
            for index in chosen.split(_BATCH)
        ]
    left, strength, real = (torch.cat(part, -1) for part in zip(*parts, strict=True))
    weight = 1 / torch.bincount(galaxies.row[chosen])[galaxies.row[chosen]]
    n = stamps.sersic_n[chosen]
    rows = []
    for half in (n < n.median(), n >= n.median()):
        if not half.any():
            continue
        own = _Half(*(part[..., half].double().numpy() for part in (left, strength, real, weight)))
        rows.append([float(n[half].median()), *own.found()])
        logger.info("n = %.2f: gain %.3f, power %.2f", *rows[-1])
    return torch.tensor(rows)


@dataclass(frozen=True)
class _Half:
    """Galaxies and their samples: power left of the samples at each of `GAINS`, their strength, power left, weight."""

    left: NDArray[np.float64]  # draws, GAINS, B
    strength: NDArray[np.float64]  # draws, B
    real: NDArray[np.float64]  # B
    weight: NDArray[np.float64]

    def found(self) -> tuple[float, float]:
        """The gain and the power."""
        gains = [self._gain(power) for power in POWERS]
        wider = [
            self._width(self._seen(gain, power)) - self._width(self.real)
            for gain, power in zip(gains, POWERS, strict=True)
        ]
        power = float(np.interp(0.0, np.maximum.accumulate(wider), POWERS))
        return self._gain(power), power

    def _gain(self, power: float) -> float:
        """With which half of the samples are the stronger."""
        tried = GAINS[1:-1]
        share = [np.average((self._seen(gain, power) > self.real).mean(0), weights=self.weight) for gain in tried]
        return float(np.exp(np.interp(0.5, np.maximum.accumulate(share), np.log(tried))))

    def _seen(self, gain: float, power: float) -> NDArray[np.float64]:
        """Power left of the samples, shape (draws, B)."""
        table = torch.tensor([[1.0, gain, power]])
        strength = torch.from_numpy(self.strength)
        asked = np.log(gain_at(table, torch.ones_like(strength), strength).numpy())
        at = np.interp(asked, np.log(GAINS), np.arange(len(GAINS)))
        low = np.minimum(at.astype(np.int64), len(GAINS) - 2)
        below, above = (np.take_along_axis(self.left, k[:, None], 1)[:, 0] for k in (low, low + 1))
        return below + (at - low) * (above - below)

    def _width(self, left: NDArray[np.float64]) -> float:
        """From 16 to 84 per cent of the logarithms; what noise has made negative counts as least."""
        values, weight = left.ravel(), np.broadcast_to(self.weight, left.shape).ravel()
        order = np.argsort(values)
        cumulative = np.cumsum(weight[order]) - weight[order] / 2
        ends = np.interp([0.16 * weight.sum(), 0.84 * weight.sum()], cumulative, values[order])
        return float(np.diff(np.log(np.maximum(ends, 1e-4 * max(ends[1], 1e-30))))[0])


def _drawn(
    decode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    prior: LatentPrior,
    stamps: Stamps,
    index: Tensor,
    told: Tensor,
    frame: Tensor,
    draws: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Power left of samples at each of `GAINS`, their strengths, and power left of the galaxies themselves.

    Shapes (draws, GAINS, B), (draws, B) and (B,); powers in units of that of the Sersic's image, the noise's taken off.
    """
    basis = fit_derivatives(stamps, index)
    sky = (stamps.sigma_noise[index] ** 2 * stamps.mask[index]).sum((1, 2))
    light = (stamps.sersic[index] ** 2 * stamps.mask[index]).sum((1, 2))
    real = (left_by_fit(stamps.image[index] - stamps.sersic[index], basis, stamps, index) - sky) / light
    n, y = stamps.sersic_n[index], stamps.features[index]
    grid = grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index])
    left, strength = torch.zeros(draws, len(GAINS), len(index)), torch.zeros(draws, len(index))
    for draw in range(draws):
        z, mirrored = prior.draw(told, torch.randn(len(index), prior.noise_size))
        maps = decode(z, y)
        strength[draw] = strength_of(maps[1])
        points = GridGeometry.of(grid, Jitter(stamps.q[index], mirrored))
        for g, gain in enumerate(GAINS):
            f = drawn_maps(maps, n, frame, torch.full_like(n, gain))
            image = observe(residual_grid(f, points, n), stamps, index)
            left[draw, g] = left_by_fit(image - stamps.sersic[index], basis, stamps, index) / light
    return left, strength, real


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
    steeper = stamps.sersic_n * (1 + _STEP)  # less steep at the bound, beyond which none is drawn
    other = torch.where(steeper > SERSIC_N_RANGE[1], stamps.sersic_n * (1 - _STEP), steeper)
    changed = [replace(stamps, sersic_n=other)]
    for stretch in ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]):
        changed.append(replace(stamps, jacobian=(torch.eye(2) + _STEP * torch.tensor(stretch)) @ stamps.jacobian))
    changed += [replace(stamps, offset=stamps.offset + _STEP * along) for along in torch.eye(2)]
    return torch.stack([base, *(observe(nothing, one, index) - base for one in changed)], 1)
