"""Chi2 of reconstructed galaxies in magnitude bins, with and without a floor for errors of PSF and model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table

from skyloom.descriptors import Metric
from skyloom.validate.report_verdict import ALLOWED_SIGMAS
from skyloom.validate.statistics_conditional import MIN_IN_BIN, quantile_edges
from skyloom.validate.statistics_score import score
from skyloom.validate.statistics_simple import binned_chi2, mean_and_error

__all__ = ["TOLERANCE", "reconstruction_metrics"]

TOLERANCE = 0.02
"""How far from 1 the mean chi2 of any magnitude bin may be."""

_GELMAN = "Gelman, Meng & Stern 1996, Stat. Sinica 6, 733"


def reconstruction_metrics() -> list[Metric]:
    """Give the chi2 of reconstructions, with the floor of the training and without."""
    worst = "in the magnitude bin where it is worst"
    return [
        Metric(
            "posterior_chi2",
            partial(_chi2, "chi2_floor"),
            f"chi2 a pixel of reconstructed galaxies {worst}; 3 % of the light count as error of PSF and model",
            "mean over a bin of mean((image - reconstruction)^2 / (variance + (0.03 smoothed image)^2))",
            _GELMAN,
            better="one",
            label="chi2 of reconstructions, 3 % floor",
            group="reconstruction",
        ),
        Metric(
            "posterior_chi2_noise",
            partial(_chi2, "chi2"),
            f"chi2 a pixel of reconstructed galaxies {worst}; noise alone counts",
            "mean over a bin of mean((image - reconstruction)^2 / variance)",
            _GELMAN,
            better="one",
            label="chi2 of reconstructions, noise alone",
            group="reconstruction",
        ),
    ]


def _chi2(kind: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """In five bins of equal number: ``mag_<i>``, mean ``bin_<i>``, ``error_<i>``, ``median_<i>``, ``sersic_<i>``."""
    del real, model
    chi2, mag = (context.get(f"reconstruction_{name}") for name in (kind, "mag"))
    if chi2 is None or mag is None:
        return score(float("nan"))
    chi2, mag = np.asarray(chi2, dtype=float), np.asarray(mag, dtype=float)
    plain = np.asarray(context.get(f"reconstruction_sersic_{kind}", np.full(len(mag), np.nan)), dtype=float)
    good = np.isfinite(chi2 + mag)
    lost = {"n_real": int(good.sum()), "left_out_real": int((~good).sum())}
    if good.sum() < 8:
        return score(float("nan"), **lost)
    chi2, mag, plain = chi2[good], mag[good], plain[good]
    edges = quantile_edges(mag, 5)
    means, errors = binned_chi2(chi2, mag, edges)
    if not np.isfinite(means).any():
        return score(float("nan"), **lost)
    which = np.digitize(mag, edges[1:-1])
    galaxies = np.asarray(context.get("reconstruction_galaxy", np.arange(len(good))))[good]
    labels = np.unique(galaxies, return_inverse=True)[1].astype(np.int64)
    bins: dict[str, float] = {}
    for i in range(len(means)):
        inside = which == i
        if inside.sum() >= MIN_IN_BIN:
            errors[i] = mean_and_error(chi2[inside], labels[inside])[1]
            bins |= {f"mag_{i}": float(np.median(mag[inside])), f"bin_{i}": float(means[i])}
            bins |= {f"error_{i}": float(errors[i]), f"n_{i}": float(inside.sum())}
            bins |= {f"median_{i}": float(np.median(chi2[inside])), f"sersic_{i}": float(plain[inside].mean())}
    # the worst is the bin furthest from 1 beyond what its error allows: when it passes, all do
    allowed = ALLOWED_SIGMAS * np.nan_to_num(errors).clip(max=TOLERANCE)
    worst = int(np.nanargmax(np.abs(means - 1) - allowed))
    return score(means[worst], errors[worst], **lost, **bins, tolerance=TOLERANCE)
