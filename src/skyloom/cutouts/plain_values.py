"""What every plain stamp needs besides its pixels, from its own file or the side-car, or the reason it has none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.bands import wavelength_of
from skyloom.cutouts.psfs import centred_psf
from skyloom.cutouts.sidecar import SideCar
from skyloom.cutouts.sidecar_psf import no_psf, sidecar_psf
from skyloom.errors import CutoutError

__all__ = ["described", "effective_psf"]


def described(
    sidecar: SideCar,
    *,
    pixel_scale: float | None = None,
    zero_point: float | None = None,
    band: str | None = None,
    wavelength: float | None = None,
) -> dict[str, Any] | str:
    """Pixel scale, zero point, band and wavelength by name, or what is missing and where to give it.

    The side-car wins over the file's own values, which are the arguments.
    """
    name = sidecar.band or band
    if not name:
        return f"no band (FILTER, or band in {sidecar.name})"
    own = sidecar.of(name)
    scale, zero = own.pixel_scale or pixel_scale, own.zero_point if own.zero_point is not None else zero_point
    if scale is None:
        return f"no pixel scale (PIXSCALE, or pixel_scale in {sidecar.name})"
    if not 1e-3 < scale < 10:
        return "pixel scale not between 0.001 and 10 arcsec"
    if zero is None or not np.isfinite(zero):
        return f"no zero point (ZPAB, or zero_point in {sidecar.name})"
    length = own.wavelength or wavelength
    if length is None:
        try:
            length = wavelength_of(name)
        except CutoutError:
            return f"no wavelength for band '{name}' (WAVELEN, or wavelength in {sidecar.name})"
    return {"pixel_scale": float(scale), "zero_point": float(zero), "band": name, "wavelength": float(length)}


def effective_psf(
    psf: NDArray[np.floating] | None,
    psf_scale: float | None,
    sidecar: SideCar,
    pixel_scale: float,
    size: int,
) -> NDArray[np.float32] | str:
    """The effective PSF of a stamp: its own, else the side-car's; or why there is none.

    Raises
    ------
    CutoutError
        When the side-car names a PSF that cannot be read.
    """
    if psf is None:
        given = sidecar_psf(sidecar, pixel_scale, size)
        return given if given is not None else no_psf(sidecar)
    try:
        return centred_psf(psf, psf_scale or sidecar.psf_pixel_scale or pixel_scale, pixel_scale, size)
    except CutoutError:
        return "PSF that is not a finite image of positive sum"
