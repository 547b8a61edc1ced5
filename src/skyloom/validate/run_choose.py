"""The galaxies that are judged: real ones, a reference's, a mock's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyloom.errors import CutoutError
from skyloom.stamps import Cutout
from skyloom.validate.reference import Reference
from skyloom.validate.report_data import Sample
from skyloom.validate.run_kept import Progress
from skyloom.validate.run_plan import Plan
from skyloom.validate.run_samples import as_large, default_refit, in_part, in_ranges, measured_sample
from skyloom.validate.sample import Screening, Selection, select

__all__ = ["MIN_GALAXIES", "mock_sample", "real_sample"]

MIN_GALAXIES = 8
"""Fewer cannot be judged."""


def real_sample(plan: Plan, folder: Path, progress: Progress | None) -> tuple[Sequence[Cutout], Sample]:
    """The real cutouts chosen, and their measurements; for a reference, stand-ins without pixels."""
    fits_ranges = in_ranges(list(plan.generators.values()))
    large = as_large(plan.least_size) if plan.least_size > 0 else None
    of_part = in_part(plan.part) if plan.part is not None else None

    def keep(cutout: Cutout) -> tuple[str, str] | None:
        return (large(cutout) if large else None) or fits_ranges(cutout)

    if isinstance(plan.real, Reference):
        rows, screening = plan.real.select(lambda c: (of_part(c) if of_part else None) or keep(c), plan.limit)
        _enough(rows, screening, "the reference")
        return [plan.real.blanks[i] for i in rows], plan.real.sample(rows, screening)
    if not len(plan.real):
        raise CutoutError("there are no real cutouts: the file is empty")
    chosen, screening = select(plan.real, refit=default_refit, only=of_part, keep=keep, limit=plan.limit)
    _enough(chosen.rows, screening, "the real cutouts")
    screening.set_aside[:0] = plan.dropped
    screening.read += len(plan.dropped)
    resume = folder / f"measured-real-{_rows_digest(chosen)}.jsonl"
    sample = measured_sample(
        "real",
        "real",
        chosen,
        screening=screening,
        workers=plan.workers,
        resume=resume,
        progress=progress,
    )
    return chosen, sample


def mock_sample(
    plan: Plan, real: Sequence[Cutout], folder: Path, progress: Progress | None
) -> tuple[Sequence[Cutout], Sample]:
    """The mock's cutouts that can be judged: those of a pixel scale that the real ones have."""
    scales = sorted({round(float(c.pixel_scale), 4) for c in real})

    def keep(cutout: Cutout) -> tuple[str, str] | None:
        if any(abs(cutout.pixel_scale / scale - 1) < 0.01 for scale in scales):
            return None
        shown = ", ".join(f"{s:g}" for s in scales)
        return "pixel scale that no real cutout has", f"{cutout.pixel_scale:g} arcsec, the real ones {shown}"

    assert plan.mock is not None
    if not len(plan.mock):
        raise CutoutError("there are no mock cutouts: the file is empty")
    chosen, screening = select(plan.mock, refit=default_refit, keep=keep, limit=plan.limit)
    _enough(chosen.rows, screening, "the mock cutouts")
    sample = measured_sample(
        "mock",
        "mock",
        chosen,
        screening=screening,
        workers=plan.workers,
        resume=folder / f"measured-mock-{_rows_digest(chosen)}.jsonl",
        progress=progress,
    )
    return chosen, sample


def _enough(rows: Sequence[int], screening: Screening, what: str) -> None:
    if len(rows) >= MIN_GALAXIES:
        return
    reasons = ", ".join(f"{reason}: {count}" for reason, count in screening.reasons.items()) or "none was given"
    raise CutoutError(
        f"{len(rows)} of {screening.read} galaxies of {what} can be judged, {MIN_GALAXIES} are needed ({reasons})"
    )


def _rows_digest(chosen: Selection) -> str:
    return hashlib.sha256(np.asarray(chosen.rows, dtype=np.int64).tobytes()).hexdigest()[:8]
