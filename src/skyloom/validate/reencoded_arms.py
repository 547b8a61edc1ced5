"""Pitch angles and bars, seen through the encoder: metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.descriptors import Metric
from skyloom.validate.metrics_columns import galaxy_labels, generator_of
from skyloom.validate.reencoded_compare import Comparison, compare_numbers
from skyloom.validate.reencoded_maps import armed
from skyloom.validate.reencoded_published import BARRED, HART_PITCH, published_bar_fraction
from skyloom.validate.reencoded_tables import GROUP, SIGMAS, encoded_tables, enough, percentiles, sizes
from skyloom.validate.statistics_score import score

__all__ = ["arm_metrics"]

_HART = "Hart et al. 2017, MNRAS 472, 2263"
_GERON = "Geron et al. 2025, arXiv:2505.01421"


def arm_metrics() -> list[Metric]:
    """Give the metrics of arms and bars, of ``reencoded_real`` and ``reencoded_model`` in the context; NaN without."""
    return [
        Metric(
            "pitch_angle",
            _pitch,
            "pitch angles of maps with arms against the real galaxies' own, measured alike; agrees within 2 sigma",
            f"largest over the 16th, 50th and 84th percentile of {SIGMAS}",
            label="pitch angle",
            group=GROUP,
        ),
        Metric(
            "pitch_angle_published",
            _pitch_published,
            "pitch angles of maps with arms against those of nearby spirals, 12, 18 and 26 degrees; no PSF there",
            "largest over the 16th, 50th and 84th percentile of |model - published| / bootstrap error",
            _HART,
            better="none",
            label="pitch angle, published",
            group=GROUP,
        ),
        Metric(
            "bar_fraction",
            _bars,
            "share of discs with a bar against the real galaxies' own, measured alike; agrees within 2 sigma",
            SIGMAS,
            label="bar fraction",
            group=GROUP,
        ),
        Metric(
            "bar_fraction_published",
            _bars_published,
            "share of discs with a bar against that by eye in JWST images, at the galaxies' own redshifts",
            "|model - published| / sqrt(both errors squared)",
            _GERON,
            better="none",
            label="bar fraction, published",
            group=GROUP,
        ),
    ]


def _armed(table: Table) -> Table:
    return table[armed(table)]


def _pitches(context: dict[str, Any]) -> tuple[Comparison, dict[str, float]] | None:
    tables = encoded_tables(context)
    if tables is None:
        return None
    real, model = (_armed(t) for t in tables)
    if not enough(real, model):
        return None

    def numbers(table: Table) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
        pitch = np.asarray(table["pitch"], dtype=np.float64)[:, None]
        return lambda rows: percentiles(pitch[rows], tuple(HART_PITCH)).ravel()

    found = compare_numbers(numbers(real), numbers(model), galaxy_labels(real, model), generator_of(context, 61))
    shares = {"armed_real": len(real) / len(tables[0]), "armed_model": len(model) / len(tables[1])}
    return found, shares | sizes(real, model)


def _pitch(real: Table, model: Table, **context: Any) -> dict[str, float]:
    """Degrees, by percentile; ``armed_real`` and ``armed_model`` are the shares of maps with arms."""
    del real, model
    found = _pitches(context)
    if found is None:
        return score(float("nan"))
    return score(found[0].worst, floor=1.0, **found[0].named([str(p) for p in HART_PITCH]), **found[1])


def _pitch_published(real: Table, model: Table, **context: Any) -> dict[str, float]:
    del real, model
    found = _pitches(context)
    if found is None:
        return score(float("nan"))
    numbers, counts = found
    published = np.array(list(HART_PITCH.values()))
    away = {
        kind: (ours - published) / np.where(error > 0, error, np.nan)
        for kind, ours, error in (
            ("model", numbers.model, numbers.model_error),
            ("real", numbers.real, numbers.real_error),
        )
    }
    more = {f"sigma_{kind}_{p}": float(x[i]) for kind, x in away.items() for i, p in enumerate(HART_PITCH)}
    return score(float(np.nanmax(np.abs(away["model"]))), floor=1.0, **more, **counts)


def _barred(table: Table) -> Table:
    """Discs whose bar strength is known: a bulge has none to find."""
    keep = np.isfinite(np.asarray(table["bar"], float)) & (np.asarray(table["sersic_n"], float) < 2.5)
    return table[keep]


def _bar_numbers(table: Table) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    bar = np.asarray(table["bar"], dtype=np.float64) >= BARRED
    return lambda rows: np.array([bar[rows].mean() if len(rows) else np.nan])


def _bars(real: Table, model: Table, **context: Any) -> dict[str, float]:
    del real, model
    found = _bar_comparison(context)
    if found is None:
        return score(float("nan"))
    return score(found[0].worst, floor=1.0, **found[0].named(["fraction"]), **found[1])


def _bar_comparison(context: dict[str, Any]) -> tuple[Comparison, dict[str, float]] | None:
    tables = encoded_tables(context)
    if tables is None:
        return None
    real, model = (_barred(t) for t in tables)
    if not enough(real, model):
        return None
    labels = galaxy_labels(real, model)
    found = compare_numbers(_bar_numbers(real), _bar_numbers(model), labels, generator_of(context, 62))
    return found, sizes(real, model)


def _bars_published(real: Table, model: Table, **context: Any) -> dict[str, float]:
    """At known redshifts within the table's, of the galaxies' own mix: ``published``, ``model``, ``real``."""
    del real, model
    tables = encoded_tables(context)
    if tables is None:
        return score(float("nan"))
    known = [t[np.isfinite(published_bar_fraction(np.asarray(t["redshift"], float))[0])] for t in map(_barred, tables)]
    if not enough(*known):
        return score(float("nan"))
    labels, rng = galaxy_labels(*known), generator_of(context, 63)
    found = compare_numbers(_bar_numbers(known[0]), _bar_numbers(known[1]), labels, rng)
    fraction, error = (float(x.mean()) for x in published_bar_fraction(np.asarray(known[1]["redshift"], float)))
    away = float(found.model[0]) - fraction
    total = float(np.hypot(found.model_error[0], error))
    more = {"published": fraction, "published_error": error, **sizes(*known)}
    return score(abs(away) / total if total > 0 else float("nan"), floor=1.0, **found.named(["fraction"]), **more)
