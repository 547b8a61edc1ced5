"""What the pixels that were cut away around a galaxy tell: they were fainter than its isophote."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["upper_limits"]

SMOOTHING = 3.0
"""Pixels along the edge over which its level is averaged."""

CUT_OFF = 2.5
"""Where the edge is so many times brighter than its median, a neighbour was cut away, not the sky."""


def upper_limits(image: NDArray[np.floating], mask: NDArray[np.bool_], noise: float) -> NDArray[np.float32]:
    """Upper limits on the pixels of a stamp of which only those inside an isophote were kept.

    The isophote may have been drawn in another band, and then its level varies along the edge: a pixel's limit is the
    level of the edge nearest to it. One pixel of margin, where noise decided, tells nothing.

    Parameters
    ----------
    image : ndarray, shape (S, S)
    mask : ndarray of bool, shape (S, S)
        The pixels kept.
    noise : float
        One sigma of a faint pixel.

    Returns
    -------
    ndarray of float32, shape (S, S)
        In the image's units, at least 2 sigma: noise alone would be kept above a lower one. Infinite where nothing is
        known.
    """
    from scipy import ndimage

    edge = mask & ~ndimage.binary_erosion(mask, border_value=1)
    if not edge.any():
        return np.full(image.shape, np.inf, np.float32)
    weight = ndimage.gaussian_filter(edge.astype(np.float64), SMOOTHING)
    level = ndimage.gaussian_filter(np.where(edge, image, 0.0).astype(np.float64), SMOOTHING)
    level = np.where(edge, level / np.maximum(weight, 1e-12), 0.0)
    rows, columns = ndimage.distance_transform_edt(~edge, return_distances=False, return_indices=True)
    limit = level[rows, columns]
    beyond = ~ndimage.binary_dilation(mask, structure=np.ones((3, 3)))
    known = beyond & (limit < CUT_OFF * max(float(np.median(level[edge])), noise))
    return np.where(known, np.maximum(limit, 2 * noise), np.inf).astype(np.float32)
