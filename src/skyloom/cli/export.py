"""``skyloom export``: galaxies for simulators that don't have this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from skyloom.cli.tables import read_table
from skyloom.profiles import OutOfRange

if TYPE_CHECKING:
    import numpy as np
    from astropy.table import Table
    from numpy.typing import NDArray

    from skyloom.conditions import Conditions
    from skyloom.profiles import ProfileBatch

__all__ = ["command"]

_AT_ONCE = 64  # galaxies decoded together
_FORMATS = {
    "real-galaxy": ("real-galaxy",),
    "instance": ("instance",),
    "both": ("real-galaxy", "instance"),
}


@click.command(
    "export",
    epilog="Example:  skyloom export galaxies.ecsv --model cosmos --seed 1 --format real-galaxy -o cosmos_like",
)
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to make; it may be there if empty."
)
@click.option("--model", default="cosmos", show_default=True, help="Name of a model, or a weights file.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same galaxies.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(_FORMATS)),
    default="real-galaxy",
    show_default=True,
    help="real-galaxy: GalSim's RealGalaxyCatalog; instance: FITS stamps and an instance catalogue.",
)
@click.option("--wavelength", type=float, help="Observed, nm; wins over the table's column.")
@click.option(
    "--out-of-range",
    default="error",
    show_default=True,
    type=click.Choice(get_args(OutOfRange)),
    help="What to do with galaxies outside the model's range.",
)
@click.option("--pixel-scale", type=float, default=0.03, show_default=True, help="Of the stamps, arcsec.")
@click.option("--psf-fwhm", type=float, default=0.06, show_default=True, help="Of the stamps' Gaussian PSF, arcsec.")
@click.option("--noise-variance", type=float, help="Add white noise to the RealGalaxyCatalog's stamps.")
@click.option(
    "--zero-point",
    type=float,
    default=25.94,
    show_default=True,
    help="AB magnitude of one unit of flux in the export; GalSim's COSMOSCatalog takes 25.94.",
)
@click.option("--band", default="F814W", show_default=True, help="Name for the catalogue's column.")
@click.option("--max-stamp-size", type=int, default=1024, show_default=True, help="Pixels of a side.")
@click.option(
    "--center",
    type=(float, float),
    default=(0.0, 0.0),
    metavar="RA DEC",
    help="Degrees; where an instance catalogue's grid lies when the table has no columns ra and dec.",
)
@click.option("--spacing", type=click.FloatRange(0.1, 3600), default=20.0, show_default=True, help="Of it, arcsec.")
def command(
    table: Path,
    out: Path,
    model: str,
    seed: int,
    kind: str,
    wavelength: float | None,
    out_of_range: OutOfRange,
    center: tuple[float, float],
    spacing: float,
    **settings: Any,
) -> None:
    """Write the galaxies of a TABLE of conditions (ecsv, fits or csv) for other simulators.

    The table has columns as for `skyloom sample`, and ra and dec in degrees where they are known. Magnitudes are
    turned to fluxes with --zero-point; fluxes are brought to it from the table's own column zero_point, where there is
    one.
    """
    from skyloom.export import ExportSettings, export_galaxies

    made = ExportSettings(**settings)  # refused before anything is read
    rows = read_table(table)
    conditions = _conditions(table, rows, made.zero_point, wavelength)
    ra, dec = _positions(table, rows)
    if ra is None and kind != "real-galaxy":
        ra, dec = _grid(len(conditions), center, spacing)
    batches = _batches(conditions, seed, model, out_of_range)
    count = export_galaxies(batches, out, formats=_FORMATS[kind], ra=ra, dec=dec, settings=made)  # type: ignore[arg-type]
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    form = " and ".join(_FORMATS[kind])
    click.echo(f"{out}: {count} galaxies by model {model}, seed {seed}, as {form}, {size / 1e6:.1f} MB")


def _batches(conditions: Conditions, seed: int, model: str, out_of_range: OutOfRange) -> Iterator[ProfileBatch]:
    from skyloom.generators import request_profiles
    from skyloom.profiles import ProfileRequest

    for first in range(0, len(conditions), _AT_ONCE):
        part = conditions[first : first + _AT_ONCE]
        yield request_profiles(ProfileRequest(part, seed, generator=model, out_of_range=out_of_range))


def _conditions(path: Path, table: Table, zero_point: float, wavelength: float | None) -> Conditions:
    """With fluxes in units of the export's zero point where there are magnitudes."""
    from skyloom.conditions import Conditions
    from skyloom.errors import ConditionsError

    given: dict[str, float] = {} if "zero_point" in table.colnames else {"zero_point": zero_point}
    if wavelength is not None:
        given["wavelength"] = wavelength
    try:
        conditions = Conditions.from_table(table, **given)
        return conditions.replace(mag=conditions.mag, zero_point=zero_point)
    except ConditionsError as exc:
        raise ConditionsError(f"'{path}': {exc}") from exc


def _positions(path: Path, table: Table) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    import numpy as np

    from skyloom.errors import ConditionsError

    names = [name for name in ("ra", "dec") if name in table.colnames]
    if len(names) == 1:
        raise ConditionsError(f"'{path}' has a column '{names[0]}' but not the other of 'ra' and 'dec'")
    if not names:
        return None, None
    try:
        columns = [table[name] for name in names]
        values = [np.ma.filled(np.ma.asarray(getattr(c, "value", c)).astype(np.float64), np.nan) for c in columns]
    except (TypeError, ValueError) as exc:
        raise ConditionsError(f"'{path}': columns 'ra' and 'dec' must be numbers of degrees: {exc}") from exc
    return values[0], values[1]


def _grid(count: int, center: tuple[float, float], spacing: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A square grid, rows along right ascension."""
    import numpy as np

    from skyloom.errors import ConditionsError

    side = int(np.ceil(np.sqrt(count)))
    down, across = np.divmod(np.arange(count), side)
    dec = center[1] + (down - (side - 1) / 2) * spacing / 3600
    if np.abs(dec).max() > 89:
        raise ConditionsError(f"--center {center[0]:g} {center[1]:g}: a grid of {count} galaxies meets the pole")
    ra = center[0] + (across - (side - 1) / 2) * spacing / 3600 / np.cos(np.deg2rad(dec))
    return ra % 360, dec
