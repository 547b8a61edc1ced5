"""Effective PSFs from what a side-car says: an image in a file, or an analytic profile of a width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.psfs import centred_psf
from skyloom.cutouts.sidecar import SideCar
from skyloom.errors import CutoutError

__all__ = ["draw_effective", "no_psf", "sidecar_psf"]

DEFAULT_BETA = 3.0


def no_psf(sidecar: SideCar) -> str:
    """The reason that a galaxy without a PSF is left out for, with the cure."""
    return f"no PSF (give psf or psf_fwhm in {sidecar.name})"


def sidecar_psf(sidecar: SideCar, pixel_scale: float, size: int) -> NDArray[np.float32] | None:
    """The effective PSF that a side-car gives, shape (size, size), of sum 1; None when it gives none.

    Parameters
    ----------
    sidecar : SideCar
    pixel_scale : float
        The stamps', arcsec.
    size : int
        Odd.

    Raises
    ------
    CutoutError
        When the file it names is no image.
    """
    import galsim

    if sidecar.psf_fwhm is not None:
        kind, fwhm = sidecar.psf_profile or "moffat", sidecar.psf_fwhm
        if kind == "gaussian":
            profile = galsim.Gaussian(fwhm=fwhm)
        elif kind == "kolmogorov":
            profile = galsim.Kolmogorov(fwhm=fwhm)
        else:
            profile = galsim.Moffat(beta=sidecar.psf_beta or DEFAULT_BETA, fwhm=fwhm)
        return draw_effective(profile, pixel_scale, size)
    if sidecar.psf is None:
        return None
    assert sidecar.path is not None
    path = sidecar.path.with_name(sidecar.psf)
    scale = sidecar.psf_pixel_scale or pixel_scale
    image = _image(path)
    if sidecar.psf_has_pixel is not False:
        return centred_psf(image, scale, pixel_scale, size, where=str(path))
    centred = centred_psf(image, scale, scale, max(image.shape) | 1, where=str(path))
    drawn = galsim.Image(np.ascontiguousarray(centred, dtype=np.float64), scale=scale)
    bare = galsim.InterpolatedImage(drawn, x_interpolant="lanczos5", normalization="flux")
    return draw_effective(bare, pixel_scale, size)


def draw_effective(profile: Any, pixel_scale: float, size: int) -> NDArray[np.float32]:
    """A PSF above the pixels as the effective PSF of pixels of `pixel_scale`, shape (size, size), of sum 1."""
    image = profile.drawImage(nx=size, ny=size, scale=pixel_scale, dtype=np.float64).array
    return np.asarray(image / image.sum(), dtype=np.float32)


def _image(path: Path) -> NDArray[np.float64]:
    if path.suffix == ".npy":
        from skyloom.cutouts.plain_arrays import open_npy

        image = np.asarray(open_npy(path), dtype=np.float64)
    else:
        from skyloom.cutouts.fits_images import read_fits_image

        image = read_fits_image(path).image
    if image.ndim != 2 or max(image.shape) > 4096:
        raise CutoutError(f"{path}: not an image of a PSF, shape {image.shape}")
    return image
