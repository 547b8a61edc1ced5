"""A validation on disk: one self-contained page, and the same numbers as JSON and ECSV."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

from astropy.table import Table

from skyloom.errors import SkyloomError
from skyloom.validate.plots_montage import montage
from skyloom.validate.plots_page import make_figures
from skyloom.validate.plots_theme import css_names
from skyloom.validate.report_bins import bin_tables
from skyloom.validate.report_data import Line, Validation, to_json
from skyloom.validate.report_format import FILTERS
from skyloom.validate.report_verdict import ALLOWED_FLOORS, ALLOWED_SIGMAS
from skyloom.validate.run import Gallery

__all__ = ["ReportFiles", "render_page", "scores_table", "write_report"]


GROUPS = (
    "joint",
    "residual",
    "morphology",
    "coherence",
    "size and shape",
    "profile and spectrum",
    "pixels",
    "conditional bias",
    "calibration",
    "shear",
    "reconstruction",
    "memorisation",
)
"""Headings in the order of the page; others follow."""


@dataclass(frozen=True)
class ReportFiles:
    """The files of a report.

    Parameters
    ----------
    page, numbers, scores : Path
        HTML, JSON and ECSV.
    measurements : sequence of Path
        One ECSV table a sample.
    """

    page: Path
    numbers: Path
    scores: Path
    measurements: Sequence[Path]


def write_report(validation: Validation, gallery: Gallery, folder: Path) -> ReportFiles:
    """Write ``report.html``, ``validation.json``, ``metrics.ecsv`` and ``measurements-<sample>.ecsv``.

    Parameters
    ----------
    validation : Validation
    gallery : Gallery
        Galaxies for the pictures.
    folder : Path
        Made when it is missing; files of the same names are replaced when the new ones are whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, numbers = folder / "report.html", folder / "validation.json"
    _write(numbers, json.dumps(to_json(validation), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    scores = folder / "metrics.ecsv"
    _write_table(scores, scores_table(validation.lines))
    measurements = []
    for name, sample in validation.samples.items():
        path = folder / f"measurements-{''.join(c if c.isalnum() else '-' for c in name)}.ecsv"
        _write_table(path, sample.table)
        measurements.append(path)
    _write(page, render_page(validation, gallery))
    return ReportFiles(page, numbers, scores, measurements)


def render_page(validation: Validation, gallery: Gallery) -> str:
    """The report as one HTML page without links to anything outside itself.

    Raises
    ------
    SkyloomError
        When jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise SkyloomError("the report needs jinja2: pip install 'skyloom[validate]'") from None
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(FILTERS)
    source = resources.files("skyloom.validate") / "templates" / "report.html.j2"
    style = resources.files("skyloom.validate") / "templates" / "report.css"
    tables = {name: sample.table for name, sample in validation.samples.items()}
    text: str = environment.from_string(source.read_text(encoding="utf-8")).render(
        v=validation,
        style=style.read_text(encoding="utf-8"),
        figures=make_figures(tables),
        strips=montage(gallery),
        groups=_groups(validation.lines),
        bins=bin_tables(validation.lines),
        names=[name for name in validation.samples if name != "real"],
        colours=css_names(list(validation.samples)),
        allowed=ALLOWED_FLOORS,
        sigmas=ALLOWED_SIGMAS,
        provenance=json.dumps(validation.provenance, indent=2, ensure_ascii=False, default=str),
    )
    return text


def scores_table(lines: Sequence[Line]) -> Table:
    """One row a metric and sample."""
    rows: list[dict[str, Any]] = [
        {
            "metric": line.metric,
            "group": line.group,
            "sample": name,
            "value": score.value,
            "error": score.error,
            "floor": score.floor,
            "ideal": line.ideal,
            "multiple_of_floor": score.multiple,
            "outcome": score.outcome,
            "real_median": line.real,
        }
        for line in lines
        for name, score in line.scores.items()
    ]
    names = ("metric", "group", "sample", "value", "error", "floor", "ideal", "multiple_of_floor", "outcome")
    table = Table(rows=rows, names=(*names, "real_median")) if rows else Table(names=(*names, "real_median"))
    table.meta.update(passes_within_floors=ALLOWED_FLOORS, or_within_sigmas=ALLOWED_SIGMAS)
    return table


def _groups(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Lines by their heading; metrics that gave neither a number nor a reason are left out."""
    found = list(dict.fromkeys(line.group for line in lines))
    order = [group for group in GROUPS if group in found] + [group for group in found if group not in GROUPS]
    shown = [line for line in lines if any(math.isfinite(s.value) or s.note for s in line.scores.values())]
    ranked = sorted(shown, key=lambda line: order.index(line.group))
    return [(group, list(members)) for group, members in groupby(ranked, key=lambda line: line.group)]


def _write(path: Path, text: str) -> None:
    """Put a text under its name only when it is whole."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_table(path: Path, table: Table) -> None:
    import io

    stream = io.StringIO()
    table.write(stream, format="ascii.ecsv")
    _write(path, stream.getvalue())
