"""How coherent structure is, seen through the encoder: metrics; for arms and bars see `reencoded_arms`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.descriptors import Metric
from skyloom.validate.metrics_columns import galaxy_labels, generator_of
from skyloom.validate.reencoded_compare import Comparison, compare_numbers
from skyloom.validate.reencoded_tables import GROUP, SIGMAS, encoded_tables, percentiles, sizes
from skyloom.validate.statistics_score import score

__all__ = ["COHERENCE", "coherence_comparison", "reencoded_metrics"]

COHERENCE: dict[str, str] = {
    "abs_chirality": "|chirality|",
    "strongest": "strongest mode",
    "m1": "share of m = 1",
    "m2": "share of m = 2",
    "m3": "share of m = 3",
    "m4": "share of m = 4",
}
"""What the coherence of a map is judged by."""

PERCENTILES = (50, 84)


def reencoded_metrics() -> list[Metric]:
    """Give the metrics of coherence, of ``reencoded_real`` and ``reencoded_model`` in the context; NaN without them."""
    both = f"larger of median's and 84th percentile's {SIGMAS}"
    return [
        *(
            Metric(
                f"reencoded_{name}",
                partial(_statistic, name),
                f"{label} of the encoder's maps, bright resolved galaxies; agrees within 2 sigma",
                both,
                label=f"re-encoded {label}",
                group=GROUP,
            )
            for name, label in {**COHERENCE, "rms": "amplitude (rms of f about its mean)"}.items()
        ),
        Metric(
            "reencoded_coherence",
            _coherence,
            "all of |chirality|, strongest mode and shares of m = 1 to 4 of the encoder's maps at once",
            f"rms over six medians and six 84th percentiles of {SIGMAS}",
            label="re-encoded coherence",
            group=GROUP,
        ),
    ]


def coherence_comparison(real: Table, model: Table, rng: np.random.Generator, names: list[str]) -> Comparison:
    """Medians and 84th percentiles of columns, in the order name 50, name 84, next name 50 ..."""

    def numbers(table: Table) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
        values = np.stack([np.asarray(table[name], dtype=np.float64) for name in names], axis=1)
        return lambda rows: percentiles(values[rows], PERCENTILES).T.ravel()

    return compare_numbers(numbers(real), numbers(model), galaxy_labels(real, model), rng)


def _statistic(name: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """In sigma; the floor is 1, so that twice the floor is two sigma."""
    del real, model
    tables = encoded_tables(context)
    if tables is None:
        return score(float("nan"))
    found = coherence_comparison(*tables, generator_of(context, 60), [name])
    return score(found.worst, floor=1.0, **found.named(["50", "84"]), **sizes(*tables))


def _coherence(real: Table, model: Table, **context: Any) -> dict[str, float]:
    """The floor is what resampling gives: 1, and its scatter. ``within``: how many of the twelve are within 2 sigma."""
    del real, model
    tables = encoded_tables(context)
    if tables is None:
        return score(float("nan"))
    found = coherence_comparison(*tables, generator_of(context, 60), list(COHERENCE))
    names = [f"{name}_{p}" for name in COHERENCE for p in PERCENTILES]
    within = float((np.abs(found.sigmas) <= 2).sum())
    chance = found.chance
    return score(
        found.rms,
        floor=float(chance.mean()),
        floor_error=float(chance.std()),
        within=within,
        **found.named(names),
        **sizes(*tables),
    )
