"""Where the objects of a field stand: pixels as given, from the sky, or drawn."""

from __future__ import annotations

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.errors import BadInputError
from skyloom.render.field.objects import FieldObjects
from skyloom.rng import galaxy_rng

__all__ = ["Places", "find_places", "on_sky"]

Column = NDArray[np.float64]
Places = tuple[Column, Column]
_PURPOSE = "place in a field"


def find_places(objects: FieldObjects, wcs: galsim.BaseWCS, size: tuple[int, int], seed: int) -> Places:
    """Pixels of the objects, the first pixel's centre is 1.

    ``ra`` and ``dec`` count where the WCS is of the sky, ``x`` and ``y`` otherwise. Where there is neither, places
    are drawn uniformly over the image, each object's from its own stream.

    Parameters
    ----------
    objects : FieldObjects
        N of them.
    wcs : galsim.BaseWCS
    size : (int, int)
        Of the image, pixels.
    seed : int

    Returns
    -------
    (x, y) : ndarray, shape (N,)

    Raises
    ------
    BadInputError
        For places on the sky without a WCS of the sky, or that it does not know.
    """
    columns = objects.columns
    if "ra" in columns and wcs.isCelestial():
        x, y = wcs.radecToxy(columns["ra"], columns["dec"], units=galsim.degrees)
        bad = ~(np.isfinite(x) & np.isfinite(y))
        if bad.any():
            row = int(np.argmax(bad))
            raise BadInputError(
                f"row {row} (galaxy {objects.conditions.galaxy_id[row]}): ra = {columns['ra'][row]!r}, "
                f"dec = {columns['dec'][row]!r} has no place in the image's WCS"
            )
        return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if "x" in columns:
        return columns["x"], columns["y"]
    if "ra" in columns:
        raise BadInputError("objects are placed by ra and dec: give a wcs of the sky, or x and y")
    ids = objects.conditions.galaxy_id
    drawn = np.array([galaxy_rng(seed, int(i), _PURPOSE).random(2) for i in ids]).reshape(len(ids), 2)
    return 0.5 + drawn[:, 0] * size[0], 0.5 + drawn[:, 1] * size[1]


def on_sky(wcs: galsim.BaseWCS, places: Places) -> Places:
    """Right ascension in [0, 360) and declination in degrees; NaN where the WCS is not of the sky."""
    x, y = places
    if not wcs.isCelestial() or not len(x):
        return np.full(len(x), np.nan), np.full(len(x), np.nan)
    ra, dec = wcs.xyToradec(x, y, units=galsim.degrees)
    return np.asarray(ra) % 360, np.asarray(dec)
