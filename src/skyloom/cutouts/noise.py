"""Noise of a stamp, measured on its own pixels: sky level, scatter and the correlation of neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SkyNoise", "correlation_area", "measure_sky"]

MIN_PIXELS = 150
"""Source-free pixels below which a stamp cannot tell its own noise (16 % error on the variance at lag-1
0.4)."""


@dataclass(frozen=True)
class SkyNoise:
    """Sky of a stamp.

    Parameters
    ----------
    level : float
        Median of the source-free pixels.
    rms : float
        Their scatter.
    correlation : float
        Mean correlation of pixels one step apart along x and y, in [0, 0.7].
    pixels : int
        How many pixels it was measured on.
    """

    level: float
    rms: float
    correlation: float
    pixels: int


def measure_sky(image: NDArray[np.floating], free: NDArray[np.bool_]) -> SkyNoise | None:
    """Measure level, scatter and lag-1 correlation of the sky.

    The level is a median clipped at 3 sigma until it stands; the scatter is the clipped standard deviation,
    corrected for the clipped tails (a factor 1.0148 for a Gaussian), so that it stays right for pixels that
    are quantised or partly empty, where a median of absolute deviations fails.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    free : ndarray of bool, shape (H, W)
        Pixels without a source.

    Returns
    -------
    SkyNoise or None
        None with fewer than `MIN_PIXELS` source-free pixels, or pixels without scatter.
    """
    keep = free & np.isfinite(image)
    if keep.sum() < MIN_PIXELS:
        return None
    level = float(np.median(image[keep]))
    sigma = 1.4826 * float(np.median(np.abs(image[keep] - level)))
    for _ in range(8):
        inside = keep & (np.abs(image - level) < 3 * sigma)
        if inside.sum() < MIN_PIXELS // 2:
            return None
        new = float(np.median(image[inside])), 1.0148 * float(np.std(image[inside] - level))
        moved = abs(new[0] - level) + abs(new[1] - sigma)
        level, sigma = new
        if moved < 1e-4 * sigma:
            break
    if not sigma > 0:
        return None
    noise = np.where(inside, image - level, 0.0)
    pairs = (inside[:, 1:] & inside[:, :-1], inside[1:] & inside[:-1])
    products = (noise[:, 1:] * noise[:, :-1]).sum() + (noise[1:] * noise[:-1]).sum()
    variance = float(np.mean(noise[inside] ** 2))
    rho = float(products / max(pairs[0].sum() + pairs[1].sum(), 1) / variance)
    return SkyNoise(level, sigma, float(np.clip(rho, 0.0, 0.7)), int(inside.sum()))


def correlation_area(rho: float) -> float:
    """Pixels over which noise of lag-1 correlation `rho` is shared: ``(1 + 2 rho)^2``.

    The sum of the correlation function, when it is separable and ends after one pixel: what the variance of
    the sum of many pixels exceeds that of independent ones by. Drizzling lowers a pixel's own variance by
    this factor (Casertano et al. 2000, AJ 120, 2747, appendix A).
    """
    return (1.0 + 2.0 * rho) ** 2
