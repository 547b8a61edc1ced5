"""Surveys from galcheat, which keeps the literature's numbers with their references.

galcheat says nothing on read noise; it stands here with its source, for all read-outs of the image together.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from skyloom.surveys.observing import ObservingConditions
from skyloom.surveys.psfs import GroundPSF, SpacePSF

__all__ = ["GALCHEAT", "Camera", "galcheat_names", "load_galcheat"]


@dataclass(frozen=True)
class Camera:
    """What galcheat does not say of a survey.

    Parameters
    ----------
    survey : str
        galcheat's name.
    read_noise : float
        Electrons a read-out.
    single : float
        Seconds a read-out, at most.
    source : str
        Of the two numbers.
    space : bool
        Whether the PSF is diffraction's.
    obscuration_is_linear : bool
        galcheat's obscuration is a fraction of the mirror's area, except where this is set.
    native_pixel : float, optional
        arcsec; where the image is drizzled to galcheat's pixels, which share the read noise's variance by area.
    """

    survey: str
    read_noise: float
    single: float
    source: str
    space: bool = False
    obscuration_is_linear: bool = False
    native_pixel: float | None = None


GALCHEAT: dict[str, Camera] = {
    "des": Camera("DES", 7.0, 90.0, "Flaugher et al. 2015, AJ 150, 150"),
    "euclid": Camera("Euclid_VIS", 4.4, 565.0, "Euclid Collaboration: Cropper et al. 2025, A&A 697, A2", space=True),
    # 0.33 is the ratio of the diameters of HST's mirrors, which the file gives for an area.
    "hst_acs": Camera(
        "COSMOS", 5.0, 507.0, "Koekemoer et al. 2007, ApJS 172, 196; ACS Instrument Handbook", True, True, 0.05
    ),
    "hsc": Camera("HSC", 4.5, 200.0, "Miyazaki et al. 2018, PASJ 70, S1; Aihara et al. 2018, PASJ 70, S4"),
    "lsst": Camera("LSST", 8.8, 30.0, "rubin_sim, PhotometricParameters; Ivezic et al. 2019, ApJ 873, 111"),
}
"""By the first part of the survey's name here."""

RENAMED = {"IE": "vis"}


def galcheat_names() -> dict[str, tuple[str, str]]:
    """Prefix and galcheat's filter of each named survey."""
    from galcheat import get_survey

    return {
        f"{prefix}_{RENAMED.get(band, band)}": (prefix, band)
        for prefix, camera in GALCHEAT.items()
        for band in get_survey(camera.survey).available_filters
    }


@functools.lru_cache(maxsize=64)
def load_galcheat(name: str) -> ObservingConditions:
    """Observing conditions of one name of `galcheat_names`.

    galcheat's zero point gives one electron a second; its sky brightness (mag/arcsec^2) becomes
    ``10**(-0.4 (sky - zero_point)) * exptime / gain`` ADU/arcsec^2.
    """
    from galcheat import get_survey

    prefix, band = galcheat_names()[name]
    camera = GALCHEAT[prefix]
    survey = get_survey(camera.survey)
    filter_ = survey.get_filter(band)
    exptime = filter_.full_exposure_time.to_value("s")
    gain = survey.gain.to_value("electron / adu")
    zero_point = float(filter_.zeropoint.value)
    wavelength = filter_.effective_wavelength.to_value("nm")
    rate = 10 ** (-0.4 * (float(filter_.sky_brightness.value) - zero_point))
    fwhm = filter_.psf_fwhm.to_value("arcsec")
    if camera.space:
        obscuration = float(survey.obscuration.value)
        linear = obscuration if camera.obscuration_is_linear else math.sqrt(obscuration)
        psf: GroundPSF | SpacePSF = SpacePSF(fwhm, wavelength, survey.mirror_diameter.to_value("m"), linear)
    else:
        psf = GroundPSF(fwhm, wavelength)
    pixel_scale = survey.pixel_scale.to_value("arcsec")
    read_outs = max(1, math.ceil(exptime / camera.single - 1e-9))
    return ObservingConditions(
        name=name,
        pixel_scale=pixel_scale,
        zero_point=zero_point,
        exptime=exptime,
        sky_level=rate * exptime / gain,
        gain=gain,
        read_noise=camera.read_noise * math.sqrt(read_outs) * pixel_scale / (camera.native_pixel or pixel_scale),
        wavelength=wavelength,
        psf_factory=psf,
        band=band,
        source=f"galcheat {camera.survey}; read noise: {camera.source}",
    )
