"""A first size of a detected source, before anything is fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.detect import Segments

__all__ = ["semi_major_of"]


def semi_major_of(image: NDArray[np.floating], usable: NDArray[np.bool_], found: Segments, reach: float = 6.0) -> float:
    """Half-light radius along the major axis, pixels, the PSF's blur included.

    From the curve of growth in ellipses of the source's second moments, out to `reach` of their semi-axes,
    after adding what masked pixels hide as the mean of the usable ones in the same ring.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Background subtracted.
    usable : ndarray of bool, shape (H, W)
    found : Segments
    reach : float
        In semi-axes.
    """
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
    c, s = np.cos(found.theta), np.sin(found.theta)
    u = (c * (xx - found.x) + s * (yy - found.y)) / max(found.a, 0.7)
    v = (-s * (xx - found.x) + c * (yy - found.y)) / max(found.b, 0.7)
    radius = np.hypot(u, v)
    edges = np.linspace(0.0, reach, 49)
    index = np.digitize(radius[usable], edges) - 1
    inside = index < len(edges) - 1
    count = np.bincount(index[inside], minlength=48)
    total = np.bincount(index[inside], weights=image[usable][inside], minlength=48)
    area = np.pi * max(found.a, 0.7) * max(found.b, 0.7) * np.diff(edges**2)
    ring = np.where(count > 0, total / np.maximum(count, 1), 0.0) * area
    growth = np.cumsum(ring)
    peak = int(np.argmax(growth))
    if not growth[peak] > 0:
        return float(max(found.a, 0.7))
    half = float(np.interp(0.5 * growth[peak], growth[: peak + 1], edges[1 : peak + 2]))
    return half * max(found.a, 0.7)
