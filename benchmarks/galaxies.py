"""The galaxies, PSFs and GalSim references that the benchmarks and the drawing tests share."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
import torch
from numpy.typing import NDArray

from skyloom.frames import profile_jacobian
from skyloom.physics.sersic import sersic_surface_brightness

__all__ = [
    "GRID_SCALE",
    "GRID_SIZE",
    "PSFS",
    "Galaxies",
    "galsim_image",
    "galsim_profile",
    "random_galaxies",
    "smooth_residual",
]

GRID_SIZE, GRID_SCALE = 96, 9 / 96

PSFS = {
    "euclid": (
        galsim.Convolve(galsim.Airy(lam=700, diam=1.2, obscuration=0.3), galsim.Gaussian(fwhm=0.11)),
        0.1,
    ),
    "lsst": (galsim.Kolmogorov(fwhm=0.7), 0.2),
    "hst": (
        galsim.Convolve(galsim.Airy(lam=814, diam=2.4, obscuration=0.33), galsim.Gaussian(sigma=0.02)),
        0.05,
    ),
}
"""Name: PSF, and pixel scale in arcsec."""


@dataclass(frozen=True)
class Galaxies:
    """Arrays as `skyloom.draw` reads them, with what made the Jacobians."""

    sersic_n: NDArray[np.float64]
    half_light_radius: NDArray[np.float64]
    q: NDArray[np.float64]
    beta: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    offset: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    residual: NDArray[np.float32] | None = None
    grid_scale: float = GRID_SCALE


def smooth_residual(n: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """S (exp f - 1) with f a dozen random blobs, windowed to zero at the centre and at four half-light radii."""
    axis = (np.arange(GRID_SIZE) - (GRID_SIZE - 1) / 2) * GRID_SCALE
    x, y = np.meshgrid(axis, axis)
    r = np.hypot(x, y)
    f = np.zeros_like(r)
    for _ in range(12):
        width, height = rng.uniform(0.3, 0.8), rng.uniform(-1, 1)
        f += height * np.exp(-((x - rng.normal(0, 1.2)) ** 2 + (y - rng.normal(0, 1.2)) ** 2) / (2 * width**2))
    f *= _ramp((r - 0.15) / 0.7) * _ramp((4.0 - r) / 1.5)
    sersic = sersic_surface_brightness(torch.tensor(n, dtype=torch.float64), torch.from_numpy(r)).numpy()
    return (sersic * np.expm1(f)).astype(np.float32)


def _ramp(t: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.clip(t, 0, 1)
    return t**3 * (10 - 15 * t + 6 * t**2)


def random_galaxies(
    count: int,
    rng: np.random.Generator,
    *,
    residual: bool = True,
    pixel_scale: float = 0.1,
    n_range: tuple[float, float] = (0.5, 6.0),
    size_range: tuple[float, float] = (0.1, 1.0),
    general: bool = False,
) -> Galaxies:
    """Random galaxies; `general` adds a lensing shear up to 0.4 and, to every second one, a turn of the grid."""
    n = rng.uniform(*n_range, count)
    size = np.exp(rng.uniform(*np.log(size_range), count))
    q, beta = rng.uniform(0.2, 1, count), rng.uniform(0, np.pi, count)
    jacobian = profile_jacobian(size, q, beta)
    if general:
        for i in range(count):
            turn = rng.uniform(0, 2 * np.pi) * (i % 2)
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            shear = galsim.Shear(g=rng.uniform(0, 0.4), beta=rng.uniform(0, np.pi) * galsim.radians)
            jacobian[i] = shear.getMatrix() @ rotation @ jacobian[i]
    return Galaxies(
        sersic_n=n, half_light_radius=size, q=q, beta=beta, jacobian=jacobian,
        offset=rng.uniform(-0.5, 0.5, (count, 2)) * pixel_scale, amplitude=rng.uniform(1, 100, count),
        residual=np.array([smooth_residual(v, rng) for v in n]) if residual else None,
    )  # fmt: skip


def galsim_profile(galaxies: Galaxies, i: int, gsparams: galsim.GSParams) -> galsim.GSObject:
    """One galaxy as GalSim draws it."""
    profile = galsim.Sersic(galaxies.sersic_n[i], half_light_radius=1.0, gsparams=gsparams)
    if galaxies.residual is not None:
        profile += galsim.InterpolatedImage(
            galsim.Image(galaxies.residual[i].astype(float), scale=galaxies.grid_scale),
            x_interpolant=galsim.Quintic(gsparams=gsparams), k_interpolant=galsim.Quintic(gsparams=gsparams),
            normalization="sb", gsparams=gsparams, _force_stepk=0.2, _force_maxk=90.0,
        )  # fmt: skip
    jacobian = galaxies.jacobian[i]
    return galsim.Transform(
        profile * galaxies.amplitude[i], jac=jacobian.ravel().tolist(), offset=galaxies.offset[i].tolist(),
        flux_ratio=float(1 / abs(np.linalg.det(jacobian))),
    )  # fmt: skip


def galsim_image(
    galaxies: Galaxies, i: int, psf: galsim.GSObject, pixel_scale: float, stamp_size: int, *, cap: float = 1800
) -> NDArray[np.float64]:
    """GalSim's drawing with the tightest folding whose Fourier grid stays below about `cap` wavenumbers a side.

    The cut in Fourier space must be the PSF's: a galaxy's own (``maxk_threshold``) rounds its cusp. GalSim's Sersic
    breaks for n >= 5 and a ``maxk_threshold`` of 1e-8, so 1e-7 it is.
    """
    large = galsim.GSParams(maximum_fft_size=16384)
    for folding in (1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 0.1):
        fine = galsim.GSParams(folding_threshold=folding, maxk_threshold=1e-7, kvalue_accuracy=1e-7)
        fine_psf = galsim.GSParams(folding_threshold=max(folding, 2e-4), maxk_threshold=1e-5, kvalue_accuracy=1e-7)
        parts = [galsim_profile(galaxies, i, fine), psf.withGSParams(fine_psf), galsim.Pixel(pixel_scale)]
        whole = galsim.Convolve(parts, gsparams=large, propagate_gsparams=False)
        if whole.maxk / whole.stepk <= cap:
            break
    image = whole.drawImage(nx=stamp_size, ny=stamp_size, scale=pixel_scale, dtype=float, method="no_pixel")
    return image.array
