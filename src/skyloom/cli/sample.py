"""``skyloom sample``: galaxies of given properties."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from skyloom.cli.tables import read_table
from skyloom.profiles import OutOfRange

if TYPE_CHECKING:
    from skyloom.conditions import Conditions

__all__ = ["command"]

_SUFFIXES = (".h5", ".hdf5", ".fits", ".png")


@click.command(
    "sample",
    epilog="Example:  skyloom sample --mag 21 --zero-point 30 --half-light-radius 0.8 --sersic-n 1.5 --q 0.7 "
    "--count 16 --seed 1 -o galaxies.png",
)
@click.option("--model", default="cosmos", show_default=True, help="Name of a model, or a weights file.")
@click.option(
    "--conditions",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table (ecsv, fits or csv) of galaxies; the options below win over its columns.",
)
@click.option("--mag", type=float, help="AB magnitude; needs a zero point.")
@click.option("--flux", type=float, help="Electrons.")
@click.option("--zero-point", type=float, help="AB magnitude that gives one electron over the exposure.")
@click.option("--half-light-radius", type=float, help="Circularised, arcsec.")
@click.option("--sersic-n", type=float, help="Sersic index, 0.3 to 6.2.")
@click.option("--q", type=float, help="Axis ratio b/a.")
@click.option("--beta", type=float, help="Position angle from +x towards +y, degrees.")
@click.option("--wavelength", type=float, help="Observed, nm.")
@click.option("--redshift", type=float, help="Redshift.")
@click.option("--structure-radius", type=float, help="Half-light radius that all bands share, arcsec.")
@click.option(
    "--count", type=click.IntRange(1), help="Galaxies of these properties, with ids from 0. Not with a table."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same galaxies.")
@click.option(
    "--out-of-range",
    default="error",
    show_default=True,
    type=click.Choice(get_args(OutOfRange)),
    help="What to do with galaxies outside the model's range.",
)
@click.option("--pixel-scale", type=click.FloatRange(1e-3, 10), default=0.05, show_default=True, help="FITS: arcsec.")
@click.option("--stamp-size", type=click.IntRange(8, 1024), default=96, show_default=True, help="Pixels of a side.")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="h5: light profiles; fits: stamps and truth table; png: a picture.",
)
def command(
    model: str,
    table: Path | None,
    count: int | None,
    seed: int,
    out_of_range: OutOfRange,
    pixel_scale: float,
    stamp_size: int,
    out: Path,
    **columns: Any,
) -> None:
    """Draw galaxies of given properties as a model makes them: no PSF, no noise."""
    if out.suffix.lower() not in _SUFFIXES:
        raise click.UsageError(f"-o: '{out}' must end in one of {', '.join(_SUFFIXES)}")
    given = {name: value for name, value in columns.items() if value is not None}
    if "beta" in given:
        import numpy as np

        given["beta"] = np.deg2rad(given["beta"])
    if table is None:
        conditions = _repeated(given, count or 1)
    elif count is not None:
        raise click.UsageError("--count makes galaxies of one kind; a table has its own rows")
    else:
        conditions = _read_table(table, given)

    from skyloom.cli import profile_files
    from skyloom.generators import request_profiles
    from skyloom.profiles import ProfileRequest

    request = ProfileRequest(conditions, seed, generator=model, out_of_range=out_of_range)
    batch = request_profiles(request)
    if out.suffix.lower() == ".fits":
        profile_files.write_stamps(batch, out, pixel_scale=pixel_scale, stamp_size=stamp_size)
    elif out.suffix.lower() == ".png":
        profile_files.write_picture(batch, out, stamp_size=stamp_size)
    else:
        profile_files.write_profiles(batch, out)
    weights = f", weights {batch.weights_sha256[:12]}" if batch.weights_sha256 else ""
    click.echo(f"{out}: {len(batch)} galaxies by model {batch.generator}{weights}, seed {seed}")


def _repeated(given: dict[str, Any], count: int) -> Conditions:
    import numpy as np

    from skyloom.conditions import Conditions

    return Conditions(galaxy_id=np.arange(count), **given)


def _read_table(path: Path, given: dict[str, Any]) -> Conditions:
    from skyloom.conditions import Conditions
    from skyloom.errors import ConditionsError

    table = read_table(path)
    if "flux" in given or "mag" in given:  # one replaces the other
        table.remove_columns([name for name in ("flux", "mag") if name in table.colnames])
    try:
        return Conditions.from_table(table, **given)
    except ConditionsError as exc:
        raise ConditionsError(f"'{path}': {exc}") from exc
