"""Stamps of which only the pixels above an isophote were kept, everything else set to exactly zero.

There is no sky to measure the noise on and no wing to fit: only the kept pixels enter a likelihood. The
noise is estimated from the pixels themselves: the scatter about a local plane of the faintest kept ones,
which on an isophote are mostly sky noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.framing import REACH, frame

__all__ = ["cut_thresholded", "looks_thresholded"]

MIN_PIXELS = 150
"""Kept pixels below which a stamp is dropped: too few to fix size, n and shape at once."""

ASSUMED_CORRELATION = {"optical": 0.4, "infrared": 0.65}
"""Lag-1 correlation of noise drizzled to 0.06" from 0.05" (ACS) and from 0.13" pixels (WFC3/IR), beyond 1000
nm.

It cannot be measured where the sky was cut away; these are what whole stamps of the same ratio of pixels
show.
"""


def looks_thresholded(images: NDArray[np.floating]) -> bool:
    """Whether no pixel of `images` (N, H, W) is negative and most are exactly zero."""
    return bool((images >= 0).all() and (images == 0).mean() > 0.5)


def cut_thresholded(
    image: NDArray[np.float64], psf: NDArray[np.float32], scale: float, stamp_size: int, wavelength: float
) -> dict[str, Any] | str:
    """Pixels of a thresholded stamp as `skyloom.cutouts.framing.Framed` has them, or why there are none."""
    from scipy import ndimage

    labels, _ = ndimage.label(image > 0)
    iy, ix = image.shape[0] // 2, image.shape[1] // 2
    core = labels[iy - 3 : iy + 4, ix - 3 : ix + 4]
    core = core[core > 0]
    if core.size == 0:
        return "no source at the stamp's centre"
    own = labels == np.bincount(core).argmax()
    if own.sum() < MIN_PIXELS:
        return f"fewer than {MIN_PIXELS} pixels above the threshold"
    rho = ASSUMED_CORRELATION["infrared" if wavelength > 1000 else "optical"]
    sky_rms = _faint_scatter(image, own, rho)
    if not sky_rms > 0:
        return "no noise to be seen"
    smooth = np.clip(ndimage.gaussian_filter(np.where(own, image, 0.0), 1.0), 0.0, None)
    threshold = float(np.percentile(image[own], 2))
    variance = sky_rms**2 * (1 + 0.05 * smooth / threshold)  # photons of the source: a few per cent at the isophote
    semi_axis = _semi_axis(image, own)
    framed = frame(
        image,
        variance,
        own,
        np.zeros_like(own),
        psf,
        x=float(ix),  # the catalogue's centre
        y=float(iy),
        semi_major=max(1.1 * semi_axis, _extent(own, ix, iy) / REACH),
        pixel_scale=scale,
        noise_correlation=rho,
        size=stamp_size,
    )
    return vars(framed)


def _extent(own: NDArray[np.bool_], ix: int, iy: int) -> float:
    """Half side of the square about (ix, iy) that holds 98 % of the kept pixels."""
    yy, xx = np.nonzero(own)
    return float(np.percentile(np.maximum(np.abs(xx - ix), np.abs(yy - iy)), 98))


def _faint_scatter(image: NDArray[np.float64], own: NDArray[np.bool_], rho: float) -> float:
    """Sky scatter from second differences along both axes, over the faintest third of the kept pixels.

    For noise whose correlation falls as rho, rho^4 (a Gaussian's) with distance, ``p[-1] - 2 p[0] + p[1]``
    has 6 - 8 rho + 2 rho^4 times a pixel's variance.
    """
    faint = own & (image < np.percentile(image[own], 40))
    parts = []
    for axis in (0, 1):
        before, after = np.roll(image, 1, axis), np.roll(image, -1, axis)
        full = faint & np.roll(own, 1, axis) & np.roll(own, -1, axis)
        parts.append((before - 2 * image + after)[full])
    differences = np.concatenate(parts)
    if differences.size < 20:
        return float(np.percentile(image[own], 2)) / 2
    factor = 6 - 8 * rho + 2 * rho**4
    return float(1.4826 * np.median(np.abs(differences - np.median(differences))) / np.sqrt(factor))


def _semi_axis(image: NDArray[np.float64], own: NDArray[np.bool_]) -> float:
    """Second-moment semi-major axis, pixels: 0.97 half-light radii of an exponential disc, less if cut."""
    yy, xx = np.nonzero(own)
    w = image[own] / image[own].sum()
    dx, dy = xx - (w * xx).sum(), yy - (w * yy).sum()
    cxx, cyy, cxy = (w * dx**2).sum(), (w * dy**2).sum(), (w * dx * dy).sum()
    return float(np.sqrt((cxx + cyy) / 2 + np.hypot((cxx - cyy) / 2, cxy)))
