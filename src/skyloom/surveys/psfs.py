"""PSFs of named surveys from the few numbers that are published: plain frozen callables, which pickle."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import galsim

__all__ = ["EuclidlikePSF", "GroundPSF", "RomanPSF", "SpacePSF"]

ARCSEC = 180 * 3600 / math.pi
TOLERANCE = 1e-3
"""Of the FWHM of a space telescope's PSF: a fifth of what three digits of it say."""


@dataclass(frozen=True)
class GroundPSF:
    """Kolmogorov turbulence, its FWHM falling with wavelength as lambda**-0.2 (Fried 1966).

    Parameters
    ----------
    fwhm : float
        arcsec, delivered, at `wavelength`.
    wavelength : float
        nm.
    """

    fwhm: float
    wavelength: float

    def __call__(self, x: float | None, y: float | None, wavelength: float) -> galsim.GSObject:
        """The same at every place."""
        import galsim

        return galsim.Kolmogorov(fwhm=self.fwhm * (wavelength / self.wavelength) ** -0.2)


@dataclass(frozen=True)
class SpacePSF:
    """Diffraction of an obscured circular mirror, and a Gaussian that brings the FWHM to what is published.

    The Gaussian stands for jitter, optics and charge diffusion; it does not depend on wavelength.

    Parameters
    ----------
    fwhm : float
        arcsec, at `reference`.
    reference : float
        nm.
    diameter : float
        m.
    obscuration : float
        Linear.
    """

    fwhm: float
    reference: float
    diameter: float
    obscuration: float

    def __call__(self, x: float | None, y: float | None, wavelength: float) -> galsim.GSObject:
        """The same at every place."""
        import galsim

        airy = self._airy(wavelength)
        sigma = _blur(self)
        return galsim.Convolve([airy, galsim.Gaussian(sigma=sigma)]) if sigma > 0 else airy

    def _airy(self, wavelength: float) -> Any:
        import galsim

        lam_over_diam = wavelength * 1e-9 / self.diameter * ARCSEC
        return galsim.Airy(lam_over_diam=lam_over_diam, obscuration=self.obscuration, scale_unit=galsim.arcsec)


@functools.lru_cache(maxsize=32)
def _blur(psf: SpacePSF) -> float:
    """Sigma (arcsec) of the Gaussian; 0 where diffraction alone is as wide as published."""
    import galsim

    airy = psf._airy(psf.reference)

    def fwhm(sigma: float) -> float:  # an obscured Airy alone has no FWHM in GalSim, a convolution has
        return float(galsim.Convolve([airy, galsim.Gaussian(sigma=sigma)]).calculateFWHM())

    low, high = TOLERANCE * psf.fwhm, psf.fwhm / 2.0
    if fwhm(low) >= psf.fwhm:
        return 0.0
    while high - low > TOLERANCE * psf.fwhm / 2:
        middle = (low + high) / 2
        low, high = (middle, high) if fwhm(middle) < psf.fwhm else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class RomanPSF:
    """Roman's WFI of `galsim.roman.getPSF`, with its jitter and charge diffusion.

    Parameters
    ----------
    band : str
        GalSim's name, e.g. ``"H158"``.
    sca : int
        Detector, 1 to 18; the second, near the middle of the focal plane, is GalSim's most typical one.
    """

    band: str
    sca: int = 2

    def __call__(self, x: float | None, y: float | None, wavelength: float) -> galsim.GSObject:
        """Aberrations follow the place on the detector; outside it, those of its edge are taken."""
        import galsim
        import galsim.roman

        place = None
        if x is not None and y is not None:
            edge = galsim.roman.n_pix
            place = galsim.PositionD(min(max(float(x), 1.0), edge), min(max(float(y), 1.0), edge))
        optics = galsim.roman.getPSF(self.sca, self.band, SCA_pos=place, wavelength=float(wavelength))
        sigma = math.hypot(galsim.roman.jitter_rms, galsim.roman.charge_diffusion * galsim.roman.pixel_scale)
        return galsim.Convolve([optics, galsim.Gaussian(sigma=sigma)])


@dataclass(frozen=True)
class EuclidlikePSF:
    """Euclid's VIS of GalSim-Euclid-Like, ``euclidlike.getPSF``: tabulated, the same on all its detectors.

    Parameters
    ----------
    ccd : int
        Detector, 1 to 36.
    """

    ccd: int = 1

    def __call__(self, x: float | None, y: float | None, wavelength: float) -> galsim.GSObject:
        """The module's own PSF at the wavelength."""
        import euclidlike
        import galsim

        place = galsim.PositionD(float(x), float(y)) if x is not None and y is not None else None
        return euclidlike.getPSF(self.ccd, "VIS", ccd_pos=place, wavelength=float(wavelength))
