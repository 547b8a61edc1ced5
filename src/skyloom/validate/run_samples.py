"""The samples of a validation: chosen, simulated, and measured by the same code."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyloom import __version__
from skyloom.conditions import Conditions
from skyloom.cutouts.hdf5 import is_cutouts_file, read_cutouts, read_provenance, write_cutouts
from skyloom.errors import CutoutError
from skyloom.generators.ranges import condition_values
from skyloom.profiles import Generator
from skyloom.stamps import Cutout, CutoutSet, SersicFit
from skyloom.validate.counterparts import Counterparts, asked_conditions
from skyloom.validate.counterparts_shape import shapes_as_real, shared_radii
from skyloom.validate.drawing import known_fit, psf_fwhm
from skyloom.validate.measure import count_flags, measure_cutouts
from skyloom.validate.report_data import Role, Sample
from skyloom.validate.run_kept import Progress
from skyloom.validate.sample import OTHER_PART, Screening, SetAside

__all__ = ["as_large", "default_refit", "in_part", "in_ranges", "measured_sample", "simulate"]

logger = logging.getLogger(__name__)


def default_refit(cutouts: Sequence[Cutout]) -> Sequence[SersicFit]:
    """The Sersic fit that ``skyloom ingest`` gives real cutouts; imports torch."""
    from skyloom.cutouts.measure import fit_sersic

    return fit_sersic(cutouts)


def in_ranges(generators: Sequence[Generator]) -> Callable[[Cutout], tuple[str, str] | None]:
    """A selection of cutouts whose conditions lie within the ranges of all generators.

    What a generator was not made for is left out of every sample, so that all are of the same galaxies.
    """

    def keep(cutout: Cutout) -> tuple[str, str] | None:
        asked: Conditions = asked_conditions([cutout])
        for generator in generators:
            spec = generator.spec
            for name, (low, high) in spec.ranges.items():
                value = condition_values(asked, name)
                if value is not None and (value[0] < low or value[0] > high):
                    detail = f"{name} {value[0]:.4g}, made for {low:g} to {high:g}"
                    return f"outside the ranges of model '{spec.name}'", detail
        return None

    return keep


def as_large(least: float) -> Callable[[Cutout], tuple[str, str] | None]:
    """A selection of cutouts with a half-light radius of at least so many full widths of their PSF at half maximum."""

    def keep(cutout: Cutout) -> tuple[str, str] | None:
        size = known_fit(cutout).half_light_radius / psf_fwhm(cutout)
        return None if size >= least else ("smaller against the PSF than asked for", f"{size:.3g} of its FWHM")

    return keep


def in_part(part: str) -> Callable[[Cutout], tuple[str, str] | None]:
    """A selection of one part of the training's split: ``train``, ``validation`` or ``test``."""
    from skyloom.generators.cvae.train import split_of

    def keep(cutout: Cutout) -> tuple[str, str] | None:
        found = split_of(cutout.source, cutout.group)
        return None if found == part else (f"{OTHER_PART} '{part}'", found)

    return keep


@dataclass(frozen=True)
class _Made:
    """Simulated cutouts on disk, the real row and draw of each, and those that could not be made."""

    cutouts: CutoutSet
    rows: list[int]
    draws: list[int]
    set_aside: list[SetAside]


def simulate(
    real: Sequence[Cutout],
    generator: Generator | None,
    path: Path,
    *,
    seed: int,
    identity: str,
    per_real: int = 1,
    progress: Progress | None = None,
    refit: Callable[[Sequence[Cutout]], Sequence[SersicFit]] = default_refit,
) -> _Made:
    """Simulate the counterparts of real cutouts into a file, or take those of an earlier run on the same.

    All bands of a galaxy show its structure at the same places; their fits share a shape where those of the real bands
    do.

    Parameters
    ----------
    real : sequence of Cutout
        With fits.
    generator : Generator or None
        None: Sersic profiles.
    path : Path
        The file of cutouts.
    seed : int
    identity : str
        What tells the real cutouts from others.
    per_real : int
        Counterparts of each.
    progress : callable, optional
    refit : callable
    """
    spec = None if generator is None else generator.spec
    made = Counterparts(real, generator, refit, seed=seed, draws=per_real, structure_radius=shared_radii(real))
    inputs = {
        "kind": "simulated counterparts",
        "skyloom": __version__,
        "real": identity,
        "count": len(real),
        "generator": made.name,
        "weights_sha256": spec.weights_sha256 if spec else "",
        "seed": seed,
        "per_real": per_real,
        "shapes": "shared as those of the real bands",
    }
    if path.exists() and is_cutouts_file(path):
        before = read_provenance(path)
        if {name: before.get(name) for name in inputs} == inputs:
            logger.info("%s: taken from an earlier run", path)
            aside = [SetAside(*item) for item in json.loads(before["set_aside"])]
            return _Made(read_cutouts(path), list(before["rows"]), list(before["draws"]), aside)
    report: dict[str, Any] = dict(inputs)
    counted = _counted(made, len(real) * per_real, progress, report)
    write_cutouts(
        path, counted, provenance=report, distinct=False,
        revise=lambda cutouts: shapes_as_real(real, cutouts, made.rows, made.draws_of),
    )  # fmt: skip
    return _Made(read_cutouts(path), list(made.rows), list(made.draws_of), list(made.set_aside))


def _counted(made: Counterparts, total: int, progress: Progress | None, report: dict[str, Any]) -> Any:
    """Pass counterparts on to the file; what their end tells joins the provenance, which is written last."""
    for cutout in made:
        if progress is not None:
            progress(f"simulating {made.name}", len(made.rows), total)
        yield cutout
    if not made.rows:
        reasons = made.set_aside[0].reason if made.set_aside else "no real cutouts"
        raise CutoutError(f"{made.name} gave no cutout that can be judged: {reasons}")
    report["rows"], report["draws"] = list(made.rows), list(made.draws_of)
    report["set_aside"] = json.dumps([[s.galaxy, s.reason, s.detail] for s in made.set_aside])


def measured_sample(
    name: str,
    role: Role,
    cutouts: Sequence[Cutout],
    *,
    screening: Screening | None = None,
    rows: Sequence[int] | None = None,
    draws: Sequence[int] | None = None,
    set_aside: Sequence[SetAside] = (),
    workers: int = 1,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> Sample:
    """Measure a sample; the columns ``real_row`` and ``draw`` say which real galaxy a row is of, and which draw."""

    def told(done: int, total: int | None) -> None:
        if progress is not None:
            progress(f"measuring {name}", done, total or len(cutouts))

    table = measure_cutouts(cutouts, workers=workers, resume=resume, progress=told)
    table["real_row"] = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.int64)
    table["draw"] = np.zeros(len(table), dtype=np.int64) if draws is None else np.asarray(draws, dtype=np.int64)
    table.meta["sample"] = name
    aside = [*(screening.set_aside if screening else ()), *set_aside]
    return Sample(
        name=name,
        role=role,
        table=table,
        set_aside=aside,
        read=screening.read if screening else len(cutouts) + len(aside),
        failed=count_flags(table),
        notes=dict(screening.notes) if screening else {},
    )
