"""Surveys as BlendingToolKit draws them: what its files do not say.

Numbers of surveycodex 1.3.0 (https://github.com/LSSTDESC/surveycodex), which BTK 1.0 takes its surveys from;
facts with their sources in its data files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["BTK_SURVEYS", "BtkFilter", "BtkSurvey", "default_psf", "zero_point_of"]


@dataclass(frozen=True)
class BtkFilter:
    """One band of a survey.

    Parameters
    ----------
    zero_point : float
        AB magnitude of 1 e-/s.
    exptime : float
        Seconds of the full survey, which BTK's images are of.
    psf_fwhm : float
        Arcsec, of the atmosphere alone.
    wavelength : float
        Effective, nm.
    """

    zero_point: float
    exptime: float
    psf_fwhm: float
    wavelength: float


@dataclass(frozen=True)
class BtkSurvey:
    """One survey.

    Parameters
    ----------
    mirror_diameter : float
        Metres.
    obscuration : float
        Share of the mirror's area.
    filters : mapping of str to BtkFilter
    """

    mirror_diameter: float
    obscuration: float
    filters: dict[str, BtkFilter]


def _survey(mirror_diameter: float, obscuration: float, **filters: tuple[float, float, float, float]) -> BtkSurvey:
    return BtkSurvey(mirror_diameter, obscuration, {name: BtkFilter(*row) for name, row in filters.items()})


BTK_SURVEYS: dict[str, BtkSurvey] = {
    "CFHTLS": _survey(
        3.58, 0.20309772,
        u=(25.78, 3000, 0.85, 382.329), g=(27.11, 2500, 0.78, 487.737), r=(26.74, 2000, 0.71, 623.062),
        i=(26.22, 4305, 0.64, 761.766), z=(25.02, 3600, 0.68, 882.798),
    ),
    "COSMOS": _survey(2.4, 0.33, f814w=(25.94, 2028, 0.095, 807.343)),
    "DES": _survey(
        3.934, 0.1761268,
        g=(26.72, 900, 1.12, 489.004), r=(26.99, 900, 0.96, 646.962), i=(26.86, 900, 0.88, 784.778),
        z=(26.58, 900, 0.84, 919.646), Y=(25.56, 450, 0.90, 989.297),
    ),
    "Euclid_NISP": _survey(
        1.2, 0.13,
        YE=(24.99, 112, 0.477, 1089.014), JE=(25.17, 112, 0.486, 1379.127), HE=(25.11, 112, 0.492, 1785.975),
    ),
    "Euclid_VIS": _survey(1.2, 0.13, IE=(25.92, 565, 0.17, 750.637)),
    "HSC": _survey(
        8.3, 0.02090289,
        g=(28.90, 600, 0.79, 484.370), r=(28.86, 600, 0.75, 625.889), i=(28.61, 1200, 0.61, 773.009),
        z=(27.68, 1200, 0.68, 891.239), y=(27.34, 1200, 0.68, 978.695),
    ),
    "LSST": _survey(
        8.36, 0.39257227,
        u=(26.44, 1680, 0.90, 368.141), g=(28.29, 2400, 0.86, 486.412), r=(28.13, 5520, 0.81, 624.976),
        i=(27.81, 5520, 0.79, 756.469), z=(27.42, 4800, 0.77, 870.164), y=(26.59, 4800, 0.76, 972.202),
    ),
    "PanSTARRS": _survey(
        1.8, 0.32078172,
        g=(25.15, 516, 1.47, 490.014), r=(25.35, 480, 1.31, 624.127), i=(25.33, 540, 1.19, 756.377),
        z=(24.92, 360, 1.14, 869.008), y=(23.93, 360, 1.09, 964.461), w=(26.63, 45, 1.31, 657.929),
    ),
    "Roman_WFI": _survey(
        2.4, 0.20252763,
        F106=(26.32, 642, 0.087, 1073.633), F129=(26.32, 642, 0.106, 1296.861), F158=(26.32, 642, 0.128, 1596.115),
    ),
    "Roman_WFI_Deep": _survey(
        2.4, 0.20252763,
        F087=(26.23, 4410, 0.073, 881.180), F106=(26.32, 4410, 0.087, 1073.633), F129=(26.32, 4410, 0.106, 1296.861),
        F146=(27.54, 5292, 0.105, 1536.573), F158=(26.32, 4410, 0.128, 1596.115), F184=(25.85, 4410, 0.146, 1850.203),
        F213=(25.81, 4410, 0.169, 2144.099),
    ),
    "SDSS": _survey(
        2.5, 0.27,
        u=(23.58, 54.1, 1.55, 361.437), g=(25.73, 54.1, 1.43, 474.923), r=(25.62, 54.1, 1.32, 620.583),
        i=(25.28, 54.1, 1.25, 752.562), z=(23.30, 54.1, 1.18, 894.738),
    ),
}  # fmt: skip


def zero_point_of(band: BtkFilter) -> float:
    """AB magnitude of one electron over the exposure."""
    return band.zero_point + 2.5 * math.log10(band.exptime)


def default_psf(survey: BtkSurvey, band: BtkFilter) -> Any:
    """The PSF that BTK draws with unless told otherwise, without the pixel: Kolmogorov turbulence and an Airy disc."""
    import galsim

    return galsim.Convolve(
        galsim.Kolmogorov(fwhm=band.psf_fwhm),
        galsim.Airy(lam=band.wavelength, diam=survey.mirror_diameter, obscuration=math.sqrt(survey.obscuration)),
    )
