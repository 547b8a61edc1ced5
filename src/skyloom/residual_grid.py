"""The learned residual between its grid points: values, band limit and light inside circles.

The residual is defined everywhere through GalSim's quintic interpolant, six grid points wide (Bernstein &
Gruen 2014, PASP 126, 287). A grid of G x G points with spacing `grid_scale` has its true centre at the
origin; rows run along +y.
"""

from __future__ import annotations

import math
from functools import lru_cache

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

__all__ = ["aperture_weights", "band_limit", "folded", "interpolate", "oversample", "ring_weights"]

_QUINTIC = galsim.Quintic()
_REACH = 3  # the kernel is zero beyond three grid points
_TAPS = np.arange(1 - _REACH, 1 + _REACH)
_PAD = 2 * _REACH

Floats = NDArray[np.float64]


def interpolate(residual: NDArray[np.floating], grid_scale: float, x: Floats, y: Floats) -> Floats:
    """Residual at any points.

    Parameters
    ----------
    residual : ndarray, shape (G, G)
    grid_scale : float
        Canonical units per grid point.
    x, y : ndarray, shape (P,)
        Canonical units.

    Returns
    -------
    ndarray, shape (P,)
        In the residual's unit; zero where no grid point is in reach.
    """
    size = len(residual)
    u, v = x / grid_scale + (size - 1) / 2, y / grid_scale + (size - 1) / 2
    out = np.zeros(np.shape(x))
    near = np.flatnonzero((np.minimum(u, v) > -_REACH) & (np.maximum(u, v) < size - 1 + _REACH))
    if not len(near):
        return out
    padded = np.pad(np.asarray(residual, dtype=np.float64), _PAD)
    column, weight_x = _taps(u[near])
    row, weight_y = _taps(v[near])
    values = padded[row[:, :, None] + _PAD, column[:, None, :] + _PAD]
    out[near] = np.einsum("pij,pi,pj->p", values, weight_y, weight_x)
    return out


def _taps(u: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Indices of the six grid points in reach of each position, and their weights; both of shape (P, 6)."""
    index = np.floor(u).astype(np.int64)[:, None] + _TAPS
    return index, _kernel(u[:, None] - index)


def _kernel(x: Floats) -> Floats:
    return np.asarray(_QUINTIC.xval(x.ravel())).reshape(x.shape)  # GalSim takes one dimension only


def oversample(residual: NDArray[np.floating], factor: int = 2) -> Floats:
    """Residual on a grid `factor` times finer about the same centre; from (G, G) to (factor G, factor G)."""
    kernel = _oversampling(len(residual), factor)
    return kernel @ np.asarray(residual, dtype=np.float64) @ kernel.T


@lru_cache(maxsize=8)
def _oversampling(size: int, factor: int) -> Floats:
    fine = (np.arange(size * factor) + 0.5) / factor - 0.5
    return _kernel(fine[:, None] - np.arange(size))


def band_limit(residual: NDArray[np.floating], grid_scale: float, threshold: float) -> float:
    """Wavenumber beyond which the residual's Fourier amplitude stays below `threshold`.

    Counts the copies of the grid's spectrum that the interpolant leaves, up to three times the Nyquist
    frequency.

    Parameters
    ----------
    residual : ndarray, shape (G, G)
        Surface brightness in units of a flux F per canonical area.
    grid_scale : float
        Canonical units per grid point.
    threshold : float
        In units of F.

    Returns
    -------
    float
        Radians per canonical unit; at least one step of the grid's discrete Fourier transform.
    """
    size = len(residual)
    step = 2 * math.pi / (size * grid_scale)
    amplitude = np.abs(np.fft.fft2(residual)) * grid_scale**2
    kx = np.arange(0, 3 * size // 2)  # the half plane kx < 0 is the mirror image
    ky = np.arange(-(3 * size // 2), 3 * size // 2)
    kernel_x, kernel_y = (np.abs(_QUINTIC.kval(k * (2 * math.pi / size))) for k in (kx, ky))
    seen = amplitude[np.ix_(ky % size, kx % size)] * kernel_y[:, None] * kernel_x > threshold
    if not seen.any():
        return step
    radius = np.sqrt(ky[:, None].astype(float) ** 2 + kx.astype(float) ** 2)
    return float((radius[seen].max() + 1) * step)


@lru_cache(maxsize=8)
def aperture_weights(size: int, grid_scale: float) -> tuple[Floats, NDArray[np.float32]]:
    """Weights that sum a residual inside circles about the centre.

    ``weights @ residual.ravel()`` is the integral of the interpolated residual over each circle. A weight
    is the integral of a grid point's kernel over a circle, along y through the kernel's own integral and
    along x = r sin t in steps of t.

    Parameters
    ----------
    size : int
        G.
    grid_scale : float
        Canonical units per grid point.

    Returns
    -------
    radii : ndarray, shape (K,)
        From 0 to the edge of the grid in steps of half a grid point; canonical units.
    weights : ndarray of float32, shape (K, G * G)
        Canonical area.
    """
    points = np.arange(size) - (size - 1) / 2
    radii = np.linspace(0.0, size / 2, size + 1)  # in grid points
    fine = np.linspace(-_REACH, _REACH, 6001)
    kernel = _kernel(fine)
    integral = np.concatenate([[0.0], np.cumsum((kernel[1:] + kernel[:-1]) / 2) * (fine[1] - fine[0])])
    weights = np.zeros((len(radii), size, size), dtype=np.float32)
    for row, r in zip(weights[1:], radii[1:], strict=True):
        steps = max(64, int(16 * r))
        t = (np.arange(steps) + 0.5) / steps * math.pi - math.pi / 2
        half_chord = r * np.cos(t)[:, None]
        along_y = np.interp(half_chord - points, fine, integral) - np.interp(-half_chord - points, fine, integral)
        along_x = _kernel(r * np.sin(t)[:, None] - points) * half_chord * (math.pi / steps)
        row[:] = along_y.T @ along_x
    weights *= grid_scale**2
    weights.flags.writeable = False
    return radii * grid_scale, weights.reshape(len(radii), -1)


@lru_cache(maxsize=4)
def ring_weights(size: int, grid_scale: float) -> tuple[Floats, csr_array]:
    """The radii of `aperture_weights`, and weights of the rings between them, whose cumulative sums are the circles.

    Circles look alike in all four quadrants, so the weights are those of one, for residuals `folded` into it.

    Parameters
    ----------
    size : int
        G.
    grid_scale : float
        Canonical units per grid point.

    Returns
    -------
    radii : ndarray, shape (K,)
    rings : csr_array of float32, shape (K, H * H)
        H is G / 2, rounded up.
    """
    radii, weights = aperture_weights(size, grid_scale)
    half = (size + 1) // 2
    quadrant = weights.reshape(-1, size, size)[:, size - half :, size - half :].copy()
    if size % 2:  # the middle is in both halves
        quadrant[:, 0] /= 2
        quadrant[:, :, 0] /= 2
    rings = np.diff(quadrant.reshape(len(radii), -1), axis=0, prepend=np.float32(0))
    return radii, csr_array(rings)


def folded(residual: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum of the four quadrants of residuals, each from the centre outwards: from (N, G, G) to (N, H, H)."""
    half = (residual.shape[-1] + 1) // 2
    by_row = residual[:, residual.shape[-1] - half :] + residual[:, half - 1 :: -1]
    return by_row[:, :, by_row.shape[-1] - half :] + by_row[:, :, half - 1 :: -1]
