"""Noise like a stamp's own: Gaussian, of its variance a pixel, neighbours correlated as measured."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

__all__ = ["MAX_CORRELATION", "correlated_noise"]

MAX_CORRELATION = 0.7
"""The kernel below reaches 1/sqrt(2)."""


def correlated_noise(
    variance: NDArray[np.floating], correlation: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw Gaussian noise of a given variance map and correlation of adjacent pixels.

    White noise is convolved with the kernel (a, 1, a) along both axes and scaled to unit variance, then by
    the square root of the variance. Along an axis the correlation is then 2a / (1 + 2a^2) at lag 1, which
    fixes a, and a^2 / (1 + 2a^2) at lag 2, close to the fourth power of lag 1 that a Gaussian kernel leaves.

    Parameters
    ----------
    variance : ndarray, shape (H, W)
        Of a pixel, image units squared.
    correlation : float
        Of adjacent pixels; moved into [-0.7, 0.7].
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, shape (H, W)
    """
    rho = min(max(float(correlation), -MAX_CORRELATION), MAX_CORRELATION)
    height, width = variance.shape
    white = rng.standard_normal((height + 2, width + 2))
    if rho:
        side = rho / (1.0 + math.sqrt(1.0 - 2.0 * rho * rho))  # root of 2a / (1 + 2a^2) = rho, stable at rho -> 0
        kernel = np.array([side, 1.0, side]) / math.sqrt(1.0 + 2.0 * side * side)
        white = correlate1d(correlate1d(white, kernel, axis=0), kernel, axis=1)
    return np.sqrt(np.asarray(variance, dtype=np.float64)) * white[1:-1, 1:-1]
