"""Cutouts of made-up galaxies: known truth for tests of measurements, metrics and readers."""

from __future__ import annotations

from dataclasses import replace

import galsim
import numpy as np

from skyloom.rng import galaxy_rng
from skyloom.stamps import Cutout, SersicFit
from skyloom.testing.synthetic import synthetic_batch
from skyloom.validate.counterparts import draw_through
from skyloom.validate.counterparts_noise import correlated_noise

__all__ = ["synthetic_cutouts"]

ZERO_POINT = 25.94


def synthetic_cutouts(
    n: int,
    seed: int = 0,
    *,
    strength: float = 0.6,
    stamp_size: int = 64,
    pixel_scale: float = 0.05,
    psf_fwhm: float = 0.12,
    noise_rms: float = 0.01,
    noise_correlation: float = 0.3,
) -> list[Cutout]:
    """`n` galaxies with structure, seen through a round PSF and correlated noise; their fits are the truth.

    Parameters
    ----------
    n : int
    seed : int
        Another seed gives other galaxies.
    strength : float
        Root mean square of the logarithm of galaxy over Sersic; 0 gives plain Sersic profiles.
    stamp_size : int
        Pixels along a side.
    pixel_scale, psf_fwhm : float
        Arcsec.
    noise_rms : float
        Image units a pixel; the faintest galaxies have a flux of 10.
    noise_correlation : float
        Of adjacent pixels.
    """
    ranges = {
        "flux": (10.0, 200.0),
        "half_light_radius": (0.18, 0.5),
        "sersic_n": (0.7, 3.5),
        "q": (0.3, 1.0),
    }
    galaxies = synthetic_batch(n, seed, strength=strength, ranges=ranges)
    psf_profile = galsim.Convolve(galsim.Moffat(beta=3.5, fwhm=psf_fwhm), galsim.Pixel(pixel_scale))
    psf = psf_profile.drawImage(nx=41, ny=41, scale=pixel_scale, method="no_pixel", dtype=np.float64).array
    out = []
    for i in range(n):
        rng = galaxy_rng(seed, i, "synthetic cutout")
        fit = SersicFit(
            dx=float(rng.uniform(-0.5, 0.5) * pixel_scale),
            dy=float(rng.uniform(-0.5, 0.5) * pixel_scale),
            half_light_radius=float(galaxies.half_light_radius[i]),
            sersic_n=float(galaxies.sersic_n[i]),
            q=float(galaxies.q[i]),
            beta=float(galaxies.beta[i]),
            flux=float(galaxies.flux[i]),
            sky=0.0,
            **dict.fromkeys((f"{name}_error" for name in ("dx", "dy", "half_light_radius", "sersic_n")), 0.01),
            **dict.fromkeys((f"{name}_error" for name in ("q", "beta", "flux", "sky")), 0.01),
            chi2=1.0,
            snr=float(galaxies.flux[i] / noise_rms / 30),
            flag=0,
        )
        blank = Cutout(
            image=np.zeros((stamp_size, stamp_size), np.float32),
            variance=np.full((stamp_size, stamp_size), noise_rms**2, np.float32),
            mask=np.ones((stamp_size, stamp_size), bool),
            psf=(psf / psf.sum()).astype(np.float32),
            pixel_scale=pixel_scale,
            zero_point=ZERO_POINT,
            band="F814W",
            wavelength=804.6,
            galaxy_id=i,
            group=f"synthetic/{i}",
            source=f"synthetic{seed}",
            redshift=0.5,
            noise_correlation=noise_correlation,
            fit=fit,
        )
        noise = correlated_noise(blank.variance, noise_correlation, rng)
        image = draw_through(galaxies[i], blank) + noise
        out.append(replace(blank, image=image.astype(np.float32)))
    return out
