"""A score with its error and its floor: what two samples of the same galaxies would give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap", "half_floor", "score"]


def score(
    value: float,
    error: float = float("nan"),
    floor: float = float("nan"),
    floor_error: float = float("nan"),
    **more: float,
) -> dict[str, float]:
    """Put a metric's result together.

    Parameters
    ----------
    value, error : float
        The score and one sigma of it.
    floor, floor_error : float
        Mean and scatter of the score of real against real at the same sizes of sample.
    **more : float
        Other numbers of the metric, e.g. how many galaxies it was measured on.

    Returns
    -------
    dict of str to float
    """
    return {
        "value": float(value),
        "error": float(error),
        "floor": float(floor),
        "floor_error": float(floor_error),
        **{name: float(number) for name, number in more.items()},
    }


def bootstrap(
    statistic: Callable[[NDArray[np.intp], NDArray[np.intp]], float],
    n_real: int,
    n_model: int,
    rng: np.random.Generator,
    resamples: int = 200,
) -> NDArray[np.float64]:
    """Values of a statistic of two samples when both are drawn again with replacement.

    Parameters
    ----------
    statistic : callable (rows of real, rows of model) -> float
    n_real, n_model : int
        Sizes of the samples.
    rng : numpy.random.Generator
    resamples : int

    Returns
    -------
    ndarray, shape (resamples,)
        Its standard deviation is the statistic's error (Efron 1979, Ann. Statist. 7, 1). Distances are biased
        high under resampling, by about what separates two samples of one parent: use the scatter, not the
        mean.
    """
    draws = (
        statistic(rng.integers(n_real, size=n_real), rng.integers(n_model, size=n_model)) for _ in range(resamples)
    )
    return np.fromiter(draws, float, resamples)


def half_floor(
    statistic: Callable[[NDArray[np.intp], NDArray[np.intp]], float],
    n_real: int,
    n_model: int,
    rng: np.random.Generator,
    repeats: int = 20,
) -> tuple[float, float]:
    """Floor of a distance: random halves of the real sample against each other, scaled to the sizes compared.

    A distance that vanishes for equal distributions goes as sqrt(1/n + 1/m) in the sizes of its two samples,
    so halves of n/2 give sqrt(4/n), and the floor of n against m is theirs times sqrt((1/n + 1/m) / (4/n)).

    Parameters
    ----------
    statistic : callable (rows of real, other rows of real) -> float
    n_real, n_model : int
        Sizes of the samples compared.
    rng : numpy.random.Generator
    repeats : int
        Random splits.

    Returns
    -------
    float, float
        Mean, and scatter between splits. NaN below four real galaxies.
    """
    if n_real < 4 or n_model < 1:
        return float("nan"), float("nan")
    half = n_real // 2
    values = []
    for _ in range(repeats):
        order = rng.permutation(n_real)
        values.append(statistic(order[:half], order[half : 2 * half]))
    factor = np.sqrt((1 / n_real + 1 / n_model) * n_real / 4)
    return float(np.mean(values) * factor), float(np.std(values) * factor)
