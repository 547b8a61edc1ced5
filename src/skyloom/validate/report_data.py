"""What a validation found, as plain data: the page, the JSON file and the tables are written from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from astropy.table import Table

from skyloom.validate.sample import OTHER_PART, SetAside

__all__ = ["Line", "Outcome", "Role", "Sample", "Score", "Validation", "to_json"]

Role = Literal["real", "model", "mock", "sersic"]
Outcome = Literal["pass", "falls short", "not judged"]


@dataclass(frozen=True)
class Score:
    """What one sample scored in one metric.

    Parameters
    ----------
    value, error : float
        NaN: not measured.
    floor : float
        What real galaxies score against real ones; NaN where the metric has none.
    outcome : {'pass', 'falls short', 'not judged'}
    multiple : float
        Distance from the ideal in floors; NaN without a floor.
    note : str
        Why it was not judged, or what to know about the number.
    more : mapping of str to float
        What else the metric gave: by source, by magnitude bin, numbers of galaxies.
    tolerance : float
        Distance from the ideal that is allowed, for metrics that demand it in place of a floor; NaN otherwise.
    """

    value: float
    error: float
    floor: float
    outcome: Outcome
    multiple: float = math.nan
    note: str = ""
    more: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = math.nan


@dataclass(frozen=True)
class Line:
    """One line of the table: a metric and what each sample scored in it.

    Parameters
    ----------
    metric : str
        Its name, as ``--require`` takes it.
    label : str
        For people.
    group : str
        Heading the line stands under.
    better : str
        ``lower``, ``higher`` or ``zero``; or the ideal itself.
    ideal : float
        The perfect score.
    real : float
        Median of the quantity over the real galaxies, where the metric judges a quantity; NaN otherwise.
    real_spread : (float, float)
        16th and 84th percentile.
    scores : mapping of str to Score
        By sample.
    summary, formula, reference : str
        Of the metric.
    """

    metric: str
    label: str
    group: str
    better: str
    ideal: float
    scores: Mapping[str, Score]
    real: float = math.nan
    real_spread: tuple[float, float] = (math.nan, math.nan)
    summary: str = ""
    formula: str = ""
    reference: str = ""

    @property
    def floor(self) -> float:
        """The noise floor: that of the first sample that has one."""
        return next((s.floor for s in self.scores.values() if math.isfinite(s.floor)), math.nan)

    @property
    def tolerance(self) -> float:
        """What is allowed in place of a floor; NaN where there is one."""
        return next((s.tolerance for s in self.scores.values() if math.isfinite(s.tolerance)), math.nan)


@dataclass(frozen=True)
class Sample:
    """One set of galaxies, measured.

    Parameters
    ----------
    name : str
        As the table's column.
    role : {'real', 'model', 'mock', 'sersic'}
    table : Table
        Of `skyloom.validate.measure.measure_cutouts`.
    set_aside : sequence of SetAside
        Galaxies that were not judged, and why.
    read : int
        Cutouts looked at.
    failed : mapping of str to mapping of str to int
        How often each measuring tool failed or was in doubt.
    """

    name: str
    role: Role
    table: Table
    set_aside: Sequence[SetAside] = ()
    read: int = 0
    failed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> list[SetAside]:
        """Those set aside that were asked for: not those of another part of the split."""
        return [s for s in self.set_aside if not s.reason.startswith(OTHER_PART)]

    @property
    def asked(self) -> int:
        """Cutouts looked at that were asked for."""
        return self.read - len(self.set_aside) + len(self.faults)


@dataclass(frozen=True)
class Validation:
    """All that a validation found.

    Parameters
    ----------
    samples : mapping of str to Sample
        ``real`` first, the judged ones, ``Sersic`` last.
    lines : sequence of Line
    verdicts : mapping of str to str
        One paragraph in plain words a judged sample.
    headline : str
        One sentence.
    provenance : mapping
        Inputs, seed, versions.
    requirements : sequence of (str, bool)
        Each ``--require`` and whether it holds.
    """

    samples: Mapping[str, Sample]
    lines: Sequence[Line]
    headline: str
    verdicts: Mapping[str, str]
    provenance: Mapping[str, Any]
    requirements: Sequence[tuple[str, bool]] = ()
    cautions: Sequence[str] = ()

    @property
    def judged(self) -> list[Sample]:
        """The samples the verdict is about."""
        return [s for s in self.samples.values() if s.role in ("model", "mock")]


def to_json(validation: Validation) -> dict[str, Any]:
    """Everything but the measurements of single galaxies, for ``json.dumps``; NaN becomes None."""
    return {
        "headline": validation.headline,
        "verdicts": dict(validation.verdicts),
        "cautions": list(validation.cautions),
        "requirements": [{"require": text, "holds": holds} for text, holds in validation.requirements],
        "metrics": [_line(line) for line in validation.lines],
        "samples": {name: _sample(sample) for name, sample in validation.samples.items()},
        "provenance": dict(validation.provenance),
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "metric": line.metric,
        "label": line.label,
        "group": line.group,
        "better": line.better,
        "ideal": _number(line.ideal),
        "real_median": _number(line.real),
        "real_p16": _number(line.real_spread[0]),
        "real_p84": _number(line.real_spread[1]),
        "floor": _number(line.floor),
        "scores": {
            name: {
                "value": _number(s.value),
                "error": _number(s.error),
                "floor": _number(s.floor),
                "multiple_of_floor": _number(s.multiple),
                "outcome": s.outcome,
                **({"tolerance": s.tolerance} if math.isfinite(s.tolerance) else {}),
                **({"note": s.note} if s.note else {}),
                **({"more": {k: _number(v) for k, v in s.more.items()}} if s.more else {}),
            }
            for name, s in line.scores.items()
        },
        "summary": line.summary,
        "formula": line.formula,
        "reference": line.reference,
    }


def _sample(sample: Sample) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for item in sample.set_aside:
        reasons[item.reason] = reasons.get(item.reason, 0) + 1
    return {
        "role": sample.role,
        "judged": len(sample.table),
        "read": sample.read,
        "set_aside": reasons,
        "set_aside_galaxies": [[s.galaxy, s.reason, s.detail] for s in sample.set_aside],
        "measurements": {tool: dict(counts) for tool, counts in sample.failed.items()},
        "notes": dict(sample.notes),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
