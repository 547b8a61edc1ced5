"""How much structure there is after the best Sersic, from faint to bright galaxies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.descriptors import Metric
from skyloom.validate.metrics_columns import asked_conditions, galaxy_labels, generator_of, values
from skyloom.validate.reencoded_compare import compare_numbers
from skyloom.validate.statistics_conditional import quantile_edges
from skyloom.validate.statistics_score import score

__all__ = ["residual_power_metrics"]

NAMES = ("faint", "middle", "bright")
GOAL = 0.1
"""By how much a ratio may be off 1."""

CUT = 98
"""Percentile of a sample's powers at which they are cut: one badly fitted galaxy must not own the mean."""

MIN_STAMPS = 8


def residual_power_metrics() -> list[Metric]:
    """Give one metric a third of the galaxies by S/N."""
    return [
        Metric(
            f"residual_power_{name}",
            partial(_ratio, i),
            f"power of the smoothed residual after the best Sersic, {name} third of the galaxies by S/N",
            "mean power model / mean power real - 1, powers cut at their 98th percentile",
            better="zero",
            label=f"residual power, {name} third",
            group="residual",
        )
        for i, name in enumerate(NAMES)
    ]


def _ratio(third: int, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """Also ``median``: ratio of medians, less 1; ``sigma``: how many errors it is off."""
    powers = [_power(table) for table in (real, model)]
    snr = [values(real, "fit_snr"), asked_conditions(real, model, "fit_snr")]
    snr = [np.where(np.isfinite(own), own, values(t, "fit_snr")) for own, t in zip(snr, (real, model), strict=True)]
    known = np.isfinite(snr[0]) & np.isfinite(powers[0])
    if known.sum() < 3 * MIN_STAMPS:
        return score(float("nan"))
    edges = quantile_edges(snr[0][known], 3)
    inside = [np.isfinite(p) & (np.digitize(s, edges[1:-1]) == third) for p, s in zip(powers, snr, strict=True)]
    if min(rows.sum() for rows in inside) < MIN_STAMPS:
        return score(float("nan"))
    tables = real[inside[0]], model[inside[1]]
    x, y = (_cut(p[rows]) for p, rows in zip(powers, inside, strict=True))

    def numbers(power: NDArray[np.float64]) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
        return lambda rows: np.array([power[rows].mean(), np.median(power[rows])])

    found = compare_numbers(numbers(x), numbers(y), galaxy_labels(*tables), generator_of(context, 64 + third))
    if not (found.drawn[:, 0, 0] > 0).all():  # noise has taken it all
        return score(float("nan"), power_real=float(found.real[0]), power_model=float(found.model[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        median = float(found.model[1] / found.real[1]) - 1
    value = float(found.model[0] / found.real[0]) - 1
    return score(
        value,
        _error(value, found.drawn[:, 1, 0] / found.drawn[:, 0, 0]),
        floor=GOAL / 2,  # of which twice is allowed
        median=median if found.real[1] > 0 else float("nan"),
        power_real=float(found.real[0]),
        power_model=float(found.model[0]),
        sigma=float(found.sigmas[0]),
        snr_low=float(10 ** snr[0][inside[0]].min()),
        snr_high=float(10 ** snr[0][inside[0]].max()),
        n_real=len(x),
        n_model=len(y),
    )


def _error(value: float, drawn: NDArray[np.float64]) -> float:
    """Of a ratio less 1, so that it is as many sigma off 0 as the ratio's logarithm is.

    Powers are heavy-tailed, and a few galaxies can make a ratio 3 or 1/3: errors that are even in the logarithm.
    """
    least = 0.01
    logarithm = np.log(max(value + 1, least))
    spread = float(np.std(np.log(np.maximum(drawn, least))))
    return spread * (value / logarithm if abs(logarithm) > 1e-6 else 1.0)


def _cut(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(power, np.percentile(power, CUT))


def _power(table: Table) -> NDArray[np.float64]:
    """The column is the signed root of the power."""
    root = values(table, "residual_rms_smoothed")
    return np.asarray(root * np.abs(root))
