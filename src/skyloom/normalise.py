"""The Sersic profile in the canonical frame, and the dilation that keeps the half-light radius exact.

The canonical Sersic has flux 1 and half-light radius 1: S(r) = S0 exp(-b r^(1/n)) with b from gamma(2n, b) =
Gamma(2n) / 2 (Ciotti 1991, A&A 249, 99). Its enclosed flux is the regularised incomplete gamma function
P(2n, b r^(1/n)).
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import gammainc, gammaincinv, gammaln

from skyloom.errors import PluginError

__all__ = ["dilation", "sersic_enclosed", "sersic_profile"]

Floats = NDArray[np.float64]
_NODES = 6  # circles between which the enclosed residual is interpolated: good to 1e-6 for a smooth one
_AT_ONCE = 64  # galaxies, to stay in the processor's caches
_STEPS = 20  # of bisection within one grid point: to 1e-6 of it


def sersic_profile(r: ArrayLike, sersic_n: ArrayLike) -> Floats:
    """Surface brightness of the canonical Sersic.

    Parameters
    ----------
    r : array_like
        Canonical units.
    sersic_n : array_like
        Broadcasts against `r`.

    Returns
    -------
    ndarray
        Flux per canonical area.
    """
    r, n = np.asarray(r, dtype=np.float64), np.asarray(sersic_n, dtype=np.float64)
    b = gammaincinv(2 * n, 0.5)
    log_peak = 2 * n * np.log(b) - gammaln(2 * n) - np.log(2 * np.pi * n)
    return cast(Floats, np.exp(log_peak - b * r ** (1 / n)))


def sersic_enclosed(r: ArrayLike, sersic_n: ArrayLike) -> Floats:
    """Flux of the canonical Sersic inside a circle of radius `r` (canonical units); one at infinity."""
    r, n = np.asarray(r, dtype=np.float64), np.asarray(sersic_n, dtype=np.float64)
    return cast(Floats, gammainc(2 * n, gammaincinv(2 * n, 0.5) * r ** (1 / n)))


def dilation(residual: NDArray[np.float32] | None, grid_scale: float, sersic_n: ArrayLike) -> Floats:
    """Half-light radius of Sersic and residual together, in units of the Sersic's own.

    A Jacobian divided by it gives the profile the half-light radius the Jacobian was made for.

    Parameters
    ----------
    residual : ndarray of float32, shape (N, G, G), or None
        Surface brightness in units of the Sersic's flux per canonical area.
    grid_scale : float
        Canonical units per grid point.
    sersic_n : array_like, shape (N,)

    Returns
    -------
    ndarray, shape (N,)
        Canonical units; 1 without a residual.

    Raises
    ------
    PluginError
        When the profile of a row has no positive total flux, is not finite, or has less than half of its
        light on the grid.
    """
    n = np.atleast_1d(np.asarray(sersic_n, dtype=np.float64))
    if residual is None or not len(residual):
        return np.ones(len(n))
    from skyloom.residual_grid import folded, ring_weights  # brings galsim

    radii, rings = ring_weights(residual.shape[-1], float(grid_scale))
    learned = np.concatenate([
        _enclosed(folded(residual[i : i + _AT_ONCE]), rings) for i in range(0, len(residual), _AT_ONCE)
    ])  # fmt: skip
    total = 1.0 + residual.sum((1, 2), dtype=np.float64) * grid_scale**2
    if not np.all(total > 0):
        row = int(np.argmin(total > 0))
        raise PluginError(f"residual of row {row}: it leaves {total[row]:.4g} of the Sersic's flux")

    b = gammaincinv(2 * n, 0.5)
    more = learned + gammainc(2 * n[:, None], b[:, None] * radii ** (1 / n[:, None])) > total[:, None] / 2
    if not more.any(1).all():
        row = int(np.argmin(more.any(1)))
        raise PluginError(f"residual of row {row}: half of the light lies beyond its grid")
    cell = more.argmax(1)  # the first circle with more than half of the light
    first = np.clip(cell - _NODES // 2, 0, len(radii) - _NODES)  # as many circles on each side
    learned = np.take_along_axis(learned, first[:, None] + np.arange(_NODES), axis=1)
    step = radii[1]
    low, high = radii[cell - 1], radii[cell]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        above = gammainc(2 * n, b * middle ** (1 / n)) + _lagrange(learned, middle / step - first) > total / 2
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2


def _enclosed(residual: NDArray[np.float32], rings: csr_array) -> Floats:
    """Flux of folded residuals inside circles, shape (N, K), from the weights of the rings between them.

    The sparse product's last digits do not depend on a galaxy's place in the batch, as those of a dense one do.
    """
    flat = np.ascontiguousarray(residual.reshape(len(residual), residual.shape[1] * residual.shape[2]).T)
    return np.cumsum(rings @ flat, axis=0, dtype=np.float64).T


def _lagrange(values: Floats, t: Floats) -> Floats:
    """Polynomial through `values`, shape (N, K), at 0 ... K - 1; evaluated at `t`, shape (N,)."""
    out = np.zeros_like(t)
    for k in range(_NODES):
        others = [j for j in range(_NODES) if j != k]
        out += values[:, k] * np.prod([(t - j) / (k - j) for j in others], axis=0)
    return out
