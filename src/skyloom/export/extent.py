"""How large a stamp each galaxy needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv, gammaln

from skyloom.export.settings import ExportSettings
from skyloom.profiles import ProfileBatch

__all__ = ["edge_brightness", "sersic_central_brightness", "stamp_sizes"]

_WIDEST_PSF = 0.7  # arcsec, FWHM: a wider PSF lowers a compact galaxy's peak more than its wings
_LEAST = 32  # pixels; GalSim's quality cuts want 11 pixels from the centre to the nearest masked one
_LADDER = 1.12  # galaxies of one step are drawn together
_LEARNED = 4.0  # canonical units: the residual is led to zero beyond


def sersic_central_brightness(sersic_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Central surface brightness of a circular Sersic of flux 1 and half-light radius 1, shape (N,).

    Ciotti (1991, A&A 249, 99): b^2n / (2 pi n Gamma(2n)), with b the solution of P(2n, b) = 1/2.
    """
    n = np.asarray(sersic_n, dtype=np.float64)
    b = gammaincinv(2 * n, 0.5)
    return np.asarray(np.exp(2 * n * np.log(b) - gammaln(2 * n)) / (2 * math.pi * n))


def stamp_sizes(batch: ProfileBatch, settings: ExportSettings) -> NDArray[np.int64]:
    """Pixels along the side of each galaxy's stamp, even, shape (N,).

    The stamp's half holds the ellipse on which the Sersic has faded to `tolerance` of the peak that a PSF with a
    FWHM of 0.7 arcsec would leave, and the residual's grid.
    """
    n = np.asarray(batch.sersic_n, dtype=np.float64)
    b = gammaincinv(2 * n, 0.5)
    faintest = settings.tolerance * _peak(batch) * np.abs(np.linalg.det(batch.jacobian))
    decades = np.log(np.maximum(sersic_central_brightness(n) / faintest, 1.0)) / b
    reach = np.maximum(decades**n, 0.0)
    if batch.residual is not None:
        reach = np.maximum(reach, np.where(np.any(batch.residual, axis=(1, 2)), _LEARNED, 0.0))
    along = np.sqrt((batch.jacobian**2).sum(axis=2)).max(axis=1)  # an ellipse's larger half-width of x and y
    half = reach * along + np.abs(batch.offset).max(axis=1) + 2 * settings.psf_fwhm
    wanted = np.maximum(2 * half / settings.pixel_scale, _LEAST)
    rung = np.ceil(np.log(wanted / _LEAST) / math.log(_LADDER) - 1e-9)
    size = np.minimum(2 * np.ceil(_LEAST * _LADDER**rung / 2), settings.max_stamp_size // 2 * 2)
    return size.astype(np.int64)


def edge_brightness(batch: ProfileBatch, sizes: NDArray[np.int64], settings: ExportSettings) -> NDArray[np.float64]:
    """Brightest surface brightness left outside the stamps, in units of the peak of `stamp_sizes`; shape (N,)."""
    n = np.asarray(batch.sersic_n, dtype=np.float64)
    b = gammaincinv(2 * n, 0.5)
    along = np.sqrt((batch.jacobian**2).sum(axis=2)).max(axis=1)
    half = sizes * settings.pixel_scale / 2 - np.abs(batch.offset).max(axis=1)
    radius = np.maximum(half, 0.0) / along
    brightness = sersic_central_brightness(n) * np.exp(-b * radius ** (1 / n))
    return np.asarray(brightness / np.abs(np.linalg.det(batch.jacobian)) / _peak(batch))


def _peak(batch: ProfileBatch) -> NDArray[np.float64]:
    """Of the Sersic of flux 1 seen with the widest PSF, per arcsec^2, from below.

    A point has 4 ln 2 / (pi FWHM^2); of a galaxy, that share of the light within half the FWHM.
    """
    n = np.asarray(batch.sersic_n, dtype=np.float64)
    area = np.abs(np.linalg.det(batch.jacobian))
    radius = _WIDEST_PSF / 2 / np.sqrt(area)
    inside = gammainc(2 * n, gammaincinv(2 * n, 0.5) * radius ** (1 / n))
    return np.asarray(inside * 4 * math.log(2) / (math.pi * _WIDEST_PSF**2))
