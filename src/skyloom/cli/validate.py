"""``skyloom validate``: compare simulated galaxies with real ones."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

__all__ = ["command"]

EXAMPLE = "Example:  skyloom validate --real cosmos.h5 --model cosmos --require 'auc_forest<0.7' -o validation"


@click.command("validate", epilog=EXAMPLE)
@click.option(
    "--real",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Real galaxies: a file of cutouts, or what `ingest` reads; may be given again.",
)
@click.option("--reference", help="In place of --real: a table of numbers measured on real galaxies, by name.")
@click.option("--model", "models", multiple=True, help="Model or weights file; may be given again.  [cosmos]")
@click.option("--mock", type=click.Path(path_type=Path), help="Simulated cutouts to judge as they are.")
@click.option(
    "-o",
    "--out",
    default="validation",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the report; a run that was stopped goes on from what is there.",
)
@click.option("--require", "require", multiple=True, metavar="METRIC<VALUE", help="Fail unless it holds.")
@click.option(
    "--part",
    type=click.Choice(["all", "train", "validation", "test"]),
    default="all",
    show_default=True,
    help="Part of the training's split to judge on; 'test' is what no model of `train` has seen.",
)
@click.option(
    "--per-real",
    default=1,
    show_default=True,
    type=click.IntRange(min=1, max=100),
    help="Simulated galaxies for each real one.",
)
@click.option(
    "--least-size",
    default=0.0,
    type=click.FloatRange(min=0.0),
    help="Judge only galaxies with a half-light radius of at least so many FWHM of their PSF.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Judge so many real galaxies at most.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Of galaxies and noise.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Processes.")
def command(
    real: tuple[Path, ...],
    reference: str | None,
    models: tuple[str, ...],
    mock: Path | None,
    out: Path,
    require: tuple[str, ...],
    part: str,
    per_real: int,
    least_size: float,
    limit: int | None,
    seed: int,
    workers: int,
) -> None:
    """Compare models, or mock cutouts, with real galaxies and write a report.

    Each real galaxy gets a simulated one of the same measured conditions, through its own PSF, pixels, mask and
    noise, and a Sersic profile beside it; all are measured by the same code. The report is DIR/report.html; the
    same numbers are in DIR/validation.json and DIR/*.ecsv. Exit status 1: a --require does not hold.
    """
    from skyloom.errors import BadInputError, RequirementError
    from skyloom.validate.reencoded_print import structure_page
    from skyloom.validate.reference import load_reference
    from skyloom.validate.report import write_report
    from skyloom.validate.report_require import known_metrics, parse_requirement
    from skyloom.validate.run import Plan, collect_metrics, validate
    from skyloom.validate.run_inputs import load_models, open_all, open_cutouts

    if bool(real) == (reference is not None):
        raise BadInputError("give either --real with cutouts, or --reference with the name of a table")
    metrics = collect_metrics()
    requirements = [parse_requirement(text) for text in require]
    known_metrics(requirements, [metric.name for metric in metrics])
    generators = load_models(models or (() if mock is not None else ("cosmos",)))
    out.mkdir(parents=True, exist_ok=True)
    dropped: list[Any] = []
    galaxies: Any
    if reference is not None:
        galaxies = load_reference(reference)
    else:
        galaxies, dropped = open_all(real, out)
    mocks = open_cutouts(mock, out / "mock.h5")[0] if mock is not None else None
    plan = Plan(
        real=galaxies,
        generators=generators,
        mock=mocks,
        seed=seed,
        per_real=per_real,
        limit=limit,
        least_size=least_size,
        part=None if part == "all" else part,
        workers=workers,
        requirements=requirements,
        dropped=dropped,
        inputs={
            "real": [path.name for path in real] or f"reference {reference}",
            "mock": mock.name if mock is not None else None,
        },
    )
    with _Progress() as progress:
        validation, gallery = validate(plan, out / "work", metrics=metrics, progress=progress)
    files = write_report(validation, gallery, out)
    for text in validation.verdicts.values():
        click.echo(text)
    for text in structure_page(validation.lines):
        click.echo(text)
    for caution in validation.cautions:
        click.echo(f"note: {caution}")
    click.echo(f"report: {files.page}")
    broken = [text for text, holds in validation.requirements if not holds]
    for text, holds in validation.requirements:
        click.echo(f"{'holds' if holds else 'does not hold'}: {text}")
    if broken:
        raise RequirementError(f"{len(broken)} of {len(validation.requirements)} requirements do not hold")


class _Progress:
    """A bar a stage on a terminal; elsewhere a line when a stage ends, and every `EVERY` seconds of a long one."""

    EVERY = 30.0

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._told = time.monotonic()

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._bar is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bar.add_task(stage, total=total)
            self._bar.update(self._tasks[stage], completed=done)
        elif stage not in self._tasks and (done == total or time.monotonic() - self._told > self.EVERY):
            self._told = time.monotonic()
            if done == total:
                self._tasks[stage] = None
            click.echo(f"{stage}: {total} done" if done == total else f"{stage}: {done} of {total}", err=True)
