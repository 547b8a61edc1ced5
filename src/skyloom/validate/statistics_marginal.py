"""How far two samples of one quantity are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skyloom.validate.statistics_score import Rows, bootstrap, half_floor, score

__all__ = ["compare_marginal", "wasserstein_1"]


def wasserstein_1(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Wasserstein-1 distance, the integral of |F_a - F_b| over x, in the units of the samples.

    Parameters
    ----------
    a, b : ndarray, shapes (n,) and (m,)
        Finite numbers, at least one each.

    Returns
    -------
    float
    """
    a, b = np.sort(a), np.sort(b)
    both = np.sort(np.concatenate([a, b]))
    below_a = np.searchsorted(a, both[:-1], side="right") / len(a)
    below_b = np.searchsorted(b, both[:-1], side="right") / len(b)
    return float(np.sum(np.abs(below_a - below_b) * np.diff(both)))


def compare_marginal(
    real: NDArray[np.float64],
    model: NDArray[np.float64],
    rng: np.random.Generator,
    resamples: int = 200,
    labels: tuple[Rows, Rows] | None = None,
    size: Rows | None = None,
) -> dict[str, float]:
    """Wasserstein-1 distance in units of the scatter of the real sample.

    Parameters
    ----------
    real, model : ndarray, shapes (n,) and (m,)
        Finite numbers.
    rng : numpy.random.Generator
    resamples : int
        Of the bootstrap.
    labels : (ndarray, ndarray), optional
        Of the galaxies that the numbers are of; see `skyloom.validate.statistics_score.bootstrap`.
    size : int, optional
        How many galaxies the floor takes the simulated sample for; its labels by default.

    Returns
    -------
    dict of str to float
        See `skyloom.validate.statistics_score.score`; ``low`` and ``high`` are the 16th and 84th percentiles
        of the bootstrap about the value, its bias taken off; ``shift`` is the difference of the means in
        the same unit. NaN with fewer than four numbers, or real ones without scatter.
    """
    scatter = float(np.std(real)) if len(real) >= 4 else 0.0
    if len(model) < 4 or not scatter > 0:
        return score(float("nan"), n_real=len(real), n_model=len(model))
    real, model = real / scatter, model / scatter
    first, second = labels or (len(real), len(model))
    size = second if size is None else size
    value = wasserstein_1(real, model)
    draws = bootstrap(lambda i, j: wasserstein_1(real[i], model[j]), first, second, rng, resamples)
    floor, floor_error = half_floor(lambda i, j: wasserstein_1(real[i], real[j]), first, size, rng)
    low, high = np.percentile(draws, [16, 84]) - draws.mean() + value
    return score(
        value,
        float(draws.std()),
        floor,
        floor_error,
        low=max(float(low), 0.0),
        high=float(high),
        shift=float(model.mean() - real.mean()),
        n_real=len(real),
        n_model=len(model),
    )
