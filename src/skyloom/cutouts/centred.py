"""A galaxy in the middle of its stamp: sky, neighbours, noise, and the common frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.detect import Segments, segment
from skyloom.cutouts.framing import frame
from skyloom.cutouts.noise import SkyNoise, correlation_area, measure_sky
from skyloom.cutouts.shape import semi_major_of

__all__ = ["MAX_GAP", "cut_centred"]

MAX_GAP = 0.25
"""Share of a stamp's pixels without data above which it is dropped."""

OFF_CENTRE = 6.0
"""Pixels that the source found may lie from where it should be."""

NO_SKY = "no sky to measure the noise on"
NO_SOURCE = "no source at the stamp's centre"


def cut_centred(
    image: NDArray[np.float64],
    usable: NDArray[np.bool_],
    psf: NDArray[np.float32],
    *,
    pixel_scale: float,
    stamp_size: int,
    variance: NDArray[np.float64] | None = None,
    gain: float | None = None,
    centre: tuple[float, float] | None = None,
    max_gap: float = MAX_GAP,
) -> dict[str, Any] | str:
    """Pixels of `skyloom.stamps.Cutout` by name, or why there are none.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        With its sky.
    usable : ndarray of bool, shape (H, W)
    psf : ndarray of float32, shape (P, P)
        Effective, at `pixel_scale`.
    pixel_scale : float
        Arcsec.
    stamp_size : int
    variance : ndarray, shape (H, W), optional
        What the source says. Its level gives way to the scatter of the sky's own pixels where there are enough of
        them; what it adds on the galaxy is kept.
    gain : float, optional
        Photo-electrons a unit, for the galaxy's photon noise when `variance` is not given.
    centre : (float, float), optional
        x, y of the galaxy in 0-based pixels; the middle when left out.
    max_gap : float
        Largest share of pixels without data.
    """
    if usable.mean() < 1 - max_gap:
        return "gaps in the data"
    middle = centre or ((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2)
    if not usable[
        max(int(middle[1]) - 2, 0) : int(middle[1]) + 4, max(int(middle[0]) - 2, 0) : int(middle[0]) + 4
    ].all():
        return "no data at the centre"
    looked = _find(image, usable, middle, variance)
    if isinstance(looked, str):
        return looked
    found, sky = looked
    if np.hypot(found.x - middle[0], found.y - middle[1]) > OFF_CENTRE:
        return NO_SOURCE
    usable = usable & ~found.neighbours
    framed = frame(
        image - sky.level,
        sky.rms**2 + _photons(image - sky.level, usable, found, sky, variance, gain),
        usable,
        found.free,
        psf,
        x=found.x,
        y=found.y,
        semi_major=semi_major_of(image - sky.level, usable, found),
        pixel_scale=pixel_scale,
        noise_correlation=sky.correlation,
        size=stamp_size,
    )
    return vars(framed)


def _find(
    image: NDArray[np.float64],
    usable: NDArray[np.bool_],
    middle: tuple[float, float],
    variance: NDArray[np.float64] | None,
) -> tuple[Segments, SkyNoise] | str:
    # Two passes: the sky of the first is that of the faintest third of the pixels, which a large galaxy
    # still lifts.
    level = float(np.percentile(image[usable], 25))
    below = image[usable & (image < level)] - level
    rms = float(1.25 * np.sqrt(np.mean(below**2))) if below.size else 0.0
    claimed = float(np.sqrt(np.median(variance[usable]))) if variance is not None else 0.0
    if not max(rms, claimed) > 0:
        return NO_SKY
    for _ in range(2):
        found = segment(image - level, rms or claimed, usable, middle)
        if found is None:
            return NO_SOURCE
        sky = _sky(image, usable, found)
        if sky is None:
            # A stamp cut close: only what the source says of its noise is left, and no sky to take off.
            return (found, SkyNoise(0.0, claimed, 0.0, 0)) if claimed > 0 else NO_SKY
        level, rms = sky.level, sky.rms
        looked = found, sky
    return looked


def _photons(
    image: NDArray[np.float64],
    usable: NDArray[np.bool_],
    found: Segments,
    sky: SkyNoise,
    variance: NDArray[np.float64] | None,
    gain: float | None,
) -> NDArray[np.float64]:
    """Variance that the galaxy's own photons add to the sky's, shape (H, W)."""
    area = correlation_area(sky.correlation)
    if variance is not None:
        free = found.free & usable
        floor = float(np.median(variance[free if free.any() else usable]))
        if sky.pixels == 0:  # the level is not known to be wrong: it is kept as it is, pixel by pixel
            return np.asarray(np.where(usable, variance, floor) - sky.rms**2)
        return np.asarray(np.clip(variance - floor, 0.0, None) / area)
    if gain is None:
        return np.zeros_like(image)
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(np.where(usable, image, 0.0), 1.0)
    return np.asarray(np.clip(smooth, 0.0, None) / gain / area)


def _sky(image: NDArray[np.float64], usable: NDArray[np.bool_], found: Segments) -> SkyNoise | None:
    """Sky beyond five semi-axes of any source; nearer, when a galaxy leaves too little of its stamp."""
    skies = (measure_sky(image, found.far(reach) & usable) for reach in (5.0, 3.5, 2.5))
    return next((sky for sky in skies if sky is not None), None)
