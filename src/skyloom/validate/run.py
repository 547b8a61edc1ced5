"""The whole of a validation: choose, simulate, measure, score, judge, write."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from skyloom import __version__
from skyloom.descriptors import Metric
from skyloom.errors import BadInputError
from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.generator_figures import generator_figures
from skyloom.validate.plots_montage import choose_rows
from skyloom.validate.reencoded_run import reencoded_contexts
from skyloom.validate.reference import Reference
from skyloom.validate.report_data import Sample, Validation
from skyloom.validate.report_require import check_requirements
from skyloom.validate.report_verdict import cautions, headline, verdict
from skyloom.validate.run_choose import mock_sample, real_sample
from skyloom.validate.run_extras import reconstructions, training_table
from skyloom.validate.run_kept import Keeper, Progress
from skyloom.validate.run_plan import Plan
from skyloom.validate.run_samples import default_refit, measured_sample, simulate
from skyloom.validate.run_scores import run_metrics
from skyloom.validate.run_sectors import sector_scatter

__all__ = ["Gallery", "Plan", "collect_metrics", "validate"]

BASELINE = "Sersic"
_VERSION = f"skyloom {__version__}"

logger = logging.getLogger(__name__)

Gallery = Sequence[Mapping[str, Cutout]]
"""A few galaxies for the pictures: each sample's cutout by name."""


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
    blanks, real = real_sample(plan, folder, progress)
    samples, sets = {"real": real}, {"real": blanks}
    identity = _identity(real.table)

    generators: dict[str, Generator | None] = {**plan.generators}
    if plan.mock is not None:
        sets["mock"], samples["mock"] = mock_sample(plan, blanks, folder, progress)
    for name, generator in [*generators.items(), (BASELINE, None)]:
        made = simulate(
            blanks,
            generator,
            folder / f"simulated-{_slug(name)}.h5",
            seed=plan.seed,
            identity=identity,
            per_real=plan.per_real,
            progress=progress,
        )
        sets[name] = made.cutouts
        samples[name] = measured_sample(
            name,
            "sersic" if generator is None else "model",
            made.cutouts,
            rows=made.rows,
            draws=made.draws,
            set_aside=made.set_aside,
            workers=plan.workers,
            resume=_part(folder, name, plan, identity),
            progress=progress,
        )

    compared = reencoded_contexts(plan, blanks, sets, samples)
    shared = {"seed": plan.seed, **_of_real(plan, blanks, folder, identity, progress)}
    contexts: dict[str, dict[str, Any]] = {
        name: {
            **shared,
            "generator": generators.get(name),
            **compared.get(name, {}),
            **_extras(plan, name, blanks, folder, identity, progress),
        }
        for name in samples
        if name != "real"
    }
    if plan.part == "test" and not isinstance(plan.real, Reference):
        known = training_table(plan.real, 3 * len(real.table), folder, workers=plan.workers, progress=progress)
        contexts = {name: context | {"train": known} for name, context in contexts.items()}
    lines = run_metrics(metrics, samples, contexts, progress)
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


def _of_real(
    plan: Plan, real: Sequence[Cutout], folder: Path, identity: str, progress: Progress | None
) -> dict[str, Any]:
    if isinstance(plan.real, Reference):
        return {}
    keeper = Keeper(folder, "real", f"{_VERSION} {identity}")
    return dict(sector_scatter(real, default_refit, keeper=keeper, progress=progress))


def _extras(
    plan: Plan, name: str, real: Sequence[Cutout], folder: Path, identity: str, progress: Progress | None
) -> dict[str, Any]:
    generator = plan.generators.get(name)
    if generator is None or isinstance(plan.real, Reference):
        return {}
    spec = generator.spec
    keeper = Keeper(folder, _slug(name), f"{_VERSION} {identity} {spec.name} {spec.weights_sha256} {plan.seed}")
    return {
        "cutouts": real,
        **reconstructions(generator, real, progress, keeper),
        **generator_figures(generator, real, seed=plan.seed, progress=progress, keeper=keeper),
    }


def _gallery(plan: Plan, samples: Mapping[str, Sample], sets: Mapping[str, Sequence[Cutout]]) -> Gallery:
    """Cutouts of a few galaxies, one of each sample; a mock, which has no counterparts, shows its own."""
    rows_of: dict[str, dict[int, int]] = {name: {} for name in samples}
    for name, sample in samples.items():
        for i, row in enumerate(sample.table["real_row"]):
            rows_of[name].setdefault(int(row), i)  # the first of several draws
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
        "least_size": plan.least_size,
        "per_real": plan.per_real,
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
    """What tells one set of real galaxies from another: their ids, fitted numbers, and what their pixels gave."""
    digest = hashlib.sha256()
    for name in ("galaxy_id", "fit_mag", "fit_half_light_radius", "fit_sersic_n", "moments_sigma", "growth_flux"):
        digest.update(np.ascontiguousarray(table[name]).tobytes())
    return digest.hexdigest()[:16]


def _part(folder: Path, name: str, plan: Plan, identity: str) -> Path:
    generator = plan.generators.get(name)
    weights = generator.spec.weights_sha256 if generator is not None else ""
    mark = hashlib.sha256(f"{identity} {plan.seed} {plan.per_real} {weights}".encode()).hexdigest()[:8]
    return folder / f"measured-{_slug(name)}-{mark}.jsonl"


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
