"""What the metrics of re-encoded structure share: the tables in the context, counts, percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

__all__ = ["GROUP", "SIGMAS", "encoded_tables", "enough", "percentiles", "sizes"]

GROUP = "re-encoded structure"
"""Heading of a report."""

SIGMAS = "|model - real| / bootstrap error of the difference"
"""What is judged, in the metrics' formulas."""

MIN_GALAXIES = 8
"""Galaxies below which nothing is said."""


def encoded_tables(context: dict[str, Any]) -> tuple[Table, Table] | None:
    """``reencoded_real`` and ``reencoded_model`` of a metric's context, where both are there with enough galaxies."""
    real, model = (context.get(f"reencoded_{name}") for name in ("real", "model"))
    return None if real is None or model is None or not enough(real, model) else (real, model)


def enough(*tables: Table) -> bool:
    """Whether each has as many galaxies as a metric needs."""
    return min(map(_galaxies, tables)) >= MIN_GALAXIES


def sizes(real: Table, model: Table) -> dict[str, float]:
    """Numbers of galaxies and of stamps."""
    found = {"n_real": _galaxies(real), "n_model": _galaxies(model)}
    return {name: float(n) for name, n in (found | {"stamps_real": len(real), "stamps_model": len(model)}).items()}


def percentiles(values: NDArray[np.float64], which: tuple[int, ...]) -> NDArray[np.float64]:
    """Percentiles of columns, over the rows that have all of them.

    Parameters
    ----------
    values : ndarray, shape (N, K)
    which : tuple of int

    Returns
    -------
    ndarray, shape (len(which), K)
        NaN for fewer than two rows.
    """
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 2:
        return np.full((len(which), values.shape[1]), np.nan)
    return np.asarray(np.percentile(values, which, axis=0))


def _galaxies(table: Table) -> int:
    return len(set(zip(table["source"], table["galaxy_id"], strict=True)))
