"""The galaxies of a field as a catalogue lists them: places, ids, redshifts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyloom.cutouts.sidecar import SideCar
from skyloom.errors import CutoutError

__all__ = ["Listed", "find_catalogue", "read_catalogue"]

ENDINGS = (".csv", ".ecsv", "_truth.fits", "_catalogue.fits", "_catalog.fits")
X, Y = ("x", "x_image", "ximage"), ("y", "y_image", "yimage")
ID, REDSHIFT = ("galaxy_id", "id", "number", "ident"), ("redshift", "zphot", "z")
MAX_ROWS = 10_000_000


@dataclass(frozen=True)
class Listed:
    """One galaxy of a catalogue.

    Parameters
    ----------
    x, y : float
        0-based pixels.
    galaxy_id : int
    redshift : float
        NaN: not known.
    """

    x: float
    y: float
    galaxy_id: int
    redshift: float


def find_catalogue(path: Path, sidecar: SideCar) -> Path | None:
    """The catalogue of the field `path`: what the side-car names, else the first of `ENDINGS` beside it.

    Raises
    ------
    CutoutError
        When the side-car names a file that is not there.
    """
    if sidecar.catalogue is not None:
        named = path.with_name(sidecar.catalogue)
        if not named.is_file():
            raise CutoutError(f"{named}: no such file; {sidecar.name} names it as the catalogue")
        return named
    stem = path.name.split(".fit")[0]
    return next((c for ending in ENDINGS if (c := path.with_name(stem + ending)).is_file()), None)


def read_catalogue(path: Path) -> Iterator[Listed]:
    """Rows of a CSV, ECSV or FITS table with ``x`` and ``y``: FITS pixels, the first is 1, as GalSim has them.

    ``galaxy_id`` (or ``id``, ``number``, ``ident``) and ``redshift`` are taken where they are.

    Raises
    ------
    CutoutError
        With the row at fault.
    """
    from astropy.table import Table

    kind = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}.get(path.suffix, "fits")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units that astropy does not know
            table = Table.read(path, format=kind)
    except Exception as exc:  # astropy's readers raise what they like
        raise CutoutError(f"{path}: not a table that can be read: {exc}") from exc
    names = {str(name).lower(): str(name) for name in reversed(table.colnames)}
    x, y = (next((names[c] for c in choice if c in names), None) for choice in (X, Y))
    if x is None or y is None:
        raise CutoutError(f"{path}: needs columns x and y; there are {', '.join(table.colnames)}")
    ids, redshift = (next((names[c] for c in choice if c in names), None) for choice in (ID, REDSHIFT))
    seen: set[int] = set()
    for i, row in enumerate(table):
        try:
            galaxy_id = int(row[ids]) if ids is not None else i + 1
            place = float(row[x]) - 1.0, float(row[y]) - 1.0
            z = float(row[redshift]) if redshift is not None else np.nan
        except (TypeError, ValueError) as exc:
            raise CutoutError(f"{path}, row {i + 1}: not a galaxy's place and id: {exc}") from exc
        if not np.isfinite(place).all():
            raise CutoutError(f"{path}, row {i + 1}: x, y = {row[x]}, {row[y]}")
        if galaxy_id in seen:
            raise CutoutError(f"{path}, row {i + 1}: galaxy id {galaxy_id} comes twice")
        seen.add(galaxy_id)
        yield Listed(*place, galaxy_id, z if 0 < z < 30 else float("nan"))
