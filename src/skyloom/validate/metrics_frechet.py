"""The Frechet distance on physical features."""

from __future__ import annotations

from typing import Any

from astropy.table import Table

from skyloom.descriptors import Metric
from skyloom.validate.metrics_columns import feature_matrix, galaxies_in, galaxy_labels, generator_of
from skyloom.validate.statistics_frechet import frechet_distance, whitened
from skyloom.validate.statistics_joint import standardise
from skyloom.validate.statistics_score import bootstrap, half_floor, score

__all__ = ["FRECHET_FEATURES", "frechet_metrics"]

FRECHET_FEATURES: tuple[str, ...] = (
    "moments_sigma",
    "moments_ellipticity",
    "concentration",
    "asymmetry",
    "gini",
    "m20",
    "residual_rms_smoothed",
    "residual_asymmetry",
)

_FEWEST = 5 * len(FRECHET_FEATURES)  # a covariance of fewer is noise


def frechet_metrics() -> list[Metric]:
    """Give the Frechet distance."""
    return [
        Metric(
            "frechet",
            _frechet,
            "distance of mean and covariance of eight features, whitened by the real galaxies",
            "sqrt(|mean x - mean y|^2 + tr(X + Y - 2 (X^1/2 Y X^1/2)^1/2)), X and Y covariances",
            "Dowson & Landau 1982, J. Multivar. Anal. 12, 450",
            label="Frechet distance of physical features",
            group="joint",
        )
    ]


def _frechet(real: Table, model: Table, **context: Any) -> dict[str, float]:
    (x, rows), (y, others) = (feature_matrix(table, FRECHET_FEATURES) for table in (real, model))
    counts: dict[str, float] = {
        "n_real": len(rows),
        "n_model": len(others),
        "left_out_real": len(real) - len(rows),
        "left_out_model": len(model) - len(others),
    }
    if min(len(x), len(y)) < _FEWEST:
        return score(float("nan"), **counts)
    x, y = whitened(*standardise(x, y))  # strays cut first: one alone would be a covariance
    labels, size = galaxy_labels(real[rows], model[others]), galaxies_in(model[others])
    rng = generator_of(context, 15)
    draws = bootstrap(lambda i, j: frechet_distance(x[i], y[j]), *labels, rng, 100)
    floor, floor_error = half_floor(lambda i, j: frechet_distance(x[i], x[j]), labels[0], size, rng)
    return score(frechet_distance(x, y), float(draws.std()), floor, floor_error, **counts)
