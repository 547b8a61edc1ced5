"""The stamp sizes GalSim chooses by itself, for many galaxies at once, without building their profiles.

`galsim.GSObject.getGoodImageSize` asks a profile for its `stepk`. For a learned galaxy through a PSF and the pixel
that follows from a few numbers, by GalSim's own rules: a sum takes the smallest stepk of its parts, a map divides it
by its largest stretch, a shift and a convolution add up the radii pi / stepk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, gammaincinv

__all__ = ["learned_stepk", "stamp_sizes"]

Floats = NDArray[np.float64]

_SLOP = 1e-7
"""How well GalSim and we agree on the size before rounding; its root finder stops at about 1e-9."""


def learned_stepk(sersic_n: Floats, residual_width: float, gsparams: galsim.GSParams) -> Floats:
    """GalSim's stepk of learned galaxies in the canonical frame, shape (N,).

    Parameters
    ----------
    sersic_n : ndarray, shape (N,)
    residual_width : float
        Side of the residual's grid, canonical units; 0 for galaxies without one.
    gsparams : galsim.GSParams
        Its ``folding_threshold`` and ``stepk_minimum_hlr`` count.
    """
    b = gammaincinv(2 * sersic_n, 0.5)
    radius = np.maximum(gammainccinv(2 * sersic_n, gsparams.folding_threshold) ** sersic_n, gsparams.stepk_minimum_hlr)
    stepk = np.pi / (radius / b**sersic_n)
    return np.minimum(stepk, 2 * np.pi / residual_width) if residual_width else stepk


def stamp_sizes(
    stepk: Floats,
    maps: Sequence[tuple[Floats, Floats]],
    psf_stepk: Floats,
    to_image: Floats,
    image_shift: Floats,
    *,
    pixel: bool,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Good image sizes, as GalSim's drawing chooses them.

    Parameters
    ----------
    stepk : ndarray, shape (N,)
        Of the galaxies in the canonical frame.
    maps : sequence of (ndarray, ndarray), shapes (N, 2, 2) and (N, 2)
        From the canonical frame to the sky in arcsec, one after the other: matrix and shift. GalSim knows each map
        by its stretch alone, so a product of two counts for more than its own.
    psf_stepk : ndarray, shape (N,)
        Per arcsec.
    to_image : ndarray, shape (N, 2, 2)
        Sky to image, pixels per arcsec.
    image_shift : ndarray, shape (N, 2)
        Of the profile from the middle pixel of its stamp, pixels.
    pixel : bool
        Whether the pixel is convolved with.

    Returns
    -------
    sizes : ndarray of int, shape (N,)
    sure : ndarray of bool, shape (N,)
        False where GalSim may round to the other side.
    """
    radius = np.pi / stepk
    for matrix, shift in maps:
        radius = radius * _stretch(matrix) + np.hypot(*shift.T)
    radius = np.hypot(radius, np.pi / psf_stepk) * _stretch(to_image) + np.hypot(*image_shift.T)
    if pixel:
        radius = np.hypot(radius, math.pi / galsim.Pixel(1.0).stepk)
    wanted = 2 * radius
    low, high = (2 * ((np.ceil(wanted * (1 + e)).astype(np.int64) + 1) // 2) for e in (-_SLOP, _SLOP))
    return 2 * ((np.ceil(wanted * (1 - 1e-12)).astype(np.int64) + 1) // 2), low == high


def _stretch(matrix: Floats) -> Floats:
    """Largest singular value of 2 x 2 matrices."""
    a, b, c, d = (matrix[:, i, j] for i in (0, 1) for j in (0, 1))
    return np.asarray(0.5 * (np.hypot(a + d, b - c) + np.hypot(a - d, b + c)))
