"""From a galaxy on a larger image to a stamp of the file's common size: cut, bin, pad, calibrate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.noise import measure_sky
from skyloom.cutouts.psfs import binned_psf

__all__ = ["REACH", "Framed", "frame", "window"]

REACH = 4.5
"""Half-light radii along the major axis that a stamp should reach on each side of the centre."""

MAX_BIN = 4


@dataclass(frozen=True)
class Framed:
    """Pixels of a stamp; see `skyloom.stamps.Cutout` for the arrays.

    Parameters
    ----------
    pixel_scale : float
        After binning, arcsec.
    noise_correlation : float
        After binning.
    centre_x, centre_y : float
        Of the stamp, from the true centre of the image it was cut from, arcsec.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.bool_]
    psf: NDArray[np.float32]
    pixel_scale: float
    noise_correlation: float
    centre_x: float
    centre_y: float


def window(array: NDArray[Any], x: float, y: float, size: int, fill: float | bool) -> NDArray[Any]:
    """Cut (size, size) pixels with the true centre within half a pixel of (x, y), `fill` beyond the edge."""
    out = np.full((size, size), fill, dtype=array.dtype)
    left, low = _first(x, size), _first(y, size)
    x0, x1 = max(0, left), min(array.shape[1], left + size)
    y0, y1 = max(0, low), min(array.shape[0], low + size)
    if x0 < x1 and y0 < y1:
        out[y0 - low : y1 - low, x0 - left : x1 - left] = array[y0:y1, x0:x1]
    return out


def _first(centre: float, size: int) -> int:
    return int(np.floor(centre - (size - 1) / 2 + 0.5))


def frame(
    image: NDArray[np.floating],
    variance: NDArray[np.floating],
    usable: NDArray[np.bool_],
    free: NDArray[np.bool_],
    psf: NDArray[np.float32],
    *,
    x: float,
    y: float,
    semi_major: float,
    pixel_scale: float,
    noise_correlation: float,
    size: int,
) -> Framed:
    """Make a stamp centred on (x, y), binned 2x2 or 4x4 when the galaxy is too large for it.

    Sums of pixels keep the zero point. The variance of a binned pixel is that of the sum of independent
    pixels, times what the scatter of the source-free binned pixels says of their correlation (from
    `noise_correlation` where too few are free).

    Parameters
    ----------
    image, variance : ndarray, shape (H, W)
    usable, free : ndarray of bool, shape (H, W)
        Pixels with data that are no neighbour's; pixels without a source.
    psf : ndarray of float32, shape (P, P)
        Effective, in the image's pixels.
    x, y : float
        Centre, 0-based pixels.
    semi_major : float
        Half-light radius along the major axis, pixels.
    pixel_scale : float
        Arcsec.
    noise_correlation : float
        Lag-1 correlation in the image's pixels.
    size : int
        Pixels along a side of the stamp.
    """
    factor = 1
    while factor < MAX_BIN and REACH * semi_major > factor * size / 2:
        factor *= 2
    side = size * factor
    # Bands of one galaxy are centred each on its own pixels: what they share is the image's frame.
    from_corner = [_first(v, side) + (side - 1) / 2 for v in (x, y)]
    centre = [(v - (n - 1) / 2) * pixel_scale for v, n in zip(from_corner, image.shape[::-1], strict=True)]
    cut_image = window(np.where(usable, image, 0.0), x, y, side, 0.0)
    cut_variance = window(np.where(usable, variance, 0.0), x, y, side, 0.0)
    cut_mask: NDArray[np.bool_] = window(usable, x, y, side, False)
    cut_free: NDArray[np.bool_] = window(free & usable, x, y, side, False)
    if factor > 1:
        blocks = (size, factor, size, factor)
        cut_image = cut_image.reshape(blocks).sum((1, 3))
        cut_variance = cut_variance.reshape(blocks).sum((1, 3))
        cut_mask = np.asarray(cut_mask.reshape(blocks).all((1, 3)))
        cut_free = np.asarray(cut_free.reshape(blocks).all((1, 3)))
        sky = measure_sky(cut_image, cut_free)
        if sky is not None:
            grown, noise_correlation = sky.rms**2 / float(np.median(cut_variance[cut_free])), sky.correlation
        else:
            grown = _grown(noise_correlation, factor)
            noise_correlation /= factor  # of neighbours that share one side of `factor` pixels
        cut_variance = cut_variance * grown
        psf, pixel_scale = binned_psf(psf, pixel_scale, factor), pixel_scale * factor
    filler = float(np.median(cut_variance[cut_mask])) if cut_mask.any() else 1.0
    return Framed(
        image=np.where(cut_mask, cut_image, 0.0).astype(np.float32),
        variance=np.where(cut_mask, cut_variance, filler).astype(np.float32),
        mask=np.asarray(cut_mask, dtype=bool),
        psf=psf,
        pixel_scale=pixel_scale,
        noise_correlation=noise_correlation,
        centre_x=centre[0],
        centre_y=centre[1],
    )


def _grown(rho: float, factor: int) -> float:
    """Variance of a sum of factor^2 pixels over that of independent ones, for separable correlation."""
    return (1.0 + 2.0 * rho * (factor - 1) / factor) ** 2
