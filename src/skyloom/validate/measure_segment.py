"""The pixels that belong to the galaxy, for statmorph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, label, uniform_filter

from skyloom.validate.measure_frame import Frame
from skyloom.validate.measure_noise import gaussian_kernel, smooth, smoothed_variance

__all__ = ["segment"]

THRESHOLD = 1.5
"""In sigma of the smoothed noise."""

BOX = 5
"""Pixels over which the outline is made smooth."""

SEARCH = 4.0
"""Pixels from the centre within which the source must begin."""


def segment(frame: Frame) -> NDArray[np.int32] | None:
    """Find the galaxy: 1.5 sigma above the sky after smoothing by the PSF, and joined to the centre.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    ndarray of int32, shape (S, S), or None
        1 for the galaxy, 0 elsewhere; None when there is nothing at the centre.
    """
    kernel = gaussian_kernel(frame.psf_fwhm)
    above = smooth(frame.image, kernel) > THRESHOLD * np.sqrt(smoothed_variance(frame.variance, frame.rho, kernel))
    pieces, number = label(above & frame.mask, structure=np.ones((3, 3)))
    x, y = frame.centre
    rows, columns = np.indices(pieces.shape)
    away = np.where(pieces > 0, np.hypot(columns - x, rows - y), np.inf)
    nearest = np.unravel_index(np.argmin(away), away.shape)
    if number == 0 or away[nearest] > SEARCH:
        return None
    galaxy = binary_fill_holes(pieces == pieces[nearest])
    regular = uniform_filter(galaxy.astype(float), BOX, mode="constant") > 0.5
    # a source narrower than the box would vanish
    if regular.sum() < galaxy.sum() / 2:
        regular = galaxy
    return np.asarray(regular, dtype=np.int32)
