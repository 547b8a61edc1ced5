"""How far two samples are apart in many quantities at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyloom.validate.statistics_marginal import wasserstein_1

__all__ = ["maximum_mean_discrepancy", "sliced_wasserstein", "standardise"]


def standardise(real: NDArray[np.float64], *others: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Take off the median of the real sample and divide by its scatter, column by column.

    Ranges of 5 sigma and more are cut, so that one galaxy whose measurement went astray does not decide a
    distance.

    Parameters
    ----------
    real : ndarray, shape (N, D)
    *others : ndarray, shape (M, D)

    Returns
    -------
    tuple of ndarray
        All of them, the real one first. A quantity that does not vary is 0.
    """
    low, centre, high = np.percentile(real, [16, 50, 84], axis=0)
    scale = np.where(high > low, (high - low) / 2, np.inf)
    return tuple(np.clip((sample - centre) / scale, -5, 5) for sample in (real, *others))


def sliced_wasserstein(
    a: NDArray[np.float64], b: NDArray[np.float64], rng: np.random.Generator, projections: int = 100
) -> float:
    """Wasserstein-1 distance of the samples' shadows on a line, averaged over lines.

    Rabin et al. 2011 (SSVM, LNCS 6667, 435), with the first power instead of the second.

    Parameters
    ----------
    a, b : ndarray, shapes (n, D) and (m, D)
    rng : numpy.random.Generator
        Of the lines' directions, even over the sphere.
    projections : int
        Lines.

    Returns
    -------
    float
    """
    directions = rng.standard_normal((projections, a.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return float(np.mean([wasserstein_1(a @ d, b @ d) for d in directions]))


def maximum_mean_discrepancy(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    rng: np.random.Generator,
    permutations: int = 200,
    largest: int = 800,
    labels: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[float, float, float]:
    """Squared maximum mean discrepancy, and how often samples of one parent show one as large.

    The unbiased estimator of Gretton et al. 2012 (JMLR 13, 723, lemma 6) with a Gaussian kernel whose width
    is the median distance of the joint sample; it may be negative.

    Parameters
    ----------
    a, b : ndarray, shapes (n, D) and (m, D)
        At least two rows each.
    rng : numpy.random.Generator
    permutations : int
        Of the labels, for the p-value.
    largest : int
        Rows used of each, at random: the cost goes as their square.
    labels : (ndarray, ndarray), optional
        A label a row; rows of one label of one sample change sides together, for they are of one galaxy.

    Returns
    -------
    mmd2, p, null : float
        `null` is the root mean square of the permutations' values.
    """
    chosen = [np.arange(len(s)) if len(s) <= largest else rng.choice(len(s), largest, replace=False) for s in (a, b)]
    a, b = a[chosen[0]], b[chosen[1]]
    if labels is None:
        groups = np.arange(len(a) + len(b))
    else:
        first, second = (np.unique(own[c], return_inverse=True)[1] for own, c in zip(labels, chosen, strict=True))
        groups = np.concatenate([first, second + first.max() + 1])
    both = np.concatenate([a, b])
    squares = (both**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * both @ both.T, 0.0)
    width = np.median(distances[np.triu_indices(len(both), 1)])
    kernel = np.exp(-distances / max(float(width), 1e-300))
    np.fill_diagonal(kernel, 0.0)

    def estimate(first: NDArray[np.bool_]) -> float:
        x = first.astype(float)
        y = 1 - x
        n, m = float(x.sum()), float(y.sum())
        to_x = kernel @ x
        within_x, across = float(x @ to_x), float(y @ to_x)
        within_y = float(y @ (kernel @ y))
        return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)

    is_first = np.arange(len(both)) < len(a)
    value = estimate(is_first)
    sides = is_first[np.unique(groups, return_index=True)[1]]
    null = np.array([estimate(rng.permutation(sides)[groups]) for _ in range(permutations)])
    p = float(((null >= value).sum() + 1) / (permutations + 1))
    return value, p, float(np.sqrt(np.mean(null**2)))
