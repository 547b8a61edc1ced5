"""Whether a model's galaxy looks alike in its bands as a real one does, and no more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.descriptors import Metric
from skyloom.validate.metrics_columns import galaxy_labels, generator_of
from skyloom.validate.reencoded_compare import compare_numbers
from skyloom.validate.reencoded_tables import GROUP, SIGMAS, enough
from skyloom.validate.statistics_score import score

__all__ = ["RATIOS", "colour_metrics"]

RATIOS = (1.0, 1.3, 1.6, 2.0, 2.7, 4.5)
"""Edges of the bins of wavelength ratio."""

MIN_PAIRS = 6
"""Pairs of bands a bin needs."""

MIN_GALAXIES = 4
"""Galaxies that must have them: two or three repeat each other when resampled, and their median has no error."""


def colour_metrics() -> list[Metric]:
    """Give the metrics of ``colour_real`` and ``colour_model`` in the context; NaN without them."""
    sigmas = f"rms over bins of wavelength ratio of the median's {SIGMAS}"
    return [
        Metric(
            "colour_structure",
            partial(_likeness, "sky"),
            "likeness of a galaxy's structure in two bands, re-encoded, against the wavelength ratio",
            f"{sigmas}; correlation of f at the same places in the sky",
            label="structure in two bands",
            group=GROUP,
        ),
        Metric(
            "colour_structure_disc",
            partial(_likeness, "disc"),
            "the same at the same places of either band's own disc: blind to the sizes and angles asked for",
            f"{sigmas}; correlation of f in the disc",
            better="none",
            label="structure in two bands, each in its disc",
            group=GROUP,
        ),
    ]


def _likeness(place: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """By bin: ``ratio_<i>`` (median), ``real_<i>``, ``model_<i>``, ``error_<i>`` of the difference, ``sigma_<i>``."""
    del real, model
    tables = [t for name in ("real", "model") if (t := context.get(f"colour_{name}")) is not None and len(t)]
    tables = [t[np.isfinite(np.asarray(t[place], float))] for t in tables]
    if len(tables) < 2 or not enough(*tables):
        return score(float("nan"))

    usable = np.all([_galaxies(t) >= MIN_GALAXIES for t in tables], axis=0)

    def numbers(table: Table) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
        which, likeness = _bins(table), np.asarray(table[place], dtype=np.float64)

        def medians(rows: NDArray[np.intp]) -> NDArray[np.float64]:
            return np.array([_median(likeness[rows][which[rows] == i]) for i in range(len(RATIOS) - 1)])

        return lambda rows: np.where(usable, medians(rows), np.nan)

    found = compare_numbers(numbers(tables[0]), numbers(tables[1]), galaxy_labels(*tables), generator_of(context, 67))
    ratio, bins = np.asarray(tables[0]["ratio"], dtype=np.float64), _bins(tables[0])
    seen = [i for i in range(len(RATIOS) - 1) if np.isfinite(found.sigmas[i])]
    if not seen:
        return score(float("nan"))
    named = found.named([str(i) for i in range(len(RATIOS) - 1)])
    more = {name: value for name, value in named.items() if int(name.rpartition("_")[2]) in seen}
    more |= {f"ratio_{i}": float(np.median(ratio[bins == i])) for i in seen}
    counts = {f"n_{name}": len(set(zip(t["source"], t["galaxy_id"], strict=True))) for name, t in _both(tables)}
    pairs = {f"pairs_{name}": len(t) for name, t in _both(tables)}
    chance = found.chance
    return score(found.rms, floor=float(chance.mean()), floor_error=float(chance.std()), **more, **counts, **pairs)


def _both(tables: list[Table]) -> list[tuple[str, Table]]:
    return list(zip(("real", "model"), tables, strict=True))


def _bins(table: Table) -> NDArray[np.intp]:
    return np.digitize(np.asarray(table["ratio"], dtype=np.float64), RATIOS[1:-1])


def _galaxies(table: Table) -> NDArray[np.intp]:
    """How many there are in each bin."""
    names, bins = list(zip(table["source"], table["galaxy_id"], strict=True)), _bins(table)
    return np.array([len({names[row] for row in np.flatnonzero(bins == i)}) for i in range(len(RATIOS) - 1)])


def _median(x: NDArray[np.float64]) -> float:
    return float(np.median(x)) if len(x) >= MIN_PAIRS else float("nan")
