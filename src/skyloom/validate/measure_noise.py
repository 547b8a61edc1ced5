"""Correlated noise of a stamp: what is left of it after smoothing, and its power spectrum.

The correlation is taken to be separable and to end after one pixel: rho for neighbours along a row or column,
rho^2 for diagonal ones. It is what `skyloom.Cutout` gives, and enough for drizzled images whose pixels share
most with their neighbours (Casertano et al. 2000, AJ 120, 2747).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

__all__ = ["gaussian_kernel", "noise_spectrum", "smooth", "smoothed_variance"]


def gaussian_kernel(fwhm: float) -> NDArray[np.float64]:
    """Normalised Gaussian on whole pixels, cut at four sigma; `fwhm` in pixels."""
    sigma = max(fwhm, 1e-3) / np.sqrt(8 * np.log(2))
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(kernel / kernel.sum())


def smooth(image: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolve an image with a kernel along both axes; the outside counts as 0."""
    along = convolve1d(image, kernel, axis=0, mode="constant")
    return np.asarray(convolve1d(along, kernel, axis=1, mode="constant"))


def smoothed_variance(variance: NDArray[np.float64], rho: float, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of a pixel after `smooth`.

    With A(d) the autocorrelation of the kernel, each axis gives the factor (A(0) + 2 rho A(1)) / A(0) over
    uncorrelated noise, whose variance is the original's convolved with the squared kernel.

    Parameters
    ----------
    variance : ndarray, shape (H, W)
        Of the pixels before, 0 where masked.
    rho : float
        Correlation of adjacent pixels.
    kernel : ndarray, shape (K,)

    Returns
    -------
    ndarray, shape (H, W)
    """
    squares = float((kernel**2).sum())
    neighbours = float((kernel[1:] * kernel[:-1]).sum())
    return smooth(variance, kernel**2) * (1 + 2 * rho * neighbours / squares) ** 2


def noise_spectrum(sigma: NDArray[np.float64], rho: float) -> NDArray[np.float64]:
    """Expected power of the noise at each frequency of `numpy.fft.fft2`, of an image that is cut out of it.

    The transform of the expected autocorrelation, sum over d of rho^|d| A(d) cos(k d) with d up to one pixel along
    each axis and A(d) the sum of sigma(x) sigma(x + d): exact for any outline.

    Parameters
    ----------
    sigma : ndarray, shape (H, W)
        Scatter of each pixel, 0 outside the outline.
    rho : float
        Correlation of adjacent pixels.

    Returns
    -------
    ndarray, shape (H, W)
        Its mean is the sum of the variance.
    """
    ky, kx = (2 * np.pi * np.fft.fftfreq(size) for size in sigma.shape)
    total = np.full(sigma.shape, float((sigma**2).sum()))
    along_y = float((sigma[1:] * sigma[:-1]).sum())
    along_x = float((sigma[:, 1:] * sigma[:, :-1]).sum())
    rising = float((sigma[1:, 1:] * sigma[:-1, :-1]).sum())
    falling = float((sigma[1:, :-1] * sigma[:-1, 1:]).sum())
    total += 2 * rho * (along_y * np.cos(ky)[:, None] + along_x * np.cos(kx))
    total += 2 * rho**2 * (rising * np.cos(ky[:, None] + kx) + falling * np.cos(ky[:, None] - kx))
    return total
