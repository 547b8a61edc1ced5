"""``skyloom ingest``: real galaxies into a file of cutouts with measured conditions."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skyloom.cutouts.ingest import Tally
    from skyloom.descriptors import CutoutReader
    from skyloom.stamps import Cutout

__all__ = ["command"]

EXAMPLE = """
Each SOURCE is a file or folder of real galaxies. Every galaxy is cut out, neighbours are masked, the sky is
taken off, its noise is measured, and a PSF-convolved Sersic profile is fitted to it; the bands of one galaxy
share centre, axis ratio and angle. Nothing is dropped without being counted.

\b
Example:
  skyloom ingest cosmos_hst/ jwst_fields/ -o cutouts.h5 --workers 2
"""


@click.command("ingest", help="Make a file of cutouts from real galaxies.\n\n" + EXAMPLE)
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="HDF5 file to write.",
)
@click.option("--format", "format_name", default=None, help="Reader to use; found out from the source when left out.")
@click.option("--stamp-size", default=96, show_default=True, type=click.IntRange(32, 512), help="Pixels along a side.")
@click.option("--psf-size", default=81, show_default=True, type=click.IntRange(21, 511), help="The same of PSFs; odd.")
@click.option("--fit/--no-fit", default=True, show_default=True, help="Fit Sersic profiles.")
@click.option(
    "--share-shape/--own-shapes", default=True, show_default=True, help="One shape for all bands of a galaxy."
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 256), help="Processes that fit.")
def command(
    sources: tuple[Path, ...],
    output: Path,
    format_name: str | None,
    stamp_size: int,
    psf_size: int,
    fit: bool,
    share_shape: bool,
    workers: int,
) -> None:
    """Read, fit, write, report."""
    from skyloom import __version__
    from skyloom.cutouts.hdf5 import write_cutouts
    from skyloom.cutouts.ingest import Tally, shared

    if psf_size % 2 == 0:
        raise click.BadParameter(f"must be odd, not {psf_size}", param_hint="--psf-size")
    if stamp_size % 2:
        raise click.BadParameter(f"must be even, not {stamp_size}", param_hint="--stamp-size")
    if not output.parent.is_dir():
        raise click.BadParameter(f"no such folder: {output.parent}", param_hint="--output")
    chosen = [(source, _reader(source, format_name)) for source in sources]
    tallies = [Tally() for _ in sources]
    provenance: dict[str, Any] = {
        "skyloom": __version__,
        "sources": [{"name": source.resolve().name, "format": reader.name} for source, reader in chosen],
        "stamp_size": stamp_size,
        "psf_size": psf_size,
        "fitted": fit,
    }
    # Spawned, not forked: a forked copy of a process that has used torch can stop dead.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if fit and workers > 1 else None
    with pool or nullcontext():
        cutouts = _stream(chosen, tallies, {"stamp_size": stamp_size, "psf_size": psf_size}, fit, pool)
        revise = partial(shared, tallies=tallies, executor=pool) if fit and share_shape else None
        written = write_cutouts(output, cutouts, provenance=provenance, revise=revise)
    _report(chosen, tallies)
    click.echo(f"{written} cutouts in {output}")


def _stream(
    chosen: list[tuple[Path, CutoutReader]],
    tallies: list[Tally],
    options: dict[str, int],
    fit: bool,
    pool: ProcessPoolExecutor | None,
) -> Iterator[Cutout]:
    from skyloom.cutouts.ingest import fitted, kept

    for (source, reader), tally in zip(chosen, tallies, strict=True):
        cutouts = kept(reader.read(source, **options), tally)
        yield from fitted(cutouts, tally, pool) if fit else cutouts


def _reader(source: Path, name: str | None) -> CutoutReader:
    from skyloom.errors import BadInputError
    from skyloom.manager import plugin_manager

    readers: dict[str, CutoutReader] = {
        reader.name: reader for given in plugin_manager().hook.skyloom_cutout_readers() for reader in given
    }
    known = ", ".join(sorted(readers))
    if name is not None:
        if name not in readers:
            raise BadInputError(f"no format '{name}'; there are {known}")
        return readers[name]
    accepting = [reader for reader in readers.values() if reader.accepts(source)]
    if len(accepting) != 1:
        found = " and ".join(r.name for r in accepting) or "none"
        raise BadInputError(f"{source}: formats that fit: {found}; choose one with --format ({known})")
    return accepting[0]


def _report(chosen: list[tuple[Path, CutoutReader]], tallies: list[Tally]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("source", "format", "read", "kept", "dropped, why", "fits")
    for (source, reader), tally in zip(chosen, tallies, strict=True):
        dropped = "\n".join(f"{n} {reason}" for reason, n in tally.dropped.most_common()) or "0"
        flags = "\n".join(f"{n} {name.lower().replace('_', ' ')}" for name, n in tally.flags.most_common()) or "-"
        table.add_row(source.resolve().name, reader.name, str(tally.read), str(tally.kept), dropped, flags)
    Console().print(table)
