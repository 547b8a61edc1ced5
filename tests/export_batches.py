"""Galaxies and telescopes of the tests of `skyloom.export`."""

from __future__ import annotations

import galsim
import numpy as np

import skyloom
from skyloom.profiles import ProfileBatch

EUCLID = galsim.Convolve(galsim.Airy(lam=715, diam=1.2, obscuration=0.35), galsim.Gaussian(fwhm=0.116))
RUBIN = galsim.Kolmogorov(fwhm=0.6)

SIZES = [0.12, 0.3, 0.3, 0.5, 0.8, 0.2]
INDICES = [1.0, 0.6, 4.0, 1.2, 3.0, 5.5]


def conditions(count: int = 6) -> skyloom.Conditions:
    rows = np.arange(count) % len(SIZES)
    return skyloom.Conditions(
        galaxy_id=100 + np.arange(count),
        mag=np.array([23.5, 23.0, 22.0, 22.0, 21.0, 22.5])[rows],
        zero_point=25.94,
        half_light_radius=np.array(SIZES)[rows],
        sersic_n=np.array(INDICES)[rows],
        q=np.array([0.7, 0.4, 0.9, 0.5, 0.8, 0.6])[rows],
        beta=np.linspace(0, 3, len(SIZES))[rows],
        wavelength=814.0,
        redshift=np.array([0.2, 0.5, 0.8, 1.2, 0.1, 2.0])[rows],
    )


def sersics(count: int = 6) -> ProfileBatch:
    return skyloom.load_model("sersic").sample(conditions(count), seed=1)


def through(profile: galsim.GSObject, psf: galsim.GSObject, scale: float, size: int = 48) -> np.ndarray:
    seen = galsim.Convolve(profile, psf).drawImage(nx=size, ny=size, scale=scale, dtype=float)
    return np.asarray(seen.array)


def difference(profile: galsim.GSObject, truth: galsim.GSObject, psf: galsim.GSObject, scale: float) -> float:
    """Largest of any pixel, in units of the truth's peak."""
    wanted = through(truth, psf, scale)
    return float(np.abs(through(profile, psf, scale) - wanted).max() / wanted.max())
