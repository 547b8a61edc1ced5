"""Roman's imaging bands from `galsim.roman`, Euclid's VIS from GalSim-Euclid-Like where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import math
from typing import Any

from skyloom.errors import ConfigError
from skyloom.surveys.from_galcheat import load_galcheat
from skyloom.surveys.observing import ObservingConditions
from skyloom.surveys.psfs import EuclidlikePSF, RomanPSF

__all__ = ["has_euclidlike", "load_euclidlike", "load_roman", "roman_bands"]


@functools.lru_cache(maxsize=1)
def roman_bands() -> dict[str, str]:
    """GalSim's imaging bands by the survey's name, e.g. ``roman_h158: H158``; reads no file of throughputs."""
    import galsim.roman

    bands = [*galsim.roman.shortwave_bands, *galsim.roman.longwave_bands]
    return {f"roman_{b.lower()}": b for b in bands if b not in galsim.roman.non_imaging_bands}


@functools.lru_cache(maxsize=1)
def _bandpasses() -> Any:
    import galsim.roman

    return galsim.roman.getBandpasses(AB_zeropoint=True)


@functools.lru_cache(maxsize=32)
def load_roman(name: str) -> ObservingConditions:
    """One exposure of Roman's Wide Field Instrument.

    The zero point is GalSim's, for one photon a second and cm^2, plus ``2.5 log10(collecting_area)``. The sky
    level holds zodiacal light with GalSim's stray light, the telescope's thermal light and the dark current.
    """
    import galsim.roman as roman

    band = roman_bands()[name]
    found = _bandpasses()[band]
    zodiacal = roman.getSkyLevel(found, exptime=roman.exptime) * (1 + roman.stray_light_fraction)
    a_pixel = (roman.thermal_backgrounds[band] + roman.dark_current) * roman.exptime
    return ObservingConditions(
        name=name,
        pixel_scale=roman.pixel_scale,
        zero_point=float(found.zeropoint) + 2.5 * math.log10(roman.collecting_area),
        exptime=roman.exptime,
        sky_level=(zodiacal + a_pixel / roman.pixel_scale**2) / roman.gain,
        gain=roman.gain,
        read_noise=roman.read_noise,
        wavelength=float(found.effective_wavelength),
        psf_factory=RomanPSF(band),
        band=band,
        source="galsim.roman",
    )


def has_euclidlike() -> bool:
    """Whether GalSim-Euclid-Like is installed."""
    return importlib.util.find_spec("euclidlike") is not None


@functools.lru_cache(maxsize=1)
def load_euclidlike() -> ObservingConditions:
    """One long VIS exposure as GalSim-Euclid-Like has it; the sky's brightness is galcheat's.

    Raises
    ------
    ConfigError
        Where it is not installed.
    """
    if not has_euclidlike():
        raise ConfigError("survey 'euclidlike_vis' needs the package GalSim-Euclid-Like, which is not installed")
    import euclidlike

    band = euclidlike.getBandpasses(AB_zeropoint=True)["VIS"]
    zero_point = float(band.zeropoint) + 2.5 * math.log10(euclidlike.collecting_area)
    rate = 10 ** (-0.4 * (load_galcheat("euclid_vis").sky_brightness - zero_point))
    return ObservingConditions(
        name="euclidlike_vis",
        pixel_scale=euclidlike.pixel_scale,
        zero_point=zero_point,
        exptime=euclidlike.long_exptime,
        sky_level=rate * euclidlike.long_exptime / euclidlike.gain,
        gain=euclidlike.gain,
        read_noise=euclidlike.read_noise,
        wavelength=float(band.effective_wavelength),
        psf_factory=EuclidlikePSF(),
        band="VIS",
        source="GalSim-Euclid-Like; sky: galcheat Euclid_VIS",
    )
