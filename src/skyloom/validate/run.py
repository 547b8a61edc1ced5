"""The whole of a validation: choose, simulate, measure, score, judge, write."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from skyloom.descriptors import Metric
from skyloom.errors import BadInputError, CutoutError
from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.plots_montage import choose_rows
from skyloom.validate.reference import Reference
from skyloom.validate.report_data import Sample, Validation
from skyloom.validate.report_require import Requirement, check_requirements
from skyloom.validate.report_verdict import cautions, headline, verdict
from skyloom.validate.run_extras import reconstructions, training_table
from skyloom.validate.run_samples import (
    Progress,
    default_refit,
    in_part,
    in_ranges,
    measured_sample,
    simulate,
)
from skyloom.validate.run_scores import run_metrics
from skyloom.validate.sample import Screening, Selection, select

__all__ = ["Gallery", "Plan", "collect_metrics", "validate"]

logger = logging.getLogger(__name__)

Gallery = Sequence[Mapping[str, Cutout]]
"""A few galaxies for the pictures: each sample's cutout by name."""

MIN_GALAXIES = 8
BASELINE = "Sersic"


@dataclass(frozen=True)
class Plan:
    """What to validate against what.

    Parameters
    ----------
    real : sequence of Cutout, or Reference
        Real galaxies, or a table of numbers measured on some.
    generators : mapping of str to Generator
        Models by name.
    mock : sequence of Cutout, optional
        Simulated cutouts from elsewhere, judged as they are.
    seed : int
        Of latents, noise and resampling.
    limit : int, optional
        Judge so many real galaxies at most.
    part : str, optional
        One part of the training's split only: ``test`` holds what ``skyloom train`` keeps from every model.
    workers : int
        Processes that measure.
    pictures : int
        Galaxies in the montage.
    requirements : sequence of Requirement
    inputs : mapping
        Names of the inputs, for the report.
    """

    real: Sequence[Cutout] | Reference
    generators: Mapping[str, Generator]
    mock: Sequence[Cutout] | None = None
    seed: int = 1
    limit: int | None = None
    part: str | None = None
    workers: int = 1
    pictures: int = 16
    requirements: Sequence[Requirement] = ()
    inputs: Mapping[str, Any] | None = None


def collect_metrics() -> list[Metric]:
    """All metrics of the built-in and the installed plugins."""
    from skyloom.manager import collect

    return list(collect("skyloom_metrics").values())


def validate(
    plan: Plan,
    folder: Path,
    *,
    metrics: Sequence[Metric] | None = None,
    progress: Progress | None = None,
) -> tuple[Validation, Gallery]:
    """Validate models or mocks against real cutouts.

    Parameters
    ----------
    plan : Plan
    folder : Path
        For simulated cutouts and measured rows: a run that was stopped goes on from them.
    metrics : sequence of Metric, optional
        All that are installed, by default.
    progress : callable (stage, done, total), optional

    Returns
    -------
    Validation
    gallery : sequence of mapping of str to Cutout
        Some galaxies' cutouts by sample.

    Raises
    ------
    BadInputError
        When there is nothing to judge.
    """
    if not plan.generators and plan.mock is None:
        raise BadInputError("nothing to judge: name a model or a file of mock cutouts")
    metrics = collect_metrics() if metrics is None else metrics
    folder.mkdir(parents=True, exist_ok=True)
    blanks, real = _real_sample(plan, folder, progress)
    samples, sets = {"real": real}, {"real": blanks}
    identity = _identity(real.table)

    generators: dict[str, Generator | None] = {**plan.generators}
    if plan.mock is not None:
        sets["mock"], samples["mock"] = _mock_sample(plan, blanks, folder, progress)
    for name, generator in [*generators.items(), (BASELINE, None)]:
        made = simulate(
            blanks,
            generator,
            folder / f"simulated-{_slug(name)}.h5",
            seed=plan.seed,
            identity=identity,
            progress=progress,
        )
        sets[name] = made.cutouts
        samples[name] = measured_sample(
            name,
            "sersic" if generator is None else "model",
            made.cutouts,
            rows=made.rows,
            set_aside=made.set_aside,
            workers=plan.workers,
            resume=_part(folder, name, plan, identity),
            progress=progress,
        )

    contexts: dict[str, dict[str, Any]] = {
        name: {
            "seed": plan.seed,
            "generator": generators.get(name),
            **_extras(plan, generators.get(name), blanks, progress),
        }
        for name in samples
        if name != "real"
    }
    if plan.part == "test" and not isinstance(plan.real, Reference):
        known = training_table(
            plan.real, 3 * len(real.table), folder, workers=plan.workers, progress=progress
        )
        contexts = {name: context | {"train": known} for name, context in contexts.items()}
    lines = run_metrics(metrics, samples, contexts)
    judged = [name for name, sample in samples.items() if sample.role in ("model", "mock")]
    found = Validation(
        samples=samples,
        lines=lines,
        headline=headline(judged, lines),
        verdicts={name: verdict(name, lines, samples[name], real, BASELINE) for name in judged},
        provenance=_provenance(plan, identity),
        requirements=check_requirements(plan.requirements, lines, judged),
        cautions=[*cautions(real, samples), *_notes(plan)],
    )
    return found, _gallery(plan, samples, sets)


