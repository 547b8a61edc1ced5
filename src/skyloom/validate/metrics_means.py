"""Metrics of means: profiles, power spectra, shears, failures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.descriptors import Metric
from skyloom.validate.measure_flags import MeasureFlag
from skyloom.validate.measure_tools import FLAGS, TOOLS
from skyloom.validate.metrics_columns import galaxies_in, galaxy_labels, generator_of, values
from skyloom.validate.statistics_score import bootstrap, half_floor, score
from skyloom.validate.statistics_simple import difference_and_error

__all__ = ["mean_metrics"]


def mean_metrics() -> list[Metric]:
    """Give the metrics of means."""
    return [
        Metric(
            "profile",
            partial(_curve, "profile_", False),
            "mean surface-brightness profile, from 0.1 to 4.5 half-light radii",
            "rms over radii of (mean model - mean real) / mean real",
            label="surface-brightness profile",
            group="profile and spectrum",
        ),
        Metric(
            "power_spectrum",
            partial(_curve, "residual_spectrum_", True),
            "mean power spectrum of the residual after the best Sersic",
            "rms over wavenumbers of (mean model - mean real) / mean real power",
            label="power spectrum of the residual",
            group="profile and spectrum",
        ),
        *(
            Metric(
                f"mean_g{i}",
                partial(_mean_shear, i),
                f"mean g{i} of the fits, less that of the real galaxies: the PSF must not leak in",
                f"mean g{i} model - mean g{i} real, g = (1 - q) / (1 + q) exp(2 i beta)",
                better="zero",
                label=f"mean g{i}",
                group="size and shape",
            )
            for i in (1, 2)
        ),
        Metric(
            "failures",
            _failures,
            "share of failed measurements, of the tool where real and simulated differ most",
            "max over tools of |P(failed | model) - P(failed | real)|",
            label="failed measurements",
            group="pixels",
        ),
    ]


def _curve(prefix: str, squared: bool, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """Nodes where the real mean is below three of its errors are left out: there is no light to compare."""
    names = [name for name in real.colnames if name.startswith(prefix)]
    x, y = (np.stack([values(t, name) for name in names], axis=1) for t in (real, model))
    if squared:  # they are signed roots of powers
        x, y = x * np.abs(x), y * np.abs(y)
    enough = np.isfinite(x).sum(axis=0) >= 8, np.isfinite(y).sum(axis=0) >= 8
    seen = np.flatnonzero(enough[0] & enough[1])
    if len(seen) == 0:
        return score(float("nan"))
    x, y = x[:, seen], y[:, seen]
    mean, error = np.nanmean(x, axis=0), np.nanstd(x, axis=0) / np.sqrt(np.isfinite(x).sum(axis=0))
    bright = mean > 3 * error
    if not bright.any():
        return score(float("nan"))
    x, y, mean = x[:, bright], y[:, bright], mean[bright]

    def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        with np.errstate(invalid="ignore"):
            return float(np.sqrt(np.nanmean(((np.nanmean(b, axis=0) - np.nanmean(a, axis=0)) / mean) ** 2)))

    rng, labels = generator_of(context, 20), galaxy_labels(real, model)
    draws = bootstrap(lambda i, j: distance(x[i], y[j]), *labels, rng, 100)
    floor, floor_error = half_floor(lambda i, j: distance(x[i], x[j]), labels[0], galaxies_in(model), rng)
    ratios = {
        f"ratio_{names[seen[k]]}": float(np.nanmean(y[:, i]) / mean[i]) for i, k in enumerate(np.flatnonzero(bright))
    }
    return score(distance(x, y), float(draws.std()), floor, floor_error, **ratios)


def _mean_shear(component: int, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """The floor is the error of the difference, in which galaxies and their counterparts are taken together."""
    del context
    turn: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.cos if component == 1 else np.sin

    def shears(table: Table) -> NDArray[np.float64]:
        q, beta = values(table, "fit_q"), values(table, "fit_beta")
        return np.asarray((1 - q) / (1 + q) * turn(2 * beta))

    x, y = shears(real), shears(model)
    seen, made = np.isfinite(x), np.isfinite(y)
    difference, error = difference_and_error(x[seen], y[made], *galaxy_labels(real[seen], model[made]))
    return score(difference, error, error, n_real=int(seen.sum()), n_model=int(made.sum()))


def _failures(real: Table, model: Table, **context: Any) -> dict[str, float]:
    del context
    if len(real) == 0 or len(model) == 0:
        return score(float("nan"))
    # the bands of a galaxy fail together, for they share masks and size: it is galaxies that count
    n, m = galaxies_in(real), galaxies_in(model)
    shares = {}
    for flag, tool in zip(FLAGS, TOOLS, strict=True):
        a, b = (float((np.asarray(t[flag]) >= MeasureFlag.FAILED).mean()) for t in (real, model))
        both = (a * len(real) + b * len(model)) / (len(real) + len(model))
        error = np.sqrt(max(both * (1 - both), 0.25 / m) * (1 / n + 1 / m))
        shares[tool.name] = abs(a - b), float(error)
    worst = max(shares, key=lambda name: shares[name][0])
    value, error = shares[worst]
    return score(value, error, error, **{f"of_{name}": share for name, (share, _) in shares.items()})
