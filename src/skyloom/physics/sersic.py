"""The circular Sersic profile of half-light radius 1 and flux 1, in both spaces, in torch.

    I(r) = b^(2n) / (2 pi n Gamma(2n)) exp(-b r^(1/n)),   P(2n, b) = 1/2

with P the regularised incomplete gamma function (Ciotti & Bertin 1999, A&A 352, 447). Valid for n in 0.3 to 6.2,
as in GalSim.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial.chebyshev import Chebyshev, cheb2poly
from numpy.typing import NDArray
from scipy.special import gammaincinv

from skyloom.physics.tables import SERSIC_N_RANGE, Table, enclosed_table, galaxy_rows, look_up, transform_table

__all__ = ["sersic_b", "sersic_enclosed_flux", "sersic_kvalue", "sersic_ln_norm", "sersic_surface_brightness"]


@lru_cache(maxsize=8)
def _b_series(dtype: torch.dtype, device: str) -> torch.Tensor:
    """Coefficients of b(n) / n in powers of ln n scaled to (-1, 1): within 1e-9 of the exact."""

    def ratio(ln_n: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gammaincinv(2 * np.exp(ln_n), 0.5) / np.exp(ln_n))

    series = Chebyshev.interpolate(ratio, 16, domain=list(np.log(SERSIC_N_RANGE)))
    return torch.from_numpy(cheb2poly(series.coef)).to(dtype=dtype, device=device)


def sersic_b(n: torch.Tensor) -> torch.Tensor:
    """The b of a Sersic index, for which half of the flux lies within radius 1.

    Parameters
    ----------
    n : Tensor
        Sersic index, any shape.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    low, high = np.log(SERSIC_N_RANGE)
    x = (2 * torch.log(n) - (low + high)) / (high - low)
    coefficients = _b_series(n.dtype, str(n.device))
    powers = x[..., None] ** torch.arange(len(coefficients), dtype=n.dtype, device=n.device)
    ratio: torch.Tensor = powers @ coefficients
    return n * ratio


def sersic_ln_norm(n: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Logarithm of the central surface brightness, for n and ``b = sersic_b(n)`` of any shape."""
    return 2 * n * torch.log(b) - torch.log(2 * math.pi * n) - torch.lgamma(2 * n)


def sersic_surface_brightness(n: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Surface brightness at a radius.

    Parameters
    ----------
    n : Tensor
        Sersic index.
    r : Tensor
        Radius in half-light radii; broadcast against `n`.

    Returns
    -------
    Tensor
        Flux per square half-light radius, for flux 1. At r = 0 the gradient with respect to r is 0.
    """
    b = sersic_b(n)
    # the cusp's infinite gradient at the very centre would turn a whole batch's gradient into NaN
    ln_r = torch.log(torch.clamp(r, min=1e-30))
    return torch.exp(sersic_ln_norm(n, b) - b * torch.exp(ln_r / n))


def sersic_kvalue(n: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Fourier transform of the profile.

    Parameters
    ----------
    n : Tensor, shape (B,)
        Sersic index.
    k : Tensor, shape (B, ...)
        Wavenumber, radians per half-light radius.

    Returns
    -------
    Tensor, shape (B, ...)
        1 at k = 0; absolute error about 1e-5.
    """
    return _by_galaxy(transform_table(), n, k)


def sersic_enclosed_flux(n: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Fraction of the flux within a radius.

    Parameters
    ----------
    n : Tensor, shape (B,)
        Sersic index.
    r : Tensor, shape (B, ...)
        Radius in half-light radii.

    Returns
    -------
    Tensor, shape (B, ...)
    """
    return _by_galaxy(enclosed_table(), n, r)


def _by_galaxy(table: Table, n: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return look_up(galaxy_rows(table, n), torch.log1p((x / table.x0).square()) / table.t_step)
