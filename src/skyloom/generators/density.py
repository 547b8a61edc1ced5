"""What training galaxies span jointly: a density of conditions, and the nearest point inside of it.

Ranges of single conditions leave corners where no galaxy was ever seen: faint and tiny and steep. The density is a
mixture of Gaussians in the conditions' natural scales, fitted once (`skyloom.generators.density_fit`) and kept with the
weights. A condition that is not known is integrated out, and each set of known conditions has its own threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCALES", "ConditionDensity", "scaled"]

Floats = NDArray[np.float64]

SCALES = ("linear", "log", "log1p")
"""Scales a condition may be taken in; a file holds the position."""

_CHUNK = 8192  # rows at a time, to stay in the processor's caches
_STEPS = 30  # of bisection along a line: to 1e-9 of it
_MARGIN = 1e-6  # by which a moved point lies inside, so that rounding doesn't carry it out again


class _Term(NamedTuple):
    """One Gaussian over the known conditions: log of its peak, mean, and what makes it round (lower triangular)."""

    peak: float
    mean: Floats
    whitening: Floats


@dataclass(frozen=True, eq=False)
class ConditionDensity:
    """Mixture of K Gaussians over D conditions; points are scaled conditions, shape (N, D), NaN where not known.

    Parameters
    ----------
    names : tuple of str
        Conditions, derived ones too; see `skyloom.generators.ranges.condition_values`.
    scales : tuple of str
        Of `SCALES`, one a condition.
    centre, width : ndarray, shape (D,)
        A point is (scaled condition - centre) / width.
    weights : ndarray, shape (K,)
    means : ndarray, shape (K, D)
    covariances : ndarray, shape (K, D, D)
    thresholds : ndarray, shape (2**D,)
        Least log density inside, for each set of known conditions: bit d of the index tells that condition d is known.
    hints : ndarray, shape (D, 2)
        Conditions that refuse nothing have a finite range: a value beyond it, or one that doesn't go with the others,
        counts as not known.

    Raises
    ------
    ValueError
        When the shapes do not fit together or a covariance is not positive definite.
    """

    names: tuple[str, ...]
    scales: tuple[str, ...]
    centre: Floats
    width: Floats
    weights: Floats
    means: Floats
    covariances: Floats
    thresholds: Floats
    hints: Floats
    _terms: dict[int, list[_Term]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        d, k = len(self.names), len(self.weights)
        wanted = {"centre": (d,), "width": (d,), "means": (k, d), "covariances": (k, d, d)}
        wanted |= {"thresholds": (2**d,), "hints": (d, 2)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"density.{name} has shape {getattr(self, name).shape}, not {shape}")
        if len(self.scales) != d or not set(self.scales) <= set(SCALES):
            raise ValueError(f"density.scales are {self.scales}, not one of {SCALES} for each of {d} conditions")
        if not k or not (np.all(self.width > 0) and np.all(self.weights > 0)):
            raise ValueError("density.width and density.weights must be positive")
        try:
            np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError as exc:
            raise ValueError("density.covariances are not positive definite") from exc

    @property
    def is_hint(self) -> NDArray[np.bool_]:
        """Which conditions refuse nothing, shape (D,)."""
        return np.asarray(np.isfinite(self.hints).any(1))

    def points(self, columns: Mapping[str, NDArray[Any] | None], count: int) -> Floats:
        """Conditions as points; a hint that doesn't go with the rest becomes NaN.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (N,), or None
            In the units of `skyloom.Conditions`; NaN, None or missing where not known.
        count : int
            N.
        """
        x = np.full((count, len(self.names)), np.nan)
        for d, name in enumerate(self.names):
            values = columns.get(name)
            if values is not None:
                values = np.array(values, dtype=np.float64)
                if self.is_hint[d]:
                    values[(values < self.hints[d, 0]) | (values > self.hints[d, 1])] = np.nan
                x[:, d] = (scaled(values, self.scales[d]) - self.centre[d]) / self.width[d]
        told = np.flatnonzero(~np.isnan(x[:, self.is_hint]).all(1))
        if told.size:
            unlikely = told[self.excess(x[told]) < 0]
            x[np.ix_(unlikely, np.flatnonzero(self.is_hint))] = np.nan
        return x

    def values(self, points: Floats) -> dict[str, Floats]:
        """Inverse of `points`: conditions by name, in the units of `skyloom.Conditions`."""
        return {
            name: _unscaled(points[:, d] * self.width[d] + self.centre[d], self.scales[d])
            for d, name in enumerate(self.names)
        }

    def limits(self, ranges: Mapping[str, tuple[float, float]]) -> Floats:
        """Ranges of single conditions in the scale of points, shape (D, 2); infinite where there are none."""
        out = np.tile([-np.inf, np.inf], (len(self.names), 1))
        for d, name in enumerate(self.names):
            if name in ranges:
                ends = scaled(np.array(ranges[name], dtype=np.float64), self.scales[d])
                out[d] = (ends - self.centre[d]) / self.width[d]
        return out

    def log_density(self, points: Floats) -> Floats:
        """Log of the density of what is known of each point, shape (N,); only differences mean anything."""
        out = np.zeros(len(points))
        for code, rows in self._patterns(points):
            terms = self._marginal(code)
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                x = np.ascontiguousarray(points[part][:, _known(code, len(self.names))].T)
                out[part] = _log_sum([t.peak - _square(_whitened(t, x)) / 2 for t in terms])
        return out

    def excess(self, points: Floats) -> Floats:
        """Log density less the threshold for what is known: at least 0 inside, shape (N,)."""
        codes = ((~np.isnan(points)) @ (1 << np.arange(len(self.names)))).astype(np.int64)
        return np.asarray(self.log_density(points) - self.thresholds[codes])

    def nearest(self, points: Floats, limits: Floats | None = None) -> Floats:
        """Points outside moved inside, along the line to the mean of the component they most likely belong to.

        They stop where the line enters the region for good, found by bisection; what is not known stays unknown.

        Parameters
        ----------
        points : ndarray, shape (N, D)
            Points inside come back as they are.
        limits : ndarray, shape (D, 2), optional
            See `limits`. Points and means are brought within it first.
        """
        limits = np.tile([-np.inf, np.inf], (len(self.names), 1)) if limits is None else limits
        moved = np.clip(points, *limits.T)
        outside = np.flatnonzero(self.excess(moved) < 0)
        for code, members in self._patterns(moved[outside]):
            for start in range(0, len(members), _CHUNK):
                rows = outside[members[start : start + _CHUNK]]
                known = _known(code, len(self.names))
                x = np.ascontiguousarray(moved[rows][:, known].T)
                moved[np.ix_(rows, known)] = self._moved(code, x, limits[known]).T
        return moved

    def _moved(self, code: int, x: Floats, limits: Floats) -> Floats:
        """Move points outside, shape (D', N)."""
        terms, threshold = self._marginal(code), self.thresholds[code] + _MARGIN
        goals = np.stack([np.clip(t.mean, *limits.T) for t in terms], 1)
        height = _log_sum([t.peak - _square(_whitened(t, goals)) / 2 for t in terms])
        usable = height >= threshold if (height >= threshold).any() else height == height.max()
        here = [_whitened(t, x) for t in terms]
        belongs = np.stack([t.peak - _square(y) / 2 for t, y in zip(terms, here, strict=True)])
        belongs[~usable] = -np.inf
        along = goals[:, belongs.argmax(0)] - x
        # On the line x + t along, the square distance to a mean is a + b t + c t^2.
        a, b, c = [], [], []
        for term, y in zip(terms, here, strict=True):
            v = _whitened(term, along + term.mean[:, None])
            a.append(_square(y))
            b.append(2 * sum(y[i] * v[i] for i in range(len(v))))
            c.append(_square(v))
        low, high = np.zeros(x.shape[1]), np.ones(x.shape[1])
        for _ in range(_STEPS):
            t = (low + high) / 2
            inside = (
                _log_sum([m.peak - (p + t * (q + t * r)) / 2 for m, p, q, r in zip(terms, a, b, c, strict=True)])
                >= threshold
            )
            low, high = np.where(inside, low, t), np.where(inside, t, high)
        return np.asarray(x + high * along)

    def _patterns(self, points: Floats) -> list[tuple[int, NDArray[np.int64]]]:
        """Rows by which conditions are known; those of which nothing is are left out."""
        codes = (~np.isnan(points)) @ (1 << np.arange(len(self.names)))
        return [(int(code), np.flatnonzero(codes == code)) for code in np.unique(codes) if code]

    def _marginal(self, code: int) -> list[_Term]:
        if code not in self._terms:
            known = _known(code, len(self.names))
            terms = []
            for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
                whitening = np.linalg.inv(np.linalg.cholesky(covariance[np.ix_(known, known)]))
                peak = np.log(weight) + np.log(np.diag(whitening)).sum() - len(known) / 2 * np.log(2 * np.pi)
                terms.append(_Term(float(peak), mean[known], whitening))
            self._terms[code] = terms
        return self._terms[code]

    def tensors(self, prefix: str = "density.") -> dict[str, NDArray[Any]]:
        """All there is to keep, for `skyloom.generators.checkpoint.save_checkpoint`."""
        out: dict[str, NDArray[Any]] = {
            f"{prefix}{f.name}": getattr(self, f.name) for f in fields(self) if f.init and f.name not in _WORDS
        }
        out[prefix + "names"] = np.frombuffer("\n".join(self.names).encode(), np.uint8)
        out[prefix + "scales"] = np.array([SCALES.index(s) for s in self.scales], np.uint8)
        return out

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], prefix: str = "density.") -> ConditionDensity | None:
        """Inverse of `tensors`; None where no name has the prefix, as in files written before there was a density.

        Raises
        ------
        ValueError
            When some are missing or do not fit together.
        """
        found = {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}
        if not found:
            return None
        wanted = {f.name for f in fields(cls) if f.init}
        if set(found) != wanted:
            raise ValueError(f"density tensors are {', '.join(sorted(found))}, not {', '.join(sorted(wanted))}")
        codes = found.pop("scales").tolist()
        if not all(code in range(len(SCALES)) for code in codes):
            raise ValueError(f"density.scales {codes} are not known")
        names = tuple(bytes(found.pop("names").astype(np.uint8)).decode().split("\n"))
        numbers = {name: np.array(values, dtype=np.float64) for name, values in found.items()}
        return cls(names=names, scales=tuple(SCALES[code] for code in codes), **numbers)


