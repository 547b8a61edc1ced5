"""Numbers of two samples side by side, with the error of each and of their difference, from the bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALLOWED", "Comparison", "compare_numbers"]

ALLOWED = 2.0
"""A number agrees when real and simulated differ by no more than so many of the difference's errors."""

Floats = NDArray[np.float64]
Numbers = Callable[[NDArray[np.intp]], Floats]


@dataclass(frozen=True, eq=False)
class Comparison:
    """K numbers of two samples.

    Parameters
    ----------
    real, model : ndarray, shape (K,)
    drawn : ndarray, shape (R, 2, K)
        Those of R resamples, real and model.
    """

    real: Floats
    model: Floats
    drawn: Floats

    @cached_property
    def real_error(self) -> Floats:
        """One sigma, shape (K,)."""
        return _spread(self.drawn[:, 0])

    @cached_property
    def model_error(self) -> Floats:
        """One sigma, shape (K,)."""
        return _spread(self.drawn[:, 1])

    @cached_property
    def error(self) -> Floats:
        """One sigma of model less real, shape (K,)."""
        return _spread(self.drawn[:, 1] - self.drawn[:, 0])

    @property
    def sigmas(self) -> Floats:
        """Model less real over the error of the difference, shape (K,)."""
        away = self.model - self.real
        safe = np.where(self.error > 0, self.error, 1.0)
        certain = np.where(away == 0, 0.0, np.copysign(np.inf, away))
        return np.where(np.isnan(self.error), np.nan, np.where(self.error > 0, away / safe, certain))

    @property
    def rms(self) -> float:
        """Root mean square of the known `sigmas`; NaN without any."""
        known = self.sigmas[~np.isnan(self.sigmas)]
        return float(np.sqrt(np.mean(known**2))) if known.size else float("nan")

    @property
    def worst(self) -> float:
        """Largest modulus of the known `sigmas`; NaN without any."""
        known = self.sigmas[~np.isnan(self.sigmas)]
        return float(np.abs(known).max()) if known.size else float("nan")

    @property
    def chance(self) -> Floats:
        """What `rms` is for two samples of one parent: of the resamples about their mean, shape (R,)."""
        difference = self.drawn[:, 1] - self.drawn[:, 0]
        good = np.isfinite(difference) & (self.error > 0)
        away = np.where(good, difference - _mean(difference), 0.0) / np.where(self.error > 0, self.error, 1.0)
        return np.asarray(np.sqrt((away**2).sum(1) / np.maximum(good.sum(1), 1)))

    def named(self, names: list[str]) -> dict[str, float]:
        """All numbers as ``real_<name>``, ``model_<name>``, ``error_<name>`` (of the difference), ``sigma_<name>``."""
        columns = {"real": self.real, "model": self.model, "error": self.error, "sigma": self.sigmas}
        return {f"{kind}_{name}": float(x[i]) for kind, x in columns.items() for i, name in enumerate(names)}


def compare_numbers(
    real: Numbers,
    model: Numbers,
    labels: tuple[NDArray[np.int64], NDArray[np.int64]],
    rng: np.random.Generator,
    resamples: int = 400,
) -> Comparison:
    """Compute the numbers of both samples, and again on resampled galaxies.

    Parameters
    ----------
    real, model : callable (rows) -> ndarray of shape (K,)
        The numbers of some rows of either sample; NaN for one that these rows do not give.
    labels : (ndarray, ndarray) of int
        A label a row, the same for all stamps of a galaxy and for its counterparts. Where both samples have the same
        galaxies, a galaxy is drawn together with its counterparts, for they share their conditions; else each sample
        is drawn by itself (Davison & Hinkley 1997, Bootstrap Methods, sections 3.2 and 3.8).
    rng : numpy.random.Generator
    resamples : int
    """
    first, second = (_rows_by_label(own) for own in labels)
    paired = first.keys() == second.keys()

    def again(groups: dict[int, NDArray[np.intp]], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        rows = list(groups.values())
        return np.concatenate([rows[i] for i in chosen]) if len(chosen) else np.empty(0, dtype=np.intp)

    draws = []
    for _ in range(resamples):
        one = rng.integers(len(first), size=len(first)) if first else np.empty(0, dtype=np.intp)
        other = one if paired else rng.integers(len(second), size=len(second))
        draws.append((real(again(first, one)), model(again(second, other))))
    whole = (np.arange(len(own)) for own in labels)
    return Comparison(real(next(whole)), model(next(whole)), np.array(draws, dtype=np.float64))


def _rows_by_label(labels: NDArray[np.int64]) -> dict[int, NDArray[np.intp]]:
    return {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}


def _mean(x: Floats) -> Floats:
    """Over resamples, of those that gave the number."""
    known = np.isfinite(x)
    return np.asarray(np.where(known, x, 0.0).sum(0) / np.maximum(known.sum(0), 1))


def _spread(x: Floats) -> Floats:
    """Standard deviation over resamples; NaN for a number that less than half of them gave."""
    known = np.isfinite(x)
    square = np.where(known, x - _mean(x), 0.0) ** 2
    spread = np.sqrt(square.sum(0) / np.maximum(known.sum(0), 1))
    return np.where(known.mean(0) >= 0.5, spread, np.nan)
