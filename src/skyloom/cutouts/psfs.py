"""Effective PSFs of stamps: centred, of odd size, resampled to the stamp's pixels, binned with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import CutoutError

__all__ = ["binned_psf", "centred_psf", "fit_psf_size"]

INTERPOLANT = "lanczos5"


def _interpolated(psf: NDArray[np.floating], scale: float) -> Any:
    import galsim

    image = galsim.Image(np.ascontiguousarray(psf, dtype=np.float64), scale=scale)
    return galsim.InterpolatedImage(image, x_interpolant=INTERPOLANT, normalization="flux")


def _draw(profile: Any, size: int, scale: float) -> NDArray[np.float32]:
    drawn = profile.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=np.float64)
    return np.asarray(drawn.array / drawn.array.sum(), dtype=np.float32)


def centred_psf(
    psf: NDArray[np.floating], scale: float, pixel_scale: float, size: int, *, where: str = "PSF"
) -> NDArray[np.float32]:
    """Bring an effective PSF to `pixel_scale` and `size`, its centre on the central pixel.

    The centre is the centroid under a Gaussian window about the peak (the wings of a PSF of a real telescope
    are lopsided, and a plain centroid follows them). A PSF that is already centred and sampled is only
    cropped or padded.

    Parameters
    ----------
    psf : ndarray, shape (H, W)
        Effective PSF, of any sum.
    scale : float
        Its pixels, arcsec.
    pixel_scale : float
        The stamp's pixels, arcsec.
    size : int
        Odd.
    where : str
        What to call it in an error.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Of sum 1.

    Raises
    ------
    CutoutError
        When it is not a finite two-dimensional image of positive sum.
    """
    if psf.ndim != 2 or not np.all(np.isfinite(psf)) or not psf.sum() > 0:
        raise CutoutError(f"{where}: not a finite image of positive sum, shape {psf.shape}")
    psf = np.asarray(psf, dtype=np.float64)
    psf = fit_psf_size(psf, max(psf.shape) | 1)
    middle = psf.shape[0] // 2
    x, y = _window_centroid(psf)
    dx, dy = x - middle, y - middle
    ix, iy = round(dx), round(dy)
    if (ix, iy) != (0, 0):  # whole pixels without interpolation
        psf = np.roll(psf, (-iy, -ix), axis=(0, 1))
        dx, dy = dx - ix, dy - iy
    if abs(scale / pixel_scale - 1) < 1e-3 and np.hypot(dx, dy) < 0.02:
        out = fit_psf_size(psf, size)
        return np.asarray(out / out.sum(), dtype=np.float32)
    return _draw(_interpolated(psf, scale).shift(-dx * scale, -dy * scale), size, pixel_scale)


def binned_psf(psf: NDArray[np.floating], pixel_scale: float, factor: int) -> NDArray[np.float32]:
    """Effective PSF of an image binned `factor` x `factor`, in its new pixels, of the same shape.

    A binned pixel is the sum of `factor`^2 old ones, so the new effective PSF is the old one convolved with
    as many points, sampled at the new pixels.
    """
    import galsim

    steps = (np.arange(factor) - (factor - 1) / 2) * pixel_scale
    one = _interpolated(psf, pixel_scale)
    points = galsim.Add([one.shift(x, y) for x in steps for y in steps])
    return _draw(points, psf.shape[0], pixel_scale * factor)


def fit_psf_size(psf: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Crop or pad with zeros to (size, size), the central pixel staying central."""
    out = np.zeros((size, size))
    (ys, yd), (xs, xd) = (_overlap(n, size) for n in psf.shape)
    out[yd, xd] = psf[ys, xs]
    return out


def _overlap(have: int, want: int) -> tuple[slice, slice]:
    offset = want // 2 - have // 2
    source = slice(max(0, -offset), min(have, want - offset))
    return source, slice(source.start + offset, source.stop + offset)


def _window_centroid(psf: NDArray[np.float64]) -> tuple[float, float]:
    yy, xx = np.mgrid[: psf.shape[0], : psf.shape[1]].astype(np.float64)
    y, x = (float(v) for v in np.unravel_index(int(np.argmax(psf)), psf.shape))
    core = psf > 0.5 * psf.max()
    sigma2 = max(core.sum() / np.pi / (2 * np.log(2)), 1.0)  # a Gaussian of the same half-maximum area
    for _ in range(20):
        weight = psf * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma2))
        step = (weight * (xx - x)).sum() / weight.sum(), (weight * (yy - y)).sum() / weight.sum()
        x, y = x + 2 * step[0], y + 2 * step[1]  # twice: the window halves the offset of a matched Gaussian
        if abs(step[0]) + abs(step[1]) < 1e-5:
            break
    return x, y
