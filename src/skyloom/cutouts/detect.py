"""Which pixels belong to the galaxy at the centre, which to its neighbours, which to nobody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segments", "segment"]


@dataclass(frozen=True)
class Segments:
    """A stamp divided among its sources.

    Parameters
    ----------
    x, y : float
        Centroid of the central source, 0-based pixels.
    a, b, theta : float
        Its second-moment ellipse: semi-axes in pixels, angle from +x in radians.
    neighbours : ndarray of bool, shape (H, W)
        Pixels of other sources, a margin included.
    free : ndarray of bool, shape (H, W)
        Pixels far from any source.
    """

    x: float
    y: float
    a: float
    b: float
    theta: float
    neighbours: NDArray[np.bool_]
    free: NDArray[np.bool_]


def segment(
    image: NDArray[np.floating],
    rms: float,
    usable: NDArray[np.bool_],
    centre: tuple[float, float],
    *,
    threshold: float = 2.0,
    deblend: float = 0.02,
) -> Segments | None:
    """Find the source at `centre` and its neighbours with SEP (Barbary 2016, JOSS 1, 58).

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Background subtracted.
    rms : float
        Scatter of a sky pixel.
    usable : ndarray of bool, shape (H, W)
        Pixels with data.
    centre : (float, float)
        Expected x, y in 0-based pixels.
    threshold : float
        In units of `rms`.
    deblend : float
        Least contrast of a separate source.

    Returns
    -------
    Segments or None
        None when nothing is found near `centre`.
    """
    import sep
    from scipy import ndimage

    data = np.ascontiguousarray(np.where(usable, image, 0.0), dtype=np.float64)
    try:
        found, labels = sep.extract(
            data, threshold, err=rms, minarea=8, segmentation_map=True, deblend_cont=deblend, mask=~usable
        )
    except Exception:  # SEP raises a bare Exception when a buffer overflows: a crowded field, try it coarser
        return None
    if len(found) == 0:
        return None
    ix, iy = (round(min(max(v, 0), n - 1)) for v, n in zip(centre, data.shape[::-1], strict=True))
    label = int(labels[iy, ix])
    distance = np.hypot(found["x"] - centre[0], found["y"] - centre[1]) / np.sqrt(found["npix"])
    k = label - 1 if label > 0 else int(np.argmin(distance))
    if distance[k] > 1.0 and label == 0:
        return None
    source = found[k]
    own = labels == k + 1
    others = (labels > 0) & ~own
    neighbours = ndimage.binary_dilation(others, iterations=2) & ~own if others.any() else others
    yy, xx = np.mgrid[: data.shape[0], : data.shape[1]]
    free = usable & ~ndimage.binary_dilation(labels > 0, iterations=4)
    for s in found:
        reach = 5.0 if s is source or s["npix"] > 30 else 3.5
        radius = (s["cxx"] * (xx - s["x"]) ** 2 + s["cyy"] * (yy - s["y"]) ** 2) + s["cxy"] * (xx - s["x"]) * (
            yy - s["y"]
        )
        free &= radius > reach**2
    x, y, a, b, theta = (float(source[name]) for name in ("x", "y", "a", "b", "theta"))
    return Segments(x, y, a, b, theta, neighbours, free)
