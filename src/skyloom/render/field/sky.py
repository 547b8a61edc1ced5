"""The sky of an image, pixel by pixel where their areas differ."""

from __future__ import annotations

import galsim
import numpy as np
from numpy.typing import NDArray

__all__ = ["add_sky"]

_PIXELS_AT_ONCE = 2**20


def add_sky(image: NDArray[np.float32], wcs: galsim.BaseWCS, level: float) -> None:
    """Add a level per square arcsec to an image, in place.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        Its first pixel is (1, 1).
    wcs : galsim.BaseWCS
    level : float
        Per arcsec^2.
    """
    if level == 0:
        return
    if wcs._isUniform:
        image += np.float32(level * abs(wcs.pixelArea()))
        return
    ny, nx = image.shape
    height = max(1, _PIXELS_AT_ONCE // nx)
    for first in range(0, ny, height):
        rows = image[first : first + height]
        strip = galsim.ImageD(galsim.BoundsI(1, nx, first + 1, first + len(rows)), wcs=wcs)
        wcs.makeSkyImage(strip, level)
        rows += strip.array.astype(np.float32)
