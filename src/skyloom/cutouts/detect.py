"""Which pixels belong to the galaxy at the centre, which to its neighbours, which to nobody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segments", "segment"]

REACH = 5.0
"""Semi-axes of a source beyond which a pixel counts as sky: an exponential disc has 1 % of its light
there."""

CLUMP_REACH, CLUMP_FLUX = 2.5, 0.15
"""A deblended piece nearer than this to the centre, in the central source's semi-axes, and of less than this
share of its flux is a clump of the galaxy itself: arms and knots are what the cutouts are for."""

FAINT_PIXELS = 30
"""Sources of fewer pixels have wings too faint to matter and are given 1.5 semi-axes less."""


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
    unlabelled : ndarray of bool, shape (H, W)
        Pixels with data outside of all segments, a margin left.
    distance : ndarray, shape (H, W)
        From the nearest source, in its second-moment semi-axes; the faintest sources count from their edge.
    """

    x: float
    y: float
    a: float
    b: float
    theta: float
    neighbours: NDArray[np.bool_]
    unlabelled: NDArray[np.bool_]
    distance: NDArray[np.floating]

    @property
    def free(self) -> NDArray[np.bool_]:
        """Pixels far from any source, shape (H, W)."""
        return self.far(REACH)

    def far(self, reach: float) -> NDArray[np.bool_]:
        """Pixels outside of all segments and beyond `reach` semi-axes of every source, shape (H, W)."""
        return self.unlabelled & (self.distance > reach)


def segment(
    image: NDArray[np.floating],
    rms: float,
    usable: NDArray[np.bool_],
    centre: tuple[float, float],
    *,
    threshold: float = 2.0,
    deblend: float = 0.005,
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
    labels[_is_clump(found, source)[labels - 1] & (labels > 0)] = k + 1
    own = labels == k + 1
    others = (labels > 0) & ~own
    neighbours = ndimage.binary_dilation(others, iterations=2) & ~own if others.any() else others
    yy, xx = np.mgrid[: data.shape[0], : data.shape[1]]
    unlabelled = usable & ~ndimage.binary_dilation(labels > 0, iterations=4)
    away = np.full(data.shape, np.inf)
    for s in found:
        dx, dy = xx - s["x"], yy - s["y"]
        radius = np.sqrt(np.maximum(s["cxx"] * dx**2 + s["cyy"] * dy**2 + s["cxy"] * dx * dy, 0.0))
        np.minimum(away, radius if s["npix"] > FAINT_PIXELS else radius + 1.5, out=away)
    x, y, a, b, theta = (float(source[name]) for name in ("x", "y", "a", "b", "theta"))
    return Segments(x, y, a, b, theta, neighbours, unlabelled, away)


def _is_clump(found: NDArray[np.void], source: np.void) -> NDArray[np.bool_]:
    dx, dy = found["x"] - source["x"], found["y"] - source["y"]
    radius2 = source["cxx"] * dx**2 + source["cyy"] * dy**2 + source["cxy"] * dx * dy
    return np.asarray((radius2 < CLUMP_REACH**2) & (found["flux"] < CLUMP_FLUX * source["flux"]))
