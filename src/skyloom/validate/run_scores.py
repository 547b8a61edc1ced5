"""Metrics to lines of the table: every metric on every sample, a failed one noted and the rest goes on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.table import Table

from skyloom.descriptors import Metric
from skyloom.errors import SkyloomError
from skyloom.validate.report_data import Line, Sample, Score
from skyloom.validate.report_verdict import ONE_SIDED, ideal_score, judge
from skyloom.validate.run_kept import Progress

__all__ = ["metric_lines", "run_metrics"]

logger = logging.getLogger(__name__)


def run_metrics(
    metrics: Sequence[Metric],
    samples: Mapping[str, Sample],
    contexts: Mapping[str, Mapping[str, Any]],
    progress: Progress | None = None,
) -> list[Line]:
    """Compute every metric of every sample against the real one.

    Parameters
    ----------
    metrics : sequence of Metric
    samples : mapping of str to Sample
        ``real`` among them.
    contexts : mapping of str to mapping
        By sample: what the metrics may use beside the two tables (generator, cutouts, seed ...).
    progress : callable, optional

    Returns
    -------
    list of Line
    """
    real = samples["real"].table
    lines = []
    for i, metric in enumerate(metrics):
        found = {
            name: _compute(metric, real, sample.table, contexts.get(name, {}))
            for name, sample in samples.items()
            if name != "real"
        }
        lines.append(metric_lines(metric, real, found))
        if progress is not None:
            progress("scoring", i + 1, len(metrics))
    return lines


def metric_lines(metric: Metric, real: Table, results: Mapping[str, Mapping[str, Any]]) -> Line:
    """One line from a metric's results by sample."""
    better = getattr(metric, "better", "lower")
    ideal = float(getattr(metric, "ideal", math.nan))
    ideal = ideal if math.isfinite(ideal) else ideal_score(better)
    column = str(getattr(metric, "quantity", "") or "")
    values = np.asarray(real[column], dtype=np.float64) if column in real.colnames else np.empty(0)
    values = values[np.isfinite(values)]
    spread = np.percentile(values, [16, 50, 84]) if values.size else [math.nan] * 3
    return Line(
        metric=metric.name,
        label=str(getattr(metric, "label", "") or metric.name.replace("_", " ")),
        group=str(getattr(metric, "group", "") or "All"),
        better=str(better),
        ideal=ideal,
        scores={name: _score(result, ideal, better in ONE_SIDED) for name, result in results.items()},
        real=float(spread[1]),
        real_spread=(float(spread[0]), float(spread[2])),
        summary=metric.summary,
        formula=str(getattr(metric, "formula", "")),
        reference=str(getattr(metric, "reference", "")),
    )


def _compute(metric: Metric, real: Table, model: Table, context: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return dict(metric.compute(real, model, **context))
    except Exception as exc:  # a plugin's metric may fail in any way; the other metrics go on, the report says so
        level = logging.INFO if isinstance(exc, SkyloomError) else logging.WARNING
        logger.log(level, "metric '%s' failed: %s: %s", metric.name, type(exc).__name__, exc)
        return {"note": f"{type(exc).__name__}: {exc}"}


def _score(result: Mapping[str, Any], ideal: float, one_sided: bool) -> Score:
    def number(name: str) -> float:
        value = result.get(name, math.nan)
        return float(value) if value is not None else math.nan

    told = judge(
        number("value"),
        number("error"),
        number("floor"),
        ideal,
        floor_error=number("floor_error"),
        note=str(result.get("note", "") or ""),
        one_sided=one_sided,
        tolerance=number("tolerance"),
    )
    known = ("value", "error", "floor", "floor_error", "note", "tolerance")
    return replace(told, more={k: float(v) for k, v in result.items() if k not in known and v is not None})
