"""Metrics of how well galaxies follow the conditions that were asked of them."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table

from skyloom.descriptors import Metric
from skyloom.validate.labels import CONDITION_LABELS, LABELS
from skyloom.validate.metrics_columns import (
    CONDITIONS,
    asked_conditions,
    galaxies_in,
    galaxy_labels,
    generator_of,
    values,
)
from skyloom.validate.statistics_conditional import compare_conditional
from skyloom.validate.statistics_score import bootstrap, score

__all__ = ["BIASED", "conditional_metrics"]

BIASED: tuple[str, ...] = (
    "moments_sigma",
    "moments_ellipticity",
    "moments_rho4",
    "concentration",
    "asymmetry",
    "gini",
    "residual_rms",
    "residual_rms_smoothed",
)
"""Quantities whose run with each condition is judged."""

_HALF_NORMAL = 0.6745  # median of |x| of a unit normal


def conditional_metrics() -> list[Metric]:
    """Give ``bias_<quantity>`` and ``calibration_<condition>``."""
    biases = [
        Metric(
            f"bias_{quantity}",
            partial(_bias, quantity),
            summary=f"run of {LABELS[quantity]} with magnitude, size, n, q and S/N, whichever is worst",
            formula="max over conditions of rms over bins of (median model - median real) / std(real)",
            label=f"{LABELS[quantity]} against conditions",
            group="conditional bias",
        )
        for quantity in BIASED
    ]
    calibrations = [
        Metric(
            f"calibration_{condition}",
            partial(_calibration, condition),
            summary=f"{label} measured on a simulated galaxy against the one asked for",
            formula="median |recovered - asked| / std(real)",
            label=f"{label}, asked and recovered",
            group="calibration",
        )
        for condition, label in CONDITION_LABELS.items()
    ]
    return [*biases, *calibrations]


def _bias(quantity: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """The condition that looks worst, in units of its floor, and the value against each."""
    rng = generator_of(context, zlib.crc32(f"bias {quantity}".encode()))
    real_y, model_y = values(real, quantity), values(model, quantity)
    found: dict[str, dict[str, float]] = {}
    for condition in (*CONDITIONS.values(), "fit_snr"):
        real_x, model_x = values(real, condition), asked_conditions(real, model, condition)
        if not np.isfinite(model_x).any():  # not the same galaxies: their own conditions
            model_x = values(model, condition)
        first, second = np.isfinite(real_x + real_y), np.isfinite(model_x + model_y)
        labels = galaxy_labels(real[first], model[second])
        found[condition] = compare_conditional(
            real_x[first],
            real_y[first],
            model_x[second],
            model_y[second],
            rng,
            labels=labels,
            size=galaxies_in(model[second]),
        )
    judged = {name: s for name, s in found.items() if np.isfinite(s["value"])}
    if not judged:
        return score(float("nan"))
    worst = max(judged, key=lambda name: judged[name]["value"] / max(judged[name]["floor"], 1e-12))
    return judged[worst] | {f"against_{name}": s["value"] for name, s in found.items()}


def _calibration(condition: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """The floor is the scatter of real galaxies' own fits (`skyloom.validate.run_sectors`), or of the fit's errors.

    ``sector_<column>`` of the context, shape (len(real),), has the former; the larger of the two counts.
    """
    rng = generator_of(context, zlib.crc32(f"calibration {condition}".encode()))
    column = CONDITIONS[condition]
    asked, recovered = asked_conditions(real, model, column), values(model, column)
    truth = values(real, column)
    both = np.isfinite(asked + recovered)
    truth = truth[np.isfinite(truth)]
    scatter = float(truth.std()) if len(truth) else 0.0
    if both.sum() < 4 or not scatter > 0:
        return score(float("nan"), n_model=int(both.sum()))
    away = (recovered - asked)[both] / scatter
    sigma = np.asarray(model[f"{column}_error"], dtype=float)[both] / scatter
    if condition == "half_light_radius":  # compared in log10
        sigma = sigma / (np.log(10) * np.asarray(model[column], dtype=float)[both])
    value = float(np.median(np.abs(away)))
    galaxies = galaxy_labels(real[:0], model[both])[1]
    draws = bootstrap(lambda _, j: float(np.median(np.abs(away[j]))), 1, galaxies, rng, 100)
    biases = bootstrap(lambda _, j: float(np.median(away[j])), 1, galaxies, rng, 100)
    of_fit = _HALF_NORMAL * float(np.nanmedian(sigma))
    sectors = np.asarray(context.get(f"sector_{column}", ()), dtype=float) / scatter
    known = np.flatnonzero(np.isfinite(sectors))
    of_real, floor_error = float("nan"), float("nan")
    if len(known) >= 4:
        of_real = float(np.median(sectors[known]))
        own = galaxy_labels(real[known], real[:0])[0]
        again = bootstrap(lambda _, j: float(np.median(sectors[known[j]])), 1, own, rng, 100)
        floor_error = float(again.std())
    return score(
        value,
        float(draws.std()),
        float(np.nanmax([of_fit, of_real])),
        floor_error,
        bias=float(np.median(away)),
        bias_error=float(biases.std()),
        fit_error=of_fit,
        real_scatter=of_real,
        n_model=len(away),
    )