_WORDS = ("names", "scales")


def scaled(values: Floats, scale: str) -> Floats:
    """Values of a condition in one of `SCALES`."""
    if scale == "linear":
        return values
    return np.asarray(np.log(values) if scale == "log" else np.log1p(values))


def _unscaled(values: Floats, scale: str) -> Floats:
    if scale == "linear":
        return values
    return np.asarray(np.exp(values) if scale == "log" else np.expm1(values))


def _known(code: int, size: int) -> NDArray[np.int64]:
    return np.flatnonzero(code >> np.arange(size) & 1)


def _whitened(term: _Term, x: Floats) -> list[Floats]:
    """Distances from the mean in the Gaussian's own widths, D' arrays of shape (N,).

    Term by term, not by a matrix product: its last digits would change with the number of rows.
    """
    away = [x[i] - term.mean[i] for i in range(len(x))]
    return [np.asarray(sum(term.whitening[j, i] * away[i] for i in range(j + 1))) for j in range(len(x))]


def _square(y: list[Floats]) -> Floats:
    return np.asarray(sum(part * part for part in y))


def _log_sum(logs: list[Floats]) -> Floats:
    """Log of the sum of exponentials; term by term, as above."""
    top = logs[0]
    for one in logs[1:]:
        top = np.maximum(top, one)
    return np.asarray(top + np.log(sum(np.exp(one - top) for one in logs)))
