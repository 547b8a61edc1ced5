"""A small picture of an image file, to see at a glance what was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_quicklook", "stretch"]

_SIDE = 1024  # pixels at most


def draw_quicklook(path: Path) -> Path | None:
    """Write ``f0.png`` beside ``f0.fits``: its first image, averaged down, on an asinh scale.

    Returns
    -------
    pathlib.Path or None
        None when the file holds no two-dimensional image.
    """
    from astropy.io import fits
    from matplotlib.image import imsave

    if ".fits" not in path.suffixes[-2:]:
        return None
    with fits.open(path, memmap=False) as hdus:
        data = next((h.data for h in hdus if h.is_image and h.data is not None and h.data.ndim >= 2), None)
    if data is None:
        return None
    picture = path.with_name(path.name.split(".fits")[0] + ".png")
    image = _averaged(np.asarray(data.reshape(-1, *data.shape[-2:])[0], dtype=np.float64))
    imsave(picture, stretch(image), origin="lower", cmap="gray", vmin=0, vmax=1)
    return picture


def stretch(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map pixel values to 0..1: the sky's noise dark, the brightest thousandth white.

    Parameters
    ----------
    image : ndarray
        Any finite or non-finite values; the latter become black.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return np.zeros_like(image)
    sky = float(np.median(finite))
    noise = 1.4826 * float(np.median(np.abs(finite - sky)))
    top = float(np.quantile(finite, 0.999)) - sky
    scale = noise or top / 50 or 1.0
    low, high = np.arcsinh(-1.0), np.arcsinh(max(top, 5 * scale) / scale)
    scaled = (np.arcsinh((np.nan_to_num(image, nan=sky, posinf=sky, neginf=sky) - sky) / scale) - low) / (high - low)
    return np.where(np.isfinite(image), np.clip(scaled, 0, 1), 0.0)


def _averaged(image: NDArray[np.float64]) -> NDArray[np.float64]:
    block = max(1, -(-max(image.shape) // _SIDE))
    rows, columns = (max(1, n // block) for n in image.shape)
    if block == 1 or min(image.shape) < block:
        return image
    cut = image[: rows * block, : columns * block]
    return cut.reshape(rows, block, columns, block).mean(axis=(1, 3))
