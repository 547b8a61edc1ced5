"""Means that must come out at a known number: shears at 0, chi2 at 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyloom.validate.statistics_conditional import MIN_IN_BIN

__all__ = ["binned_chi2", "difference_and_error", "mean_and_error", "mean_shear"]


def mean_and_error(x: NDArray[np.float64], labels: NDArray[np.int64] | None = None) -> tuple[float, float]:
    """Mean and the error of the mean; NaN with fewer than two galaxies.

    Parameters
    ----------
    x : ndarray, shape (N,)
    labels : ndarray of int, shape (N,), optional
        The same for numbers of one galaxy, which are not independent: the error is then from the sums over galaxies
        of what lies off the mean, sqrt(G / (G - 1) sum_g (sum_i in g (x_i - mean))^2) / N. Without labels it is
        sigma / sqrt(N).

    Returns
    -------
    float, float
    """
    sums = np.bincount(np.unique(labels, return_inverse=True)[1], x - x.mean()) if labels is not None and len(x) else x
    if len(sums) < 2:
        return float("nan"), float("nan")
    if labels is None:
        return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))
    return float(x.mean()), float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(x))


def difference_and_error(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    of_x: NDArray[np.int64],
    of_y: NDArray[np.int64],
) -> tuple[float, float]:
    """Mean of `y` less mean of `x`, and its error where numbers of one label, of either sample, vary together.

    Each label's share in the difference is d_g = sum_y (y - mean_y) / N_y - sum_x (x - mean_x) / N_x, and the error
    sqrt(G / (G - 1) sum_g d_g^2): what galaxies and their counterparts have in common drops out.

    Parameters
    ----------
    x, y : ndarray, shapes (n,) and (m,)
    of_x, of_y : ndarray of int, shapes (n,) and (m,)
        Labels.

    Returns
    -------
    float, float
        NaN with an empty sample, or fewer than two labels.
    """
    names, label = np.unique(np.concatenate([of_x, of_y]), return_inverse=True)
    if not len(x) or not len(y) or len(names) < 2:
        return float("nan"), float("nan")
    shares = np.concatenate([(x.mean() - x) / len(x), (y - y.mean()) / len(y)])
    square = (np.bincount(label, shares) ** 2).sum() * len(names) / (len(names) - 1)
    return float(y.mean() - x.mean()), float(np.sqrt(square))


def mean_shear(g1: NDArray[np.float64], g2: NDArray[np.float64]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and error of both: galaxies have no common direction, so what is not 0 has leaked in."""
    return mean_and_error(g1), mean_and_error(g2)


def binned_chi2(
    chi2: NDArray[np.float64], x: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean chi2 a pixel in bins of x, e.g. of magnitude: a mean over all hides that the bright underfit.

    Parameters
    ----------
    chi2 : ndarray, shape (N,)
        Of each reconstructed galaxy, a pixel.
    x : ndarray, shape (N,)
    edges : ndarray, shape (B + 1,)

    Returns
    -------
    mean, error : ndarray, shape (B,)
        NaN for bins with fewer than five galaxies.
    """
    which = np.digitize(x, edges[1:-1])
    means, errors = np.full((2, len(edges) - 1), np.nan)
    for i in range(len(means)):
        inside = chi2[which == i]
        if len(inside) >= MIN_IN_BIN:
            means[i], errors[i] = mean_and_error(inside)
    return means, errors
