"""What an export is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from skyloom.errors import BadInputError

__all__ = ["COSMOS_ZERO_POINT", "ExportSettings"]

COSMOS_ZERO_POINT = 25.94
"""AB magnitude of 1 e-/s in ACS F814W, which GalSim's `COSMOSCatalog` takes for granted."""

_LEAST_SAMPLING = 1.9  # pixels per FWHM: a Gaussian of less is visibly aliased (exp(-k^2 sigma^2 / 2) at pi / pixel)


@dataclass(frozen=True)
class ExportSettings:
    """How stamps are drawn.

    Parameters
    ----------
    pixel_scale : float
        Arcsec, 1e-3 to 1. Telescopes whose images hold wavenumbers beyond pi / `pixel_scale` need smaller pixels.
    psf_fwhm : float
        Arcsec, of the Gaussian that the galaxies are seen through; at least 1.9 pixels.
    noise_variance : float, optional
        Of a pixel, in squared units of the fluxes. White noise of this variance is added to the stamps of a
        RealGalaxyCatalog. By default they have none, and the catalogue says (1e-6 of the stamp's peak)^2, as
        GalSim asks for a positive number.
    zero_point : float
        AB magnitude of one unit of flux.
    band : str
        For the catalogue's column; GalSim knows the band passes of ``F814W`` and other names of HST's.
    tolerance : float
        A stamp ends where the galaxy is fainter than this fraction of its peak as seen with a PSF 0.7 arcsec wide.
    max_stamp_size : int
        Pixels along a side, 32 to 4096; larger galaxies are cut there, with a warning.

    Raises
    ------
    BadInputError
        For a number outside its range.
    """

    pixel_scale: float = 0.03
    psf_fwhm: float = 0.06
    noise_variance: float | None = None
    zero_point: float = COSMOS_ZERO_POINT
    band: str = "F814W"
    tolerance: float = 1e-4
    max_stamp_size: int = 1024

    def __post_init__(self) -> None:
        _within("pixel_scale", self.pixel_scale, 1e-3, 1.0, "arcsec")
        _within("psf_fwhm", self.psf_fwhm, 0.0, 10.0, "arcsec")
        if self.psf_fwhm < _LEAST_SAMPLING * self.pixel_scale:
            raise BadInputError(
                f"psf_fwhm = {self.psf_fwhm:g} arcsec is less than {_LEAST_SAMPLING} pixels of {self.pixel_scale:g} "
                "arcsec: the stamps would be undersampled"
            )
        if self.noise_variance is not None:
            _within("noise_variance", self.noise_variance, 0.0, math.inf, "")
            if not self.noise_variance > 0:
                raise BadInputError("noise_variance must be positive: GalSim's RealGalaxy cannot do without; omit it")
        _within("zero_point", self.zero_point, -100.0, 100.0, "AB mag")
        _within("tolerance", self.tolerance, 1e-7, 0.1, "")
        if not 32 <= self.max_stamp_size <= 4096:
            raise BadInputError(f"max_stamp_size must lie in 32 to 4096 pixels, not {self.max_stamp_size}")
        if not self.band or not self.band.isascii() or not self.band.isprintable():
            raise BadInputError(f"band must be a name in ASCII, not {self.band!r}")


def _within(name: str, value: Any, low: float, high: float, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or math.isinf(value):
        raise BadInputError(f"{name} must lie in {low:g} to {high:g} {unit}".rstrip() + f", not {value!r}")