def _real_sample(plan: Plan, folder: Path, progress: Progress | None) -> tuple[Sequence[Cutout], Sample]:
    """The real cutouts chosen, and their measurements; for a reference, stand-ins without pixels."""
    keeps = [in_ranges(list(plan.generators.values()))]
    if plan.part is not None:
        keeps.insert(0, in_part(plan.part))

    def keep(cutout: Cutout) -> tuple[str, str] | None:
        return next((fault for k in keeps if (fault := k(cutout)) is not None), None)

    if isinstance(plan.real, Reference):
        rows, screening = plan.real.select(keep, plan.limit)
        _enough(rows, screening, "the reference")
        return [plan.real.blanks[i] for i in rows], plan.real.sample(rows, screening)
    if not len(plan.real):
        raise CutoutError("there are no real cutouts: the file is empty")
    chosen, screening = select(plan.real, refit=default_refit, keep=keep, limit=plan.limit)
    _enough(chosen.rows, screening, "the real cutouts")
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


def _mock_sample(
    plan: Plan, real: Sequence[Cutout], folder: Path, progress: Progress | None
) -> tuple[Sequence[Cutout], Sample]:
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
    reasons = (
        ", ".join(f"{reason}: {count}" for reason, count in screening.reasons.items()) or "none was given"
    )
    raise CutoutError(
        f"{len(rows)} of {screening.read} galaxies of {what} can be judged, {MIN_GALAXIES} are needed"
        f" ({reasons})"
    )


def _extras(
    plan: Plan, generator: Generator | None, real: Sequence[Cutout], progress: Progress | None
) -> dict[str, Any]:
    if generator is None or isinstance(plan.real, Reference):
        return {}
    return reconstructions(generator, real, progress)


def _gallery(plan: Plan, samples: Mapping[str, Sample], sets: Mapping[str, Sequence[Cutout]]) -> Gallery:
    """Cutouts of a few galaxies, one of each sample; a mock, which has no counterparts, shows its own."""
    rows_of = {name: {int(r): i for i, r in enumerate(s.table["real_row"])} for name, s in samples.items()}
    if "mock" in rows_of:
        ranked = choose_rows(samples["mock"].table, plan.pictures)
        rows_of["mock"] = dict(zip(choose_rows(samples["real"].table, plan.pictures), ranked, strict=False))
    gallery = []
    for row in choose_rows(samples["real"].table, plan.pictures):
        if all(row in rows for rows in rows_of.values()):
            shown = {name: sets[name][rows_of[name][row]] for name in samples}
            if isinstance(plan.real, Reference):
                shown["real"] = replace(shown["real"], fit=None)
            gallery.append(shown)
    return gallery


def _notes(plan: Plan) -> list[str]:
    if isinstance(plan.real, Reference):
        return [plan.real.caution]
    return []


def _provenance(plan: Plan, identity: str) -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    packages = ("skyloom", "numpy", "scipy", "galsim", "torch", "statmorph", "scikit-learn", "astropy")
    return {
        **dict(plan.inputs or {}),
        "seed": plan.seed,
        "part": plan.part or "all",
        "real_identity": identity,
        "models": {
            name: {"generator": g.spec.name, "weights_sha256": g.spec.weights_sha256}
            for name, g in plan.generators.items()
        },
        "versions": {"python": platform.python_version(), **{p: _version(version, p) for p in packages}},
    }


def _version(version: Any, package: str) -> str:
    try:
        return str(version(package))
    except ImportError:
        return "not installed"


def _identity(table: Table) -> str:
    """What tells one set of real galaxies from another: their ids and fitted numbers."""
    digest = hashlib.sha256()
    for name in ("galaxy_id", "fit_mag", "fit_half_light_radius", "fit_sersic_n"):
        digest.update(np.ascontiguousarray(table[name]).tobytes())
    return digest.hexdigest()[:16]


def _rows_digest(chosen: Selection) -> str:
    return hashlib.sha256(np.asarray(chosen.rows, dtype=np.int64).tobytes()).hexdigest()[:8]


def _part(folder: Path, name: str, plan: Plan, identity: str) -> Path:
    generator = plan.generators.get(name)
    weights = generator.spec.weights_sha256 if generator is not None else ""
    mark = hashlib.sha256(f"{identity} {plan.seed} {weights}".encode()).hexdigest()[:8]
    return folder / f"measured-{_slug(name)}-{mark}.jsonl"


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
