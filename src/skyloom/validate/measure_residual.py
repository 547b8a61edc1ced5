"""What is left of a galaxy after its best Sersic: how much, at which scales, how lopsided."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skyloom.validate.measure_flags import Measured, MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame
from skyloom.validate.measure_noise import gaussian_kernel, noise_spectrum, smooth, smoothed_variance

__all__ = ["RESIDUAL", "SPECTRUM_EDGES", "measure_residual", "signed_root"]

_Pixel = TypeVar("_Pixel", np.float64, np.bool_)

EDGE = 3.0
"""Half-light radii within which the residual is measured."""

MIN_COVERED = 0.5
"""Share of them that must be usable."""

SPECTRUM_EDGES: tuple[float, ...] = (0.0, 0.15, 0.25, 0.4, 0.6, 0.9, 1.3, 1.9, 2.8)
"""Edges of the power spectrum's bins, cycles per half-light radius."""


def measure_residual(frame: Frame) -> Measured:
    """Measure the residual's rms as a share of the model's, noise taken off.

    With D the image minus the PSF-convolved fit, v the variance of the noise and M the model, over the usable
    pixels within three half-light radii:

        power = sum(D^2 - v) / sum(M^2),     rms = sign(power) sqrt(|power|).

    *Smoothed*: D and M convolved with a Gaussian whose FWHM is half a half-light radius or the PSF's,
    whichever is larger, and v the variance after that. *Asymmetry*: the part of the smoothed D that changes
    sign when turned by half a turn, (D - D_180)/2, whose noise is half of v; turned about the nearest half
    pixel, so that nothing is interpolated. *Spectrum*: the same power in eight bins of wavenumber, whose
    signed squares sum to that of the rms when the bins reach the pixel's Nyquist frequency; bins beyond it
    are NaN.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
    """
    if frame.fit is None:
        return {}, MeasureFlag.NO_FIT
    inside = frame.radius < EDGE
    usable = inside & frame.mask
    if usable.sum() < max(MIN_COVERED * np.pi * (EDGE * frame.half_light_radius) ** 2, 20):
        return {}, MeasureFlag.FEW_PIXELS
    scale = float((frame.model[usable] ** 2).sum())
    power = float((frame.residual[usable] ** 2 - frame.variance[usable]).sum()) / scale

    kernel = gaussian_kernel(max(0.5 * frame.half_light_radius, frame.psf_fwhm))
    residual = smooth(frame.residual, kernel)
    variance = smoothed_variance(frame.variance, frame.rho, kernel)
    model = smooth(np.where(frame.mask, frame.model, 0.0), kernel)
    smooth_scale = float((model[usable] ** 2).sum())
    smooth_power = float((residual[usable] ** 2 - variance[usable]).sum()) / smooth_scale

    turned, both = _half_turn(residual, frame.centre), usable & _half_turn(usable, frame.centre)
    odd = (residual - turned)[both] / 2
    odd_power = float((odd**2).sum() - variance[both].sum() / 2) / smooth_scale
    values = {
        "residual_rms": signed_root(power),
        "residual_rms_smoothed": signed_root(smooth_power),
        "residual_asymmetry": signed_root(odd_power),
    }
    spectrum = _spectrum(frame, usable, scale)
    values.update({f"residual_spectrum_{i}": signed_root(p) for i, p in enumerate(spectrum)})
    return values, MeasureFlag(0)


def signed_root(power: float) -> float:
    """sign(x) sqrt(|x|): an amplitude that stays symmetric about 0 where the noise wins."""
    return float(np.sign(power) * np.sqrt(abs(power)))


def _half_turn(image: NDArray[_Pixel], centre: tuple[float, float]) -> NDArray[_Pixel]:
    """Turn by 180 degrees about the half pixel nearest to `centre`; what comes from outside is 0."""
    out = np.zeros_like(image)
    height, width = image.shape
    sums = round(2 * centre[1]), round(2 * centre[0])  # row + turned row, column + turned column
    rows, columns = sums[0] - np.arange(height), sums[1] - np.arange(width)
    good_rows, good_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    out[np.ix_(good_rows, good_columns)] = image[np.ix_(rows[good_rows], columns[good_columns])]
    return out


def _spectrum(frame: Frame, usable: NDArray[np.bool_], scale: float) -> NDArray[np.float64]:
    shape = frame.image.shape
    power = np.abs(np.fft.fft2(np.where(usable, frame.residual, 0.0))) ** 2
    power -= noise_spectrum(np.sqrt(np.where(usable, frame.variance, 0.0)), frame.rho)
    power /= power.size * scale
    k = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in shape))) * frame.half_light_radius
    which = np.digitize(k.ravel(), SPECTRUM_EDGES) - 1
    bins = len(SPECTRUM_EDGES) - 1
    inside = which < bins
    total = np.bincount(which[inside], weights=power.ravel()[inside], minlength=bins).astype(float)
    total[np.bincount(which[inside], minlength=bins) == 0] = np.nan
    return total


RESIDUAL = Tool(
    "residual",
    {
        "residual_rms": "",
        "residual_rms_smoothed": "",
        "residual_asymmetry": "",
        **{f"residual_spectrum_{i}": "" for i in range(len(SPECTRUM_EDGES) - 1)},
    },
    measure_residual,
)
