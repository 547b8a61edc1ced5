"""Fitting a `ConditionDensity` to training galaxies: Gaussian mixture, components by BIC, thresholds held out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import TrainingError
from skyloom.generators.density import ConditionDensity, scaled

__all__ = ["fit_density"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

QUANTILE = 0.005
"""Share of held-out training galaxies that lie outside: the one in two hundred that the single ranges leave out too."""
_SMOOTHING = 0.05
"""Added to each variance, in units of the sample's: filters are few, and what lies between two is not unseen."""
_MOST_COMPONENTS = 10
_FOLDS = 5
_LEAST_WIDTH = 0.05  # of a scaled condition: five per cent, or 0.05 mag
_SCALE = {"sersic_n": "log", "half_light_radius": "log", "wavelength": "log", "flux": "log", "redshift": "log1p"}


def fit_density(
    columns: Mapping[str, NDArray[np.float64] | None],
    galaxies: Sequence[str],
    *,
    hints: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
) -> ConditionDensity:
    """Fit a density to the conditions of training galaxies.

    Conditions that are known of all are fitted by expectation maximisation (scikit-learn); the number of components has
    the least BIC, each galaxy counted once whatever its number of images. A condition known of some is then joined by a
    linear regression in each component. Thresholds are quantiles of the log density of galaxies held out (five folds).

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (N,), or None
        In the units of `skyloom.Conditions`; NaN where not known.
    galaxies : sequence of str, length N
        Which galaxy each row shows: its images are held out together.
    hints : mapping of str to (float, float), optional
        Conditions that refuse nothing, and beyond which values they count as not known.
    seed : int
        Of the starts.

    Raises
    ------
    TrainingError
        When there are fewer than ten galaxies.
    """
    hints = hints or {}
    ids, group = np.unique(np.asarray(galaxies), return_inverse=True)
    if len(ids) < 10:
        raise TrainingError(f"a density of conditions needs at least 10 galaxies, not {len(ids)}")
    raw = {name: _cleaned(values, hints.get(name)) for name, values in columns.items() if values is not None}
    raw = {name: values for name, values in raw.items() if np.isfinite(values).sum() >= len(values) / 10}
    raw = dict(sorted(raw.items(), key=lambda item: bool(np.isnan(item[1]).any())))  # those known of all come first
    names = tuple(raw)
    scales = tuple(_SCALE.get(name, "linear") for name in names)
    x = np.stack([scaled(values, scale) for values, scale in zip(raw.values(), scales, strict=True)], axis=1)
    centre, width = np.nanmean(x, axis=0), np.maximum(np.nanstd(x, axis=0), _LEAST_WIDTH)
    x = (x - centre) / width
    if not _always(x):
        raise TrainingError("a density of conditions needs one that is known of all galaxies")
    empty = ConditionDensity(
        names=names,
        scales=scales,
        centre=centre,
        width=width,
        weights=np.ones(1),
        means=np.zeros((1, len(names))),
        covariances=np.eye(len(names))[None],
        thresholds=np.full(2 ** len(names), -np.inf),
        hints=np.array([hints.get(name, (-np.inf, np.inf)) for name in names]),
    )
    components = _components(x, len(ids), seed)
    fitted = _mixture(empty, x, components, seed)
    logger.info("density of %s: %d components, %d galaxies", ", ".join(names), components, len(ids))
    return replace(fitted, thresholds=_thresholds(fitted, x, group, seed))


def _cleaned(values: Floats, hint: tuple[float, float] | None) -> Floats:
    out = np.array(values, dtype=np.float64)
    if hint is not None:
        out[(out < hint[0]) | (out > hint[1])] = np.nan
    return out


def _always(x: Floats) -> int:
    """How many conditions are known of all; they come first."""
    return int((~np.isnan(x).any(0)).sum())


def _components(x: Floats, galaxies: int, seed: int) -> int:
    """Number of components with the least BIC, the galaxies taken for the number of independent points."""
    complete = x[:, : _always(x)]
    bic = []
    for k in range(1, max(1, min(_MOST_COMPONENTS, galaxies // 20)) + 1):
        mixture = _expectation_maximisation(complete, k, seed)
        d = complete.shape[1]
        free = k - 1 + k * d + k * d * (d + 1) // 2
        bic.append(-2 * float(mixture.score(complete)) * galaxies + free * np.log(galaxies))
    return int(np.argmin(bic)) + 1


def _expectation_maximisation(x: Floats, components: int, seed: int):  # type: ignore[no-untyped-def]
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a start that is still moving is as good a density
        return GaussianMixture(
            components, reg_covar=_SMOOTHING, random_state=seed, n_init=3, max_iter=500, tol=1e-4
        ).fit(x)


def _mixture(template: ConditionDensity, x: Floats, components: int, seed: int) -> ConditionDensity:
    always = _always(x)
    found = _expectation_maximisation(x[:, :always], components, seed)
    means, covariances, share = found.means_, found.covariances_, found.predict_proba(x[:, :always])
    for d in range(always, x.shape[1]):
        rows = ~np.isnan(x[:, : d + 1]).any(1)
        means, covariances = _joined(x[rows, :d], x[rows, d], share[rows], means, covariances)
    return replace(template, weights=found.weights_, means=means, covariances=covariances)


def _joined(x: Floats, y: Floats, share: Floats, means: Floats, covariances: Floats) -> tuple[Floats, Floats]:
    """Add a condition to each component by regression on the others, a ridge holding it where few galaxies tell.

    With y = m + b (x - mu) + scatter s in a component, the joint Gaussian has Cov(x, y) = C b, Var(y) = b' C b + s^2.
    """
    k, d = means.shape
    more_means, more = np.empty((k, d + 1)), np.empty((k, d + 1, d + 1))
    for j in range(k):
        away = x - means[j]
        design = np.column_stack([np.ones(len(x)), away])
        weighted = design * share[:, j : j + 1]
        ridge = np.diag([1.0] + [5.0] * d)  # towards the mean of all, in units of galaxies
        solution = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ y)
        scatter = y - design @ solution
        variance = (share[:, j] @ scatter**2 + 5.0 * y.var()) / (share[:, j].sum() + 5.0) + _SMOOTHING
        slope = solution[1:]
        across = covariances[j] @ slope
        more_means[j] = [*means[j], solution[0]]
        more[j, :d, :d], more[j, d, :d], more[j, :d, d] = covariances[j], across, across
        more[j, d, d] = slope @ across + variance
    return more_means, more


def _thresholds(fitted: ConditionDensity, x: Floats, group: NDArray[np.int64], seed: int) -> Floats:
    """The `QUANTILE` of held-out log densities, for each set of known conditions; -inf for none."""
    order = np.random.default_rng(seed).permutation(int(group.max()) + 1)
    fold = order[group] % _FOLDS
    codes = np.arange(2 ** x.shape[1])
    held: list[list[Floats]] = [[] for _ in codes]
    for part in range(_FOLDS):
        model = _mixture(fitted, x[fold != part], len(fitted.weights), seed)
        for code in codes[1:]:
            known = (code >> np.arange(x.shape[1]) & 1).astype(bool)
            rows = x[fold == part]
            rows = rows[~np.isnan(rows[:, known]).any(1)]
            held[code].append(model.log_density(np.where(known, rows, np.nan)))
    found = [np.concatenate(h) if h else np.empty(0) for h in held]
    return np.array([np.quantile(h, QUANTILE) if len(h) else -np.inf for h in found])
