"""A score with its error and its floor: what two samples of the same galaxies would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "bootstrap", "half_floor", "random_halves", "score"]


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


Rows = int | NDArray[np.int64]
"""How many rows a sample has, all of them independent; or a label a row, the same for stamps of one galaxy."""


def bootstrap(
    statistic: Callable[[NDArray[np.intp], NDArray[np.intp]], float],
    real: Rows,
    model: Rows,
    rng: np.random.Generator,
    resamples: int = 200,
) -> NDArray[np.float64]:
    """Values of a statistic of two samples when both are drawn again with replacement.

    Parameters
    ----------
    statistic : callable (rows of real, rows of model) -> float
    real, model : int, or ndarray of int of shape (n,)
        Sizes of the samples, or a label a row: rows of one label are drawn together, for the stamps of one galaxy in
        several bands are not independent (Davison & Hinkley 1997, Bootstrap Methods, section 3.8). Labels that stand in
        both samples are of galaxies and their counterparts: the two are drawn together, for they share conditions.
    rng : numpy.random.Generator
    resamples : int

    Returns
    -------
    ndarray, shape (resamples,)
        Its standard deviation is the statistic's error (Efron 1979, Ann. Statist. 7, 1). Distances are biased
        high under resampling, by about what separates two samples of one parent: use the scatter, not the
        mean.
    """
    first, second = _Galaxies.of(real), _Galaxies.of(model)

    def again(galaxies: _Galaxies) -> NDArray[np.intp]:
        return galaxies.rows(rng.integers(len(galaxies), size=len(galaxies)))

    if isinstance(real, int) or isinstance(model, int) or not np.intersect1d(real, model).size:
        return np.fromiter((statistic(again(first), again(second)) for _ in range(resamples)), float, resamples)

    everyone = np.union1d(real, model)
    places = [galaxies.places(everyone) for galaxies in (first, second)]

    def together() -> float:
        while True:
            chosen = rng.integers(len(everyone), size=len(everyone))
            i, j = (g.rows(own[chosen][own[chosen] >= 0]) for g, own in zip((first, second), places, strict=True))
            if len(i) and len(j):  # galaxies without a counterpart may leave one side empty, if rarely
                return statistic(i, j)

    return np.fromiter((together() for _ in range(resamples)), float, resamples)


def random_halves(rows: Rows, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of two halves of the labels, at random; one label is left out of an odd number."""
    galaxies = _Galaxies.of(rows)
    half = len(galaxies) // 2
    order = rng.permutation(len(galaxies))
    return galaxies.rows(order[:half]), galaxies.rows(order[half : 2 * half])


@dataclass(frozen=True, eq=False)
class _Galaxies:
    """Rows sorted by label, and where each label's begin."""

    names: NDArray[np.int64]
    order: NDArray[np.intp]
    start: NDArray[np.intp]
    count: NDArray[np.intp]

    @classmethod
    def of(cls, rows: Rows) -> _Galaxies:
        labels = np.arange(rows) if isinstance(rows, int) else rows
        names, start, count = np.unique(np.sort(labels), return_index=True, return_counts=True)
        return cls(names, np.argsort(labels, kind="stable"), start, count)

    def __len__(self) -> int:
        return len(self.start)

    def places(self, names: NDArray[np.int64]) -> NDArray[np.intp]:
        """Where each of some labels stands among those here; -1 for one that does not."""
        place = np.searchsorted(self.names, names).clip(max=len(self.names) - 1)
        return np.where(self.names[place] == names, place, -1)

    def rows(self, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """All rows of some labels, again for each time that a label stands there."""
        count = self.count[chosen]
        first = self.start[chosen] - (np.cumsum(count) - count)
        return np.asarray(self.order[np.repeat(first, count) + np.arange(count.sum())])


def half_floor(
    statistic: Callable[[NDArray[np.intp], NDArray[np.intp]], float],
    real: Rows,
    model: Rows,
    rng: np.random.Generator,
    repeats: int = 20,
) -> tuple[float, float]:
    """Floor of a distance: random halves of the real sample against each other, scaled to the sizes compared.

    A distance that vanishes for equal distributions goes as sqrt(1/n + 1/m) in the sizes of its two samples,
    so halves of n/2 give sqrt(4/n), and the floor of n against m is theirs times sqrt((1/n + 1/m) / (4/n)).

    Parameters
    ----------
    statistic : callable (rows of real, other rows of real) -> float
    real, model : int, or ndarray of int of shape (n,)
        Sizes of the samples compared, or a label a row: rows of one label go into the same half, and the sizes are the
        numbers of labels.
    rng : numpy.random.Generator
    repeats : int
        Random splits.

    Returns
    -------
    float, float
        Mean, and scatter between splits. NaN below four real galaxies.
    """
    n_real, n_model = len(_Galaxies.of(real)), len(_Galaxies.of(model))
    if n_real < 4 or n_model < 1:
        return float("nan"), float("nan")
    values = [statistic(*random_halves(real, rng)) for _ in range(repeats)]
    factor = np.sqrt((1 / n_real + 1 / n_model) * n_real / 4)
    return float(np.mean(values) * factor), float(np.std(values) * factor)
