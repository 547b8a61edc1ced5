"""How a quantity runs with a condition, in real and in simulated galaxies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyloom.validate.statistics_score import Rows, bootstrap, half_floor, score

__all__ = ["binned_medians", "compare_conditional", "quantile_edges"]

MIN_IN_BIN = 5
"""Galaxies of a bin below which its median is not used."""


def quantile_edges(x: NDArray[np.float64], bins: int = 6) -> NDArray[np.float64]:
    """Edges of bins that hold equally many of `x`, the outermost ones infinite."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)))
    edges[0], edges[-1] = -np.inf, np.inf
    return edges


def binned_medians(
    x: NDArray[np.float64], y: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Median of y in bins of x.

    Parameters
    ----------
    x, y : ndarray, shape (N,)
    edges : ndarray, shape (B + 1,)

    Returns
    -------
    median, error, number : ndarray, shape (B,)
        The error is 1.2533 sigma / sqrt(N), with sigma half of the 16-84 % range; both NaN with fewer than
        five.
    """
    which = np.digitize(x, edges[1:-1])
    medians = np.full(len(edges) - 1, np.nan)
    errors = medians.copy()
    numbers = np.bincount(which, minlength=len(medians))
    for i in np.flatnonzero(numbers >= MIN_IN_BIN):
        inside = y[which == i]
        low, medians[i], high = np.percentile(inside, [16, 50, 84])
        errors[i] = 1.2533 * (high - low) / 2 / np.sqrt(len(inside))
    return medians, errors, numbers


def compare_conditional(
    real_x: NDArray[np.float64],
    real_y: NDArray[np.float64],
    model_x: NDArray[np.float64],
    model_y: NDArray[np.float64],
    rng: np.random.Generator,
    bins: int = 6,
    resamples: int = 100,
    labels: tuple[Rows, Rows] | None = None,
    size: Rows | None = None,
) -> dict[str, float]:
    """Root mean square, over bins of x, of the difference of the medians of y.

    In units of the scatter of y in the real sample.

    Parameters
    ----------
    real_x, real_y : ndarray, shape (n,)
        Condition and quantity of the real galaxies.
    model_x, model_y : ndarray, shape (m,)
        Condition that was asked of the simulated ones, and their quantity.
    rng : numpy.random.Generator
    bins : int
        Of equally many real galaxies.
    resamples : int
        Of the bootstrap.
    labels : (ndarray, ndarray), optional
        Of the galaxies that the numbers are of; see `skyloom.validate.statistics_score.bootstrap`.
    size : int, optional
        How many galaxies the floor takes the simulated sample for; its labels by default.

    Returns
    -------
    dict of str to float
        See `skyloom.validate.statistics_score.score`; ``worst`` is the largest difference of a bin, with its
        sign.
    """
    scatter = float(np.std(real_y)) if len(real_y) else 0.0
    if min(len(real_y), len(model_y)) < bins * MIN_IN_BIN or not scatter > 0:
        return score(float("nan"), n_real=len(real_y), n_model=len(model_y))
    edges = quantile_edges(real_x, bins)

    def differences(
        x: NDArray[np.float64], y: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        found = (binned_medians(u, v, edges)[0] - binned_medians(x, y, edges)[0]) / scatter
        return found[np.isfinite(found)]

    def rms(values: NDArray[np.float64]) -> float:
        return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")

    found = differences(real_x, real_y, model_x, model_y)
    if len(found) == 0:
        return score(float("nan"), n_real=len(real_y), n_model=len(model_y))
    first, second = labels or (len(real_y), len(model_y))
    draws = bootstrap(
        lambda i, j: rms(differences(real_x[i], real_y[i], model_x[j], model_y[j])),
        first,
        second,
        rng,
        resamples,
    )
    floor, floor_error = half_floor(
        lambda i, j: rms(differences(real_x[i], real_y[i], real_x[j], real_y[j])),
        first,
        second if size is None else size,
        rng,
    )
    return score(
        rms(found),
        float(np.nanstd(draws)),
        floor,
        floor_error,
        worst=float(found[np.argmax(np.abs(found))]),
        n_real=len(real_y),
        n_model=len(model_y),
    )
