"""Made-up cutouts: galaxies with structure through a PSF, with noise, and the truth as their Sersic fit."""

from __future__ import annotations

import galsim
import numpy as np

from skyloom.rng import galaxy_rng
from skyloom.stamps import Cutout, SersicFit
from skyloom.testing.synthetic import synthetic_batch

__all__ = ["synthetic_cutouts"]

PIXEL_SCALE = 0.06
ZERO_POINT = 26.0


def synthetic_cutouts(n: int, seed: int = 0, *, stamp_size: int = 48, strength: float = 0.5) -> list[Cutout]:
    """Cutouts of `synthetic_batch`'s galaxies at 0.06 arcsec a pixel, S/N of some hundreds.

    Parameters
    ----------
    n : int
        How many.
    seed : int
    stamp_size : int
        Pixels.
    strength : float
        Of the structure.

    Returns
    -------
    list of Cutout
        Of source ``synthetic``, each its own group.
    """
    ranges = {"half_light_radius": (0.2, 0.45), "sersic_n": (0.7, 3.0), "q": (0.4, 1.0), "flux": (3e3, 2e4)}
    batch = synthetic_batch(n, seed, strength=strength, ranges=ranges)
    psf = galsim.Gaussian(fwhm=0.12)
    effective = galsim.Convolve(psf, galsim.Pixel(PIXEL_SCALE))
    psf_image = effective.drawImage(nx=25, ny=25, scale=PIXEL_SCALE, method="no_pixel", dtype=np.float32).array
    cutouts = []
    for i, galaxy in enumerate(batch):
        image = galsim.Convolve(galaxy, psf).drawImage(nx=stamp_size, ny=stamp_size, scale=PIXEL_SCALE).array
        noise = galaxy_rng(seed, i, "noise").standard_normal(image.shape)
        fit = dict.fromkeys(SersicFit.__dataclass_fields__, 0.0)
        fit |= {"half_light_radius": float(batch.half_light_radius[i]), "sersic_n": float(batch.sersic_n[i])}
        fit |= {"q": float(batch.q[i]), "beta": float(batch.beta[i]), "flux": float(batch.flux[i])}
        cutouts.append(
            Cutout(
                image=(image + noise).astype(np.float32),
                variance=np.ones_like(image, dtype=np.float32),
                mask=np.ones(image.shape, dtype=bool),
                psf=psf_image / psf_image.sum(),
                pixel_scale=PIXEL_SCALE,
                zero_point=ZERO_POINT,
                band="synthetic",
                wavelength=800.0,
                galaxy_id=i,
                group=str(i),
                source="synthetic",
                fit=SersicFit(**{**fit, "chi2": 1.0, "snr": 300.0, "flag": 0}),
            )
        )
    return cutouts
