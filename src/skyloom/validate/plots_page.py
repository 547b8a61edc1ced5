"""The figures of a report, in the order of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.validate.measure_profile import PROFILE_NODES
from skyloom.validate.measure_residual import SPECTRUM_EDGES
from skyloom.validate.plots_charts import corner, curves, distribution, plane

__all__ = ["DISTRIBUTIONS", "Figures", "make_figures"]

Array = NDArray[np.float64]
Tables = Mapping[str, Table]

DISTRIBUTIONS: tuple[tuple[str, str], ...] = (
    ("residual_rms", "Residual rms over model"),
    ("residual_rms_smoothed", "Residual rms, smoothed"),
    ("residual_asymmetry", "Residual asymmetry"),
    ("asymmetry", "Asymmetry A"),
    ("smoothness", "Smoothness S"),
    ("concentration", "Concentration C"),
    ("gini", "Gini"),
    ("m20", "M₂₀"),
    ("moments_ellipticity", "Ellipticity, adaptive moments"),
    ("moments_rho4", "ρ₄, adaptive moments"),
    ("multimode", "Multimode"),
    ("deviation", "Deviation"),
    ("coherence_abs_chirality", "|Chirality| of the residual"),
    ("coherence_strongest", "Power in the strongest mode"),
    ("coherence_ring", "Power in rings, m = 0"),
    ("pixels_skewness", "Skewness of the pixels"),
)
_CORNER = (
    ("concentration", "C"),
    ("gini", "Gini"),
    ("m20", "M₂₀"),
    ("asymmetry", "A"),
    ("residual_rms_smoothed", "Residual"),
    ("moments_ellipticity", "Ellipticity"),
)
_CONDITIONS = (
    ("fit_mag", "Magnitude", False),
    ("fit_half_light_radius", "Half-light radius", True),
    ("fit_sersic_n", "Sersic index", True),
    ("fit_q", "Axis ratio", False),
)
_RUNS = (
    ("residual_rms_smoothed", "Residual rms, smoothed"),
    ("asymmetry", "Asymmetry A"),
    ("moments_rho4", "ρ₄"),
    ("concentration", "Concentration C"),
)


@dataclass(frozen=True)
class Figures:
    """Inline SVG elements, by section."""

    distributions: Sequence[str]
    gini_m20: Sequence[str]
    size_magnitude: Sequence[str]
    corner: str | None
    spectra: Sequence[str]
    structure: Sequence[str]
    runs: Sequence[str]
    calibration: Sequence[str]


def make_figures(tables: Tables) -> Figures:
    """All figures of a report; those whose numbers are missing are left out.

    Parameters
    ----------
    tables : mapping of str to Table
        Measurements by sample, ``real`` first.
    """
    return Figures(
        distributions=_kept(distribution(tables, name, label) for name, label in DISTRIBUTIONS),
        gini_m20=[
            svg
            for _, svg in plane(
                tables,
                "m20",
                "gini",
                ("M₂₀", "Gini"),
                # Lotz et al. 2008, ApJ 672, 177, equation 4
                guides=[
                    ((0.0, -3.0), (0.33, 0.75), "mergers above"),
                    ((-1.68, -3.0), (0.565, 0.38), "E–Sa above"),
                ],
                invert=(True, False),
            )
        ],
        size_magnitude=[
            svg
            for _, svg in plane(
                tables,
                "growth_mag",
                "growth_half_light_radius",
                ("Magnitude (growth curve)", "Half-light radius (arcsec)"),
                log=(False, True),
            )
        ],
        corner=corner(tables, [c for c, _ in _CORNER], [label for _, label in _CORNER]),
        spectra=_kept(_spectrum(tables, part) for part in range(3)),
        structure=_kept([_profile(tables), _modes(tables)]),
        runs=_kept(_run(tables, "fit_mag", "Magnitude", y, label) for y, label in _RUNS),
        calibration=_kept(_calibration(tables, *condition) for condition in _CONDITIONS),
    )


def _kept(figures: object) -> list[str]:
    return [figure for figure in figures if figure is not None]  # type: ignore[attr-defined]


def _spectrum(tables: Tables, part: int) -> str | None:
    """Residual amplitude against wavenumber in one third of the galaxies by S/N."""
    edges = np.asarray(SPECTRUM_EDGES)
    centres = np.append((edges[0] + edges[1]) / 2, np.sqrt(edges[1:-1] * edges[2:]))
    thirds = np.nanpercentile(_column(tables["real"], "fit_snr"), [0, 33.3, 66.7, 100])
    series = {}
    for sample, table in tables.items():
        snr = _column(table, "fit_snr")
        inside = (snr >= thirds[part] if part else snr > -np.inf) & (snr <= thirds[part + 1] if part < 2 else True)
        values = [_column(table, f"residual_spectrum_{i}")[inside] for i in range(len(centres))]
        series[sample] = _bands(centres, values, band=sample == "real")
    name = ("Faintest third", "Middle third", "Brightest third")[part]
    limits = f"S/N {thirds[part]:.0f}–{thirds[part + 1]:.0f}"
    labels = (f"{name}, {limits}", "Cycles per half-light radius", "Residual amplitude / model")
    return curves(series, f"spectrum-{part}", labels, log=(True, False), zero=0.0)


def _profile(tables: Tables) -> str | None:
    """Median surface brightness over that of the real galaxies, against radius."""
    radii = np.asarray(PROFILE_NODES)
    names = [f"profile_{i:02d}" for i in range(len(radii))]
    real = np.array([_median(_column(tables["real"], name)) for name in names])
    series = {}
    for sample, table in tables.items():
        values = [_column(table, name) / r for name, r in zip(names, real, strict=True)]
        series[sample] = _bands(radii, values, band=sample == "real")
    labels = ("Surface brightness, over real", "Half-light radii", "Ratio to the real median")
    return curves(series, "profile", labels, log=(True, False), zero=1.0, y_range=(0.4, 1.8))


def _modes(tables: Tables) -> str | None:
    """Share of each azimuthal mode in the residual."""
    orders = np.arange(1.0, 5.0)
    series = {
        sample: _bands(orders, [_column(table, f"coherence_m{m:.0f}") for m in orders], band=sample == "real")
        for sample, table in tables.items()
    }
    return curves(series, "modes", ("Azimuthal modes of the residual", "m", "Share of its power"), whole=True)


def _run(tables: Tables, x: str, x_label: str, y: str, label: str) -> str | None:
    """Median of a quantity in bins of a condition."""
    edges = _edges(_column(tables["real"], x))
    if edges is None:
        return None
    series = {}
    for sample, table in tables.items():
        at, values = _column(table, x), _column(table, y)
        groups = [values[(at >= low) & (at <= high)] for low, high in pairwise(edges)]
        series[sample] = _bands((edges[1:] + edges[:-1]) / 2, groups, band=sample == "real")
    return curves(series, f"run-{y}", (label, x_label, "Median"))


def _calibration(tables: Tables, column: str, label: str, relative: bool) -> str | None:
    """Recovered less asked (or their ratio less one) against asked, for samples that have real counterparts."""
    asked = _column(tables["real"], column)
    edges = _edges(asked)
    if edges is None:
        return None
    series = {}
    for sample, table in tables.items():
        if sample in ("real", "mock") or "real_row" not in table.colnames:
            continue
        wanted = asked[np.asarray(table["real_row"], dtype=np.int64)]
        away = _column(table, column) - wanted
        away = away / wanted if relative else away
        groups = [away[(wanted >= low) & (wanted <= high)] for low, high in pairwise(edges)]
        series[sample] = _bands((edges[1:] + edges[:-1]) / 2, groups, band=sample != "Sersic")
    unit = " / asked" if relative else ""
    labels = (label, "Asked", f"(Recovered − asked){unit}")
    return curves(series, f"calibration-{column}", labels, zero=0.0)


def _bands(x: Array, groups: Sequence[Array], *, band: bool) -> tuple[Array, Array, Array | None, Array | None]:
    """Median of each group, and its 16th and 84th percentile; NaN for fewer than four values."""
    found = np.full((3, len(groups)), np.nan)
    for i, group in enumerate(groups):
        values = group[np.isfinite(group)]
        if values.size >= 4:
            found[:, i] = np.percentile(values, [50, 16, 84])
    return np.asarray(x), found[0], *((found[1], found[2]) if band else (None, None))


def _edges(values: Array) -> Array | None:
    """Edges of bins with equally many values, at most six and at least eight values each."""
    values = values[np.isfinite(values)]
    bins = min(6, values.size // 8)
    if bins < 2:
        return None
    edges = np.unique(np.percentile(values, np.linspace(0, 100, bins + 1)))
    return edges if len(edges) > 2 else None


def _column(table: Table, name: str) -> Array:
    return np.asarray(table[name], dtype=np.float64) if name in table.colnames else np.full(len(table), np.nan)


def _median(values: Array) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")
