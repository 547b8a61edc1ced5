"""Which galaxies are drawn on two Fourier grids.

A large stamp of a small cusp needs many wavenumbers up to where the PSF ends. Parted by a
`skyloom.physics.windows.Window` it needs all of them in a small period, and few in the large one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyloom.normalise import sersic_profile
from skyloom.physics.psf import Psf
from skyloom.physics.windows import Window

__all__ = ["core_samples"]

_SMALLEST, _LADDER = 41, 1.5
_ROOM = 1.1  # of the half-period, in units of the residual's reach
_CENTRED = 2.0  # pixels from the stamp's centre; further out a galaxy is drawn on one grid
_WORTH = 0.6  # wavenumbers of two grids over those of one
_WINGS_TOLERANCE = 1e-5
_EDGE_ON, _EDGE_ON_TOLERANCE = 28.0, 1e-6
_SHARP = 0.5  # Sersic index below which a disc has an end

Floats = NDArray[np.float64]


def core_samples(
    psf: Psf,
    samples: NDArray[np.int64],
    *,
    pixel_scale: float,
    stamp_size: int,
    sersic_n: Floats,
    jacobian: Floats,
    offset: Floats,
    reach: Floats,
    peak: Floats,
) -> NDArray[np.int64]:
    """Samples of the PSF in the small period of each galaxy; 0 for galaxies on one grid.

    Parameters
    ----------
    psf : Psf
    samples : ndarray of int, shape (N,)
        In the large period.
    pixel_scale, stamp_size
        Arcsec, pixels.
    sersic_n : ndarray, shape (N,)
    jacobian : ndarray, shape (N, 2, 2)
        Arcsec per canonical unit.
    offset : ndarray, shape (N, 2)
        Arcsec.
    reach : ndarray, shape (N,)
        Of the residual from the galaxy's centre along an axis, arcsec.
    peak : ndarray, shape (N,)
        Of the image, per square arcsec for flux 1.
    """
    longest, shortest = np.linalg.svd(jacobian, compute_uv=False).T
    edge_on = np.exp(-_EDGE_ON * shortest / longest)
    # light from further in that the PSF brings: more where the disc ends sharply, whose end is fine as well
    margin = np.where(sersic_n < _SHARP, 8.0, 2.0) * (1 / psf.peak(pixel_scale) / np.pi) ** 0.5
    core = np.zeros(len(samples), dtype=np.int64)
    todo = np.flatnonzero(np.abs(offset).max(axis=1) < _CENTRED * pixel_scale)
    rung = float(_SMALLEST)
    while len(todo):
        size = int(rung) | 1
        half = size * psf.step / 2
        end = Window.for_half_period(half).end
        if size * psf.step > 0.8 * stamp_size * pixel_scale:
            break
        worth = (end / psf.maxk * samples[todo]) ** 2 + size**2 < _WORTH * samples[todo] ** 2
        if end < 0.8 * psf.maxk:
            good = half > _ROOM * reach[todo] + _CENTRED * pixel_scale / 2
            # a disc seen edge on is fine across wherever it is bright: by exp(-k times its thickness there)
            inside = np.maximum(half - margin[todo], 0) / longest[todo]
            along = sersic_profile(inside, sersic_n[todo]) / (longest * shortest)[todo]
            good &= along * edge_on[todo] < _EDGE_ON_TOLERANCE * peak[todo]
            good &= 0.5 * psf.edge(size) < _WINGS_TOLERANCE * peak[todo]
            core[todo[good & worth]] = size
            todo = todo[~good]
        rung *= _LADDER
    return core
