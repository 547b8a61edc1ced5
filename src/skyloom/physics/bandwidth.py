"""Where in Fourier space a galaxy's light ends, as far as its PSF, its Sersic index and its residual tell.

Bounds: amplitudes are summed as if all phases were equal, so that an image differs by less than they say.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from skyloom.physics.general_map import row_shear
from skyloom.physics.psf import Psf
from skyloom.physics.tables import transform_table

__all__ = ["EARLY_END", "ends_early", "residual_lines", "zones_count"]

EARLY_END = 0.76
"""Share of the PSF's wavenumbers along an axis that `ends_early` speaks of."""

_END_TOLERANCE = 2e-5
_ZONES_TOLERANCE = 6e-7, (1e-5, 3e-4)  # of a bound that is the looser the smaller the shear; the rest is below 1e-5
_LINES = (0.4, 0.8)  # in units of the residual grid's Nyquist frequency
_KERNEL_BEYOND = 0.25  # the quintic kernel's transform, on average beyond that frequency where it passes anything

Floats = NDArray[np.float64]


def residual_lines(residual: NDArray[np.float32], grid_scale: float) -> Floats:
    """Largest amplitudes of residuals' transforms along lines at 0.4 and at 0.8 of the grid's Nyquist frequency.

    Parameters
    ----------
    residual : ndarray of float32, shape (N, G, G)
    grid_scale : float
        Canonical units per grid point.

    Returns
    -------
    ndarray, shape (2, N)
        Of both lines, along k_x and along k_y, the larger; in units of the Sersic's flux.
    """
    size = residual.shape[1]
    phase = math.pi * np.outer(np.arange(size), _LINES)
    waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)
    # a product for each galaxy, whose last digits then don't depend on the others
    lines = np.stack([(residual @ waves).transpose(0, 2, 1), waves.T @ residual])
    spectrum = np.abs(np.fft.fft(lines[:, :, :2] + 1j * lines[:, :, 2:]))
    return np.asarray(spectrum.max(axis=(0, 3)).T * grid_scale**2)


def ends_early(
    psf: Psf, *, pixel_scale: float, sersic_n: Floats, jacobian: Floats, peak: Floats, lines: Floats, grid_scale: float
) -> NDArray[np.bool_]:
    """Whether wavenumbers beyond `EARLY_END` of the PSF's hold nothing of a galaxy, shape (N,).

    Parameters
    ----------
    psf : Psf
    pixel_scale : float
        Arcsec.
    sersic_n : ndarray, shape (N,)
    jacobian : ndarray, shape (N, 2, 2)
        Arcsec per canonical unit.
    peak : ndarray, shape (N,)
        Of the image, per square arcsec for flux 1.
    lines : ndarray, shape (2, N)
        Of `residual_lines`; zero without a residual.
    grid_scale : float
        Canonical units per grid point.
    """
    nodes, outside, _ = psf.tail(pixel_scale)
    first = int(np.searchsorted(nodes, EARLY_END * psf.maxk))
    k, passed = nodes[first:], outside[first:] - np.append(outside[first + 1 :], 0.0)
    table = transform_table()
    shortest = np.linalg.svd(jacobian, compute_uv=False)[:, 1]
    row = np.ceil((np.log(sersic_n) - table.ln_n_first) / table.ln_n_step).astype(np.int64)
    column = np.log1p((shortest[:, None] * k / table.x0) ** 2) / table.t_step
    values = table.values.numpy()
    light = np.abs(values[row[:, None], np.minimum(column.astype(np.int64), values.shape[1] - 1)])
    if grid_scale:
        # a power of wavenumber through both lines, level beyond the second
        middle, last = (math.pi / grid_scale * share for share in _LINES)
        safe = np.maximum(lines, 1e-30)
        slope = np.log(safe[1] / safe[0]) / math.log(last / middle)
        here = np.sqrt(np.abs(np.linalg.det(jacobian)))[:, None] * k
        light += safe[0][:, None] * (np.minimum(here, last) / middle) ** slope[:, None]
    return np.asarray((light * passed).sum(axis=1) < _END_TOLERANCE * peak)


def zones_count(
    psf: Psf, *, pixel_scale: float, jacobian: Floats, peak: Floats, lines: Floats, grid_scale: float
) -> NDArray[np.bool_]:
    """Whether what lies beyond the residual grid's Nyquist frequency is seen in an image, shape (N,).

    Parameters
    ----------
    psf, pixel_scale, jacobian, peak, lines, grid_scale
        As for `ends_early`.
    """
    k, _, beyond = psf.tail(pixel_scale)
    longest = np.sqrt(np.square(jacobian).sum(axis=1).max(axis=1))  # of the two columns
    passed = np.interp(math.pi / (grid_scale * longest), k, beyond)
    scale, limits = _ZONES_TOLERANCE
    tolerance = np.clip(scale / np.maximum(row_shear(jacobian), 1e-6) ** 2, *limits)
    triangular = jacobian[:, 0, 1] == 0  # whose transforms repeat as they should
    return np.asarray(~triangular & (_KERNEL_BEYOND * passed * lines[1] > tolerance * peak))
