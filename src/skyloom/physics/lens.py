"""Weak lensing as an affine map: the Jacobian sheared and magnified, flux times magnification."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import BadInputError
from skyloom.profiles import ProfileBatch

__all__ = ["lens_batch", "lens_matrix"]

Floats = NDArray[np.float64]


def lens_matrix(g1: Floats, g2: Floats, mu: Floats) -> Floats:
    """Map from the source to the image plane, as `galsim.GSObject.lens` has it.

    ``sqrt(mu / (1 - |g|^2)) [[1 + g1, g2], [g2, 1 - g1]]``, whose determinant is `mu` (Bartelmann & Schneider 2001,
    Phys. Rep. 340, 291, section 4.3, inverted).

    Parameters
    ----------
    g1, g2 : ndarray, shape (N,)
        Reduced shear, ``|g| < 1``.
    mu : ndarray, shape (N,)
        Magnification, positive.

    Returns
    -------
    ndarray, shape (N, 2, 2)
    """
    matrix = np.stack([np.stack([1 + g1, g2], -1), np.stack([g2, 1 - g1], -1)], -2)
    return np.asarray(matrix * np.sqrt(mu / (1 - g1**2 - g2**2))[:, None, None])


def lens_batch(batch: ProfileBatch, g1: Floats, g2: Floats, mu: Floats) -> ProfileBatch:
    """Lens galaxies: surface brightness stays, the rest follows from `lens_matrix`.

    Half-light radius, axis ratio and angle become those of the lensed ellipse.

    Parameters
    ----------
    batch : ProfileBatch
        N galaxies.
    g1, g2, mu : ndarray, shape (N,)

    Raises
    ------
    BadInputError
        For a shear or magnification that cannot be; names the galaxy.
    """
    bad = ~((np.hypot(g1, g2) < 1) & (mu > 0) & np.isfinite(mu))
    if bad.any():
        row = int(np.argmax(bad))
        error = BadInputError(
            f"galaxy {batch.galaxy_id[row]}: g1 = {g1[row]:g}, g2 = {g2[row]:g}, mu = {mu[row]:g} cannot be: "
            "|g| must be below 1 and mu positive"
        )
        error.galaxy_id = int(batch.galaxy_id[row])
        raise error
    matrix = lens_matrix(g1, g2, mu)
    jacobian = matrix @ batch.jacobian
    q, beta = _ellipse(jacobian)
    return replace(
        batch,
        jacobian=jacobian,
        offset=np.einsum("nij,nj->ni", matrix, batch.offset),
        flux=batch.flux * mu,
        half_light_radius=batch.half_light_radius * np.sqrt(mu),
        q=q,
        beta=beta,
    )


def _ellipse(jacobian: Floats) -> tuple[Floats, Floats]:
    """Axis ratio, and angle of the major axis (radians), of the circle's images."""
    a, b, c, d = (jacobian[:, i, j] for i in (0, 1) for j in (0, 1))
    xx, xy, yy = a * a + b * b, a * c + b * d, c * c + d * d
    major = 0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy)
    return np.minimum(np.abs(a * d - b * c) / major, 1.0), 0.5 * np.arctan2(2 * xy, xx - yy)
