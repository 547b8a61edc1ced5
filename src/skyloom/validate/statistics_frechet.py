"""Frechet distance of two samples, as if both were Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["frechet_distance", "whitened"]


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The Wasserstein-2 distance of Gaussians of the samples' means and covariances.

    d^2 = |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) (Dowson & Landau 1982, J. Multivar. Anal. 12, 450;
    with a network's features it is the FID of Heusel et al. 2017, NeurIPS 30).

    Parameters
    ----------
    a, b : ndarray, shapes (n, D) and (m, D)
        At least two rows each.

    Returns
    -------
    float
        d, in the units of the samples.
    """
    shift = a.mean(axis=0) - b.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(s, rowvar=False)) for s in (a, b))
    root = _root(first)
    cross = np.linalg.eigvalsh(root @ second @ root)
    square = shift @ shift + np.trace(first) + np.trace(second) - 2 * np.sqrt(cross.clip(0)).sum()
    return float(np.sqrt(max(square, 0.0)))


def whitened(real: NDArray[np.float64], *others: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Turn and scale all samples so that the real one has mean 0 and covariance 1.

    Directions in which the real sample does not vary (below 1e-8 of the largest variance) are left out.
    """
    centre = real.mean(axis=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(real, rowvar=False)))
    seen = values > 1e-8 * values.max()
    turn = vectors[:, seen] / np.sqrt(values[seen])
    return tuple((sample - centre) @ turn for sample in (real, *others))


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T)
