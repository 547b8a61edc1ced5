"""Where the objects of a field stand: pixels as given, from the sky, or drawn."""

from __future__ import annotations

import logging

import galsim
import numpy as np
from astropy.coordinates import angular_separation
from numpy.typing import NDArray

from skyloom.errors import BadInputError
from skyloom.render.field.objects import FieldObjects
from skyloom.render.field.painting import MAX_STAMP_SIZE
from skyloom.rng import galaxy_rng

__all__ = ["Places", "find_places", "on_sky"]

Column = NDArray[np.float64]
Places = tuple[Column, Column]
_PURPOSE = "place in a field"
_logger = logging.getLogger(__name__)
_REACH = 2 * MAX_STAMP_SIZE  # pixels; four times half a stamp's side
_CLOSE = 0.1  # pixels: what projects to a place and back to within this has that place


def find_places(objects: FieldObjects, wcs: galsim.BaseWCS, size: tuple[int, int], seed: int) -> Places:
    """Pixels of the objects, the first pixel's centre is 1.

    ``ra`` and ``dec`` count where the WCS is of the sky, ``x`` and ``y`` otherwise. Where there is neither, places
    are drawn uniformly over the image, each object's from its own stream.

    A projection has no inverse far from the image: a tangent plane shows the other half of the sky mirrored, and a
    polynomial of distortions folds back. Objects on the sky that no stamp joins to the image, or whose place does not
    project back to them, have no place.

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
        NaN for objects without a place.

    Raises
    ------
    BadInputError
        For places on the sky without a WCS of the sky, or one that cannot be inverted.
    """
    columns = objects.columns
    if "ra" in columns and wcs.isCelestial():
        return _project(columns["ra"], columns["dec"], wcs, size, objects.conditions.galaxy_id)
    if "x" in columns:
        return columns["x"], columns["y"]
    if "ra" in columns:
        raise BadInputError("objects are placed by ra and dec: give a wcs of the sky, or x and y")
    ids = objects.conditions.galaxy_id
    drawn = np.array([galaxy_rng(seed, int(i), _PURPOSE).random(2) for i in ids]).reshape(len(ids), 2)
    return 0.5 + drawn[:, 0] * size[0], 0.5 + drawn[:, 1] * size[1]


def on_sky(wcs: galsim.BaseWCS, places: Places) -> Places:
    """Right ascension in [0, 360) and declination in degrees; NaN where the WCS is not of the sky, or no place is."""
    x, y = places
    ra, dec = np.full(len(x), np.nan), np.full(len(x), np.nan)
    known = np.isfinite(x)
    if wcs.isCelestial() and known.any():
        ra[known], dec[known] = wcs.xyToradec(x[known], y[known], units=galsim.degrees)
    return ra % 360, dec


def _project(ra: Column, dec: Column, wcs: galsim.BaseWCS, size: tuple[int, int], ids: NDArray[np.int64]) -> Places:
    x, y = np.full(len(ra), np.nan), np.full(len(ra), np.nan)
    near = np.flatnonzero(_separation(*_middle(wcs, size), ra, dec) <= _radius(wcs, size))
    if len(near) < len(ra):
        _logger.info("%d of %d objects stand far off the image", len(ra) - len(near), len(ra))
    x[near], y[near] = _pixels(ra[near], dec[near], wcs)
    found = near[np.isfinite(x[near]) & np.isfinite(y[near])]
    back = on_sky(wcs, (x[found], y[found]))
    away = _separation(*back, ra[found], dec[found])
    good = np.zeros(len(ra), dtype=bool)
    good[found] = away <= _CLOSE * _pixel(wcs, size)
    x[~good] = y[~good] = np.nan
    lost = near[~good[near]]
    if len(lost):
        _logger.warning(
            "objects near the image for which its WCS has no place, taken for off it: %d; the first, galaxy %d, at "
            "ra = %r, dec = %r",
            len(lost), ids[lost[0]], float(ra[lost[0]]), float(dec[lost[0]]),
        )  # fmt: skip
    return x, y


def _pixels(ra: Column, dec: Column, wcs: galsim.BaseWCS) -> Places:
    """As the WCS says, NaN where it does not: GalSim refuses all of an array for one of them."""
    if not len(ra):
        return ra, dec
    try:
        with np.errstate(all="ignore"):
            x, y = wcs.radecToxy(ra, dec, units=galsim.degrees)
    except NotImplementedError as exc:
        raise BadInputError(f"objects are placed by ra and dec, but the wcs cannot be inverted: {exc}") from exc
    except (galsim.GalSimError, ArithmeticError):
        if len(ra) == 1:
            return np.full(1, np.nan), np.full(1, np.nan)
        half = len(ra) // 2
        parts = _pixels(ra[:half], dec[:half], wcs), _pixels(ra[half:], dec[half:], wcs)
        return np.concatenate([parts[0][0], parts[1][0]]), np.concatenate([parts[0][1], parts[1][1]])
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def _middle(wcs: galsim.BaseWCS, size: tuple[int, int]) -> tuple[float, float]:
    """Right ascension and declination, degrees."""
    middle = wcs.toWorld(galsim.PositionD((size[0] + 1) / 2, (size[1] + 1) / 2))
    return middle.ra / galsim.degrees, middle.dec / galsim.degrees


def _radius(wcs: galsim.BaseWCS, size: tuple[int, int]) -> float:
    """Of a circle about the image's middle that holds all whose light may reach the image, degrees."""
    x, y = (0.5 + np.linspace(0, side, 5) for side in size)
    inside = on_sky(wcs, (np.repeat(x, 5), np.tile(y, 5)))  # corners alone do not do for maps of the whole sky
    return float(np.nanmax(_separation(*_middle(wcs, size), *inside)) + _REACH * _pixel(wcs, size))


def _pixel(wcs: galsim.BaseWCS, size: tuple[int, int]) -> float:
    """Side of the middle pixel, degrees."""
    area = wcs.pixelArea(image_pos=galsim.PositionD((size[0] + 1) / 2, (size[1] + 1) / 2))
    return float(np.sqrt(abs(area))) / 3600


def _separation(ra0: float | Column, dec0: float | Column, ra: Column, dec: Column) -> Column:
    """Angle between places, degrees."""
    return np.asarray(np.degrees(angular_separation(*(np.radians(angle) for angle in (ra0, dec0, ra, dec)))))
