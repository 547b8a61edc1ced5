"""A cutout made ready for measuring: sky off, bad pixels zero, its Sersic model and disc frame at hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, FitFlag, SersicFit
from skyloom.validate.drawing import seen_through, sersic_galaxy

__all__ = ["Frame", "prepare"]

MIN_PIXELS = 60
"""Usable pixels within three half-light radii (or five pixels, if that is more) below which nothing is measured.

A number and not a share of the stamp: stamps cut at an isophote hold a small galaxy's pixels alone."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What every tool measures on; made by `prepare`.

    Parameters
    ----------
    cutout : Cutout
        As it was read.
    image : ndarray of float64, shape (S, S)
        Sky-subtracted, 0 where the mask says so.
    variance : ndarray of float64, shape (S, S)
        Of a pixel's noise, 0 there too.
    mask : ndarray of bool, shape (S, S)
        True where a pixel can be used.
    fit : SersicFit or None
        None too for a fit whose numbers cannot be used.
    """

    cutout: Cutout
    image: NDArray[np.float64]
    variance: NDArray[np.float64]
    mask: NDArray[np.bool_]
    fit: SersicFit | None

    @property
    def scale(self) -> float:
        """Arcsec a pixel."""
        return self.cutout.pixel_scale

    @property
    def rho(self) -> float:
        """Correlation of the noise of adjacent pixels, 0 to 0.5."""
        return float(np.clip(self.cutout.noise_correlation, 0.0, 0.5))

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row of the galaxy's centre, 0-based pixels: the fit's, or the stamp's."""
        middle = (self.image.shape[0] - 1) / 2
        if self.fit is None:
            return middle, middle
        return middle + self.fit.dx / self.scale, middle + self.fit.dy / self.scale

    @property
    def half_light_radius(self) -> float:
        """Of the fit, circularised, pixels; NaN without one."""
        return float("nan") if self.fit is None else self.fit.half_light_radius / self.scale

    @cached_property
    def psf_fwhm(self) -> float:
        """FWHM of the Gaussian of the PSF's peak, pixels: sqrt(4 ln 2 / (pi peak))."""
        peak = float(self.cutout.psf.max() / self.cutout.psf.sum(dtype=float))
        return float(np.sqrt(4 * np.log(2) / (np.pi * peak)))

    @cached_property
    def disc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each pixel's place in the face-on disc, half-light radii, the first along the major axis."""
        if self.fit is None:
            raise CutoutError("a cutout without a Sersic fit has no disc frame")
        rows, columns = np.indices(self.image.shape, dtype=float)
        x, y = columns - self.centre[0], rows - self.centre[1]
        c, s = np.cos(self.fit.beta), np.sin(self.fit.beta)
        root = np.sqrt(self.fit.q)
        size = self.half_light_radius
        return (c * x + s * y) * root / size, (c * y - s * x) / root / size

    @cached_property
    def radius(self) -> NDArray[np.float64]:
        """Elliptical radius of each pixel, half-light radii, shape (S, S)."""
        return np.hypot(*self.disc)

    @cached_property
    def model(self) -> NDArray[np.float64]:
        """The fit through the PSF, shape (S, S), in the image's units and not masked."""
        if self.fit is None:
            raise CutoutError("a cutout without a Sersic fit has no model")
        fit = self.fit
        return seen_through(sersic_galaxy(fit), self.cutout, shift=(fit.dx, fit.dy))

    @cached_property
    def residual(self) -> NDArray[np.float64]:
        """Image minus model, shape (S, S), 0 where masked."""
        return np.where(self.mask, self.image - self.model, 0.0)


def prepare(cutout: Cutout) -> Frame:
    """Check a cutout and make it ready.

    Pixels that are not finite, or whose variance is not positive and finite, are masked.

    Raises
    ------
    CutoutError
        For a cutout that no tool can use, with the reason.
    """
    _check(cutout)
    image = np.asarray(cutout.image, dtype=np.float64)
    variance = np.asarray(cutout.variance, dtype=np.float64)
    mask = cutout.mask & np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    fit = cutout.fit if cutout.fit is not None and _usable(cutout.fit) else None
    sky = fit.sky if fit is not None else 0.0
    frame = Frame(cutout, np.where(mask, image - sky, 0.0), np.where(mask, variance, 0.0), mask, fit)
    near = mask if fit is None else mask & (frame.radius < max(3.0, 5.0 / frame.half_light_radius))
    if near.sum() < MIN_PIXELS:
        raise CutoutError(f"{near.sum()} pixels within three half-light radii can be used, {MIN_PIXELS} are needed")
    return frame


def _check(cutout: Cutout) -> None:
    shape = cutout.image.shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 8:
        raise CutoutError(f"the image has shape {shape}; it must be square, 8 pixels at least")
    if cutout.variance.shape != shape or cutout.mask.shape != shape:
        raise CutoutError("image, variance and mask differ in shape")
    if not (np.isfinite(cutout.pixel_scale) and cutout.pixel_scale > 0):
        raise CutoutError(f"the pixel scale is {cutout.pixel_scale} arcsec")
    if not np.isfinite(cutout.zero_point):
        raise CutoutError(f"the zero point is {cutout.zero_point}")
    psf = cutout.psf
    if psf.ndim != 2 or psf.size == 0 or not np.isfinite(psf).all() or not psf.sum(dtype=float) > 0:
        raise CutoutError("it has no PSF, or one that is not finite or of zero sum")
    if max(psf.shape) > shape[0] + 1:
        raise CutoutError(f"the PSF ({max(psf.shape)} pixels) is larger than the stamp ({shape[0]})")


def _usable(fit: SersicFit) -> bool:
    numbers = (fit.dx, fit.dy, fit.half_light_radius, fit.sersic_n, fit.q, fit.beta, fit.flux, fit.sky)
    return bool(
        np.isfinite(numbers).all()
        and not fit.flag & FitFlag.FAILED
        and fit.half_light_radius > 0
        and 0 < fit.q <= 1
        and fit.flux > 0
    )
