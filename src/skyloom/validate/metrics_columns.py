"""What a metric takes out of the measured tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.validate.measure_flags import MeasureFlag
from skyloom.validate.measure_tools import TOOLS

__all__ = [
    "CONDITIONS",
    "FEATURES",
    "asked_conditions",
    "draws",
    "feature_matrix",
    "finite_rows",
    "galaxies_in",
    "galaxy_labels",
    "generator_of",
    "resolved_rows",
    "values",
]

CONDITIONS: dict[str, str] = {
    "mag": "fit_mag",
    "half_light_radius": "fit_half_light_radius",
    "sersic_n": "fit_sersic_n",
    "q": "fit_q",
}
"""What galaxies are asked for, and the column that says what was measured."""

FEATURES: tuple[str, ...] = (
    "moments_sigma",
    "moments_ellipticity",
    "moments_rho4",
    "concentration",
    "asymmetry",
    "smoothness",
    "gini",
    "m20",
    "residual_rms",
    "residual_rms_smoothed",
    "residual_asymmetry",
)
"""Quantities that the joint metrics look at."""

_LOGARITHMIC = frozenset(
    {"moments_sigma", "growth_half_light_radius", "fit_half_light_radius", "petrosian_radius", "fit_snr"}
)
_FLAG_OF = {column: f"flag_{tool.name}" for tool in TOOLS for column in tool.columns}


def values(table: Table, name: str) -> NDArray[np.float64]:
    """A quantity as the metrics compare it: sizes and S/N in log10; NaN where it is missing or too faint."""
    found = np.array(table[name], dtype=np.float64)
    if name in _LOGARITHMIC:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.log10(found)
    flag = _FLAG_OF.get(name)
    if flag is not None and flag in table.colnames:
        found[(np.asarray(table[flag]) & MeasureFlag.LOW_SNR) > 0] = np.nan
    found[~np.isfinite(found)] = np.nan
    return found


def finite_rows(table: Table, name: str, min_snr: float = 0.0) -> NDArray[np.intp]:
    """Rows in which a quantity is finite, of galaxies whose fit has this S/N at least."""
    keep = np.isfinite(values(table, name))
    if min_snr > 0:
        keep &= np.nan_to_num(np.asarray(table["fit_snr"], dtype=float)) >= min_snr
    return np.flatnonzero(keep)


def feature_matrix(table: Table, names: tuple[str, ...] = FEATURES) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Quantities side by side, shape (N, D), of the rows (second result) that have all of them."""
    matrix = np.stack([values(table, name) for name in names], axis=1)
    rows = np.flatnonzero(np.isfinite(matrix).all(axis=1))
    return matrix[rows], rows


def asked_conditions(real: Table, model: Table, name: str) -> NDArray[np.float64]:
    """What was asked of each simulated galaxy: what was measured on the real one of the same id and band.

    Parameters
    ----------
    real, model : Table
    name : str
        A measured column, e.g. ``"fit_mag"``.

    Returns
    -------
    ndarray, shape (len(model),)
        As `values`; NaN for a simulated galaxy without a real one.
    """
    return _of_counterparts(real, model, values(real, name))


def _of_counterparts(real: Table, model: Table, numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers of the real rows, for each row of the model; NaN for one without a real counterpart."""
    known = dict(zip(_keys(real), numbers, strict=True))
    return np.array([known.get(key, np.nan) for key in _keys(model)], dtype=np.float64)


def resolved_rows(real: Table, model: Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows are of galaxies as large as the PSF: the real one's half-light radius is its full width or more.

    Of neither table any row where the PSF's width (``psf_fwhm``, in a reference ``cutout_psf_fwhm``) is not known.
    """
    name = next((name for name in ("psf_fwhm", "cutout_psf_fwhm") if name in real.colnames), None)
    width = np.inf if name is None else np.asarray(real[name], dtype=float)
    large = np.asarray(real["fit_half_light_radius"], dtype=float) >= width
    return large, _of_counterparts(real, model, large) == 1


def galaxy_labels(real: Table, model: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A label a row, the same for all stamps of one galaxy (source and id) and for its counterparts."""
    keys = [[key[:2] for key in _keys(table)] for table in (real, model)]
    known = {key: i for i, key in enumerate(dict.fromkeys(keys[0] + keys[1]))}
    first, second = (np.array([known[key] for key in found], dtype=np.int64) for found in keys)
    return first, second


def galaxies_in(table: Table) -> int:
    """How many simulated galaxies a table holds: the bands of one are one, several draws of one are several."""
    return len({(*key[:2], draw) for key, draw in zip(_keys(table), _draws(table), strict=True)})


def draws(table: Table) -> list[NDArray[np.intp]]:
    """Rows of each draw of the galaxies: samples as large as the real one, where there are several of each."""
    own = np.asarray(_draws(table))
    return [np.flatnonzero(own == draw) for draw in np.unique(own)]


def generator_of(context: dict[str, Any], purpose: int) -> np.random.Generator:
    """Random numbers of one metric: the same for the same ``seed`` of the context."""
    return np.random.default_rng([int(context.get("seed", 0)), purpose])


def _keys(table: Table) -> list[tuple[str, int, str]]:
    """What tells a galaxy's stamp from all others: an id is one of its source."""
    names = (table["source"] if "source" in table.colnames else [""] * len(table), table["galaxy_id"], table["band"])
    return [(str(source), int(i), str(band)) for source, i, band in zip(*names, strict=True)]


def _draws(table: Table) -> list[int]:
    return [int(draw) for draw in table["draw"]] if "draw" in table.colnames else [0] * len(table)
