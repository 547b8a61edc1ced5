"""Correlated noise made white, whatever the mask: each pixel less what its neighbours before it tell of it.

The density of a Gaussian field is the product of the densities of each pixel given those before it. Given only a
few near ones it is still a density, of any mask, and for noise with a short memory nearly the right one (Vecchia
1988, J. R. Stat. Soc. B 50, 297). The neighbours here are the 3 x 3 block that ends in the pixel: for a correlation
that is a product of one along x and one along y, what lies beside that block adds nothing.

The correlation at lag 2 is taken as the cube of that of adjacent pixels, the one number that a stamp tells well.
Noise resampled by a kernel (a, 1, a) along both axes has less of it; but a density that knows two lags only and has
the kernel's own is too sure of smooth structure (errors of its amplitude up to a quarter too small at 0.6), and with
the cube it is right. Measured skies lie between the two.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "MAX_CORRELATION",
    "NUGGET",
    "correlated_noise",
    "noise_covariance",
    "usable_neighbours",
    "whiten",
    "whitening",
]

NUGGET = 0.01
"""Share of white noise in the variance. Resampled noise has next to no power at the finest scales; without it, errors
of the model there would count for hundreds of nats."""

MAX_CORRELATION = 0.66
"""Largest correlation of adjacent pixels; the kernel reaches 0.7."""

STEP = 0.005
"""Correlations are rounded to multiples of it: one table of coefficients a multiple."""

NEIGHBOURS = tuple((dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2) if dy or dx)
"""Steps back along rows and columns."""


def noise_covariance(correlation: float, dy: NDArray[np.integer], dx: NDArray[np.integer]) -> NDArray[np.float64]:
    """Correlation of pixels up to two rows and columns apart.

    Parameters
    ----------
    correlation : float
        Of adjacent pixels, in [0, `MAX_CORRELATION`].
    dy, dx : ndarray of int
        From -2 to 2, of one shape, which is the result's.
    """
    resampled = correlation / (1 - NUGGET)
    lags = np.array([1.0, resampled, resampled**3])
    return np.asarray((1 - NUGGET) * lags[np.abs(dy)] * lags[np.abs(dx)] + NUGGET * ((dy == 0) & (dx == 0)))


UNUSABLE = 2 ** len(NEIGHBOURS)
"""Column of a table for pixels that are not usable themselves."""


@lru_cache(maxsize=256)
def _table(step: int) -> Tensor:
    """Coefficients of `NEIGHBOURS` and of the pixel, for every set of usable neighbours; 0 in the last column.

    Shape (9, 257).
    """
    spots = np.array([*NEIGHBOURS, (0, 0)])
    apart = spots[:, None] - spots[None]
    covariance = noise_covariance(step * STEP, apart[..., 0], apart[..., 1])
    out = np.zeros((9, UNUSABLE + 1), np.float32)
    for code in range(UNUSABLE):
        known = np.array([j for j in range(8) if code >> j & 1], dtype=int)
        told = np.linalg.solve(covariance[np.ix_(known, known)], covariance[known, 8])
        scale = 1 / np.sqrt(1 - told @ covariance[known, 8])
        out[known, code] = -scale * told
        out[8, code] = scale
    return torch.from_numpy(out)


def usable_neighbours(mask: Tensor) -> Tensor:
    """Which neighbours of a pixel are usable, a bit each.

    Parameters
    ----------
    mask : Tensor, shape (B, S, S)
        1 where usable.

    Returns
    -------
    Tensor of uint8, shape (B, S, S)
    """
    out = torch.zeros(mask.shape, dtype=torch.uint8)
    padded = F.pad((mask > 0).to(torch.uint8), (2, 0, 2, 0))
    for bit, step in enumerate(NEIGHBOURS):
        out += _back(padded, *step) << bit
    return out


def whitening(mask: Tensor, neighbours: Tensor, correlation: Tensor) -> Tensor:
    """What `whiten` multiplies pixels by.

    Parameters
    ----------
    mask : Tensor, shape (B, S, S)
        1 where usable, else 0.
    neighbours : Tensor of uint8, shape (B, S, S)
        `usable_neighbours` of the mask.
    correlation : Tensor, shape (B,)
        Of adjacent pixels.

    Returns
    -------
    Tensor, shape (9, B, S, S)
        For each of `NEIGHBOURS`, and for the pixel itself. The map's determinant does not depend on the residuals:
        likelihoods of several models of one stamp compare without it.
    """
    steps = (correlation.clamp(0, MAX_CORRELATION) / STEP).round().long().tolist()
    tables = torch.stack([_table(step) for step in steps], 1)
    codes = torch.where(mask > 0, neighbours.long(), UNUSABLE).flatten(1)
    return tables.gather(2, codes.expand(9, -1, -1)).view(9, *mask.shape).to(mask.dtype)


def whiten(residual: Tensor, filters: Tensor) -> Tensor:
    """Residuals less what the pixels before them tell; of unit variance as before, and uncorrelated.

    Parameters
    ----------
    residual : Tensor, shape (B, S, S)
        In units of the noise; 0 where not usable.
    filters : Tensor, shape (9, B, S, S)
        From `whitening`.

    Returns
    -------
    Tensor, shape (B, S, S)
        0 where not usable.
    """
    padded = F.pad(residual, (2, 0, 2, 0))
    white = filters[8] * residual
    for bit, step in enumerate(NEIGHBOURS):
        white = torch.addcmul(white, filters[bit], _back(padded, *step))
    return white


def _back(padded: Tensor, dy: int, dx: int) -> Tensor:
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    return padded[..., 2 - dy : 2 - dy + height, 2 - dx : 2 - dx + width]


def correlated_noise(correlation: Tensor, size: int) -> Tensor:
    """White noise resampled by (a, 1, a) along both axes, and a little white noise; torch's global random numbers.

    Parameters
    ----------
    correlation : Tensor, shape (B,)
        Of adjacent pixels: ``(1 - NUGGET) 2 a / (1 + 2 a^2)``. At most `MAX_CORRELATION`.
    size : int
        Pixels along a side.

    Returns
    -------
    Tensor, shape (B, size, size)
        Of unit variance.
    """
    rho = correlation.clamp(0, MAX_CORRELATION) / (1 - NUGGET)
    a = (rho / (1 + torch.sqrt(1 - 2 * rho**2)))[:, None, None]
    white = torch.randn(len(correlation), size + 2, size + 2)
    rows = white[:, 1:-1] + a * (white[:, :-2] + white[:, 2:])
    both = (rows[..., 1:-1] + a * (rows[..., :-2] + rows[..., 2:])) / (1 + 2 * a * a)
    return (1 - NUGGET) ** 0.5 * both + NUGGET**0.5 * torch.randn(len(correlation), size, size)
