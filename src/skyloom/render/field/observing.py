"""What a field is taken with: a survey's numbers with those that the caller replaces, and the image's geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import galsim
import numpy as np

from skyloom.errors import BadInputError
from skyloom.render.limits import MAX_SIDE
from skyloom.surveys.observing import RANGES, ObservingConditions
from skyloom.surveys.registry import load_survey

__all__ = ["MAX_PIXELS", "Observing", "image_size", "image_wcs", "observe", "tile_label"]

MAX_PIXELS = 2**31
"""Of an image: 8 GiB."""

_WITHOUT_SURVEY = {"exptime": 1.0, "sky_level": 0.0, "gain": 1.0, "read_noise": 0.0}


@dataclass(frozen=True)
class Observing:
    """Telescope, detector and sky of one image.

    Parameters
    ----------
    name : str
        Of the survey; empty without.
    pixel_scale : float
        arcsec/pixel; with a WCS, the root of the middle pixel's area.
    zero_point : float or None
        AB magnitude of a source that gives one electron a second. None: not known, for fluxes are given.
    exptime : float
        s.
    sky_level : float
        ADU/arcsec^2 over the exposure.
    gain : float
        e-/ADU.
    read_noise : float
        e-.
    wavelength : float or None
        nm.
    """

    name: str
    pixel_scale: float
    zero_point: float | None
    exptime: float
    sky_level: float
    gain: float
    read_noise: float
    wavelength: float | None

    @property
    def exposure_zero_point(self) -> float | None:
        """AB magnitude that gives one electron over the exposure: `zero_point` of `skyloom.Conditions`."""
        return None if self.zero_point is None else self.zero_point + 2.5 * math.log10(self.exptime)

    @property
    def sky_electrons(self) -> float:
        """Expected electrons a pixel of `pixel_scale` without a source, over the exposure."""
        return self.sky_level * self.gain * self.pixel_scale**2


def image_size(size: Any) -> tuple[int, int]:
    """Pixels along x and y.

    Raises
    ------
    BadInputError
        For a size that is no whole number, or more than fits.
    """
    sides = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(sides) != 2 or any(isinstance(s, bool) or not isinstance(s, (int, np.integer)) for s in sides):
        raise BadInputError(f"size is a whole number of pixels, or two, along x and y; not {size!r:.60}")
    nx, ny = (int(s) for s in sides)
    if not (1 <= nx <= MAX_SIDE and 1 <= ny <= MAX_SIDE and nx * ny <= MAX_PIXELS):
        raise BadInputError(
            f"size: an image of {nx} x {ny} pixels cannot be; at most {MAX_SIDE} along a side and {MAX_PIXELS} in all"
        )
    return nx, ny


def observe(
    survey: str | ObservingConditions | None,
    wcs: galsim.BaseWCS | None,
    given: Mapping[str, float | None],
    size: tuple[int, int],
) -> tuple[Observing, ObservingConditions | None]:
    """Numbers of a survey, with those that are `given` (and not None) in their place.

    Parameters
    ----------
    survey : str or ObservingConditions, optional
        Without one the exposure is 1 s, the gain 1, and there is neither sky nor read noise.
    wcs : galsim.BaseWCS, optional
        Its pixels replace the survey's.
    given : mapping
        By the names of `Observing`.
    size : (int, int)
        Of the image, pixels.

    Raises
    ------
    BadInputError
        For a number that is missing or cannot be.
    """
    found = load_survey(survey) if isinstance(survey, str) else survey
    if found is not None and not isinstance(found, ObservingConditions):
        raise BadInputError(f"survey is a survey's name or skyloom.surveys.ObservingConditions, not {survey!r:.60}")
    chosen = {name: value for name, value in given.items() if value is not None}
    if wcs is not None:
        if "pixel_scale" in chosen:
            raise BadInputError("give pixel_scale (arcsec) or wcs, not both")
        chosen["pixel_scale"] = _pixel_scale_of(wcs, size)
    base = _WITHOUT_SURVEY if found is None else {name: getattr(found, name) for name in RANGES}
    numbers: dict[str, Any] = {"zero_point": None, "wavelength": None, **base, **chosen}
    if "pixel_scale" not in numbers:
        raise BadInputError("give survey, pixel_scale (arcsec) or wcs")
    for name, value in numbers.items():
        if value is not None:
            numbers[name] = _within(name, value)
    return Observing(name="" if found is None else found.name, **numbers), found


def image_wcs(wcs: Any) -> galsim.BaseWCS | None:
    """GalSim's form of a WCS, also of astropy's; the first pixel is 1."""
    if wcs is None or isinstance(wcs, galsim.BaseWCS):
        return wcs
    # by way of a header: GalSim's own code for the usual projections is faster, and it can write no other AstropyWCS
    try:
        found = galsim.FitsWCS(header=galsim.FitsHeader(wcs.to_header(relax=True)), suppress_warning=True)
    except Exception as exc:
        raise BadInputError(
            f"wcs is a galsim.BaseWCS or an astropy.wcs.WCS of the sky, not {type(wcs).__name__}: {exc}"
        ) from exc
    if not found.isCelestial():
        raise BadInputError(f"wcs: GalSim finds no sky in this astropy.wcs.WCS, but {found!r:.60}")
    return found


def tile_label(wcs: galsim.BaseWCS, size: tuple[int, int], pixel_scale: float) -> str:
    """What tells an image from others of the same survey: its size, its pixels, and where its middle and corners lie.

    The same in every process, which ``repr`` is not for a WCS of functions; places to 1e-9 of a degree, or of an
    arcsec where the WCS is not of the sky.
    """
    nx, ny = size
    numbers: list[float] = []
    for x, y in (((nx + 1) / 2, (ny + 1) / 2), *((x, y) for x in (0.5, nx + 0.5) for y in (0.5, ny + 0.5))):
        place = wcs.toWorld(galsim.PositionD(x, y))
        if isinstance(place, galsim.CelestialCoord):
            numbers += [place.ra / galsim.degrees % 360, place.dec / galsim.degrees]
        else:
            numbers += [place.x, place.y]
    return f"{nx} x {ny}, {pixel_scale:.9g}, {' '.join(f'{round(number, 9) + 0.0:.9f}' for number in numbers)}"


def _pixel_scale_of(wcs: galsim.BaseWCS, size: tuple[int, int]) -> float:
    """Root of the middle pixel's area, arcsec; all corners' are checked to be pixels that can be."""
    nx, ny = size
    middle = galsim.PositionD((nx + 1) / 2, (ny + 1) / 2)
    places = [middle, *(galsim.PositionD(x, y) for x in (1, nx) for y in (1, ny))]
    try:
        areas = [abs(float(wcs.pixelArea(image_pos=place))) for place in places]
    except Exception as exc:
        raise BadInputError(f"wcs: its pixels cannot be had all over the image: {exc}") from exc
    for area in areas:
        _within("pixel_scale", math.sqrt(area))
    return math.sqrt(areas[0])


def _within(name: str, value: Any) -> float:
    low, high = RANGES[name]
    if isinstance(value, bool) or not isinstance(value, (Real, np.number)) or not low <= float(value) <= high:
        raise BadInputError(f"{name} is {value!r}, not within [{low:g}, {high:g}]")
    return float(value)
