"""An image with all that FITS files say beside it: noise, mask, PSF, pixel scale, zero point, band.

Extensions and keywords by the names that surveys and GalSim give them; the first 2-D image is the galaxy's.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import CutoutError

__all__ = ["FitsImage", "read_fits_image"]

MAX_SIDE = 20_000
SCIENCE = ("SCI", "IMAGE", "SCIENCE", "DATA")
ERROR, VARIANCE, WEIGHT = ("ERR", "ERROR", "RMS", "SIGMA"), ("VAR", "VARIANCE"), ("WHT", "WEIGHT", "IVAR")
MASK = ("MASK", "DQ", "FLAGS")
SCALE_WORDS = ("PIXSCALE", "GS_SCALE", "PIXELSCL")
ZERO_POINT_WORDS = ("ZPAB", "ZEROPNT", "MAGZERO", "MAGZPT")


@dataclass(frozen=True)
class FitsImage:
    """What one FITS file holds; None: it does not say.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    variance : ndarray, shape (H, W), or None
        Of ERR squared, VAR or 1 / WHT.
    usable : ndarray of bool, shape (H, W)
        Finite, of positive variance, and 0 in the mask.
    psf : ndarray, shape (P, Q), or None
    psf_scale : float or None
        PIXSCALE of the PSF's own header, arcsec.
    pixel_scale, zero_point, wavelength, gain, redshift : float or None
        Arcsec; AB magnitude of one unit; nm; e- a unit.
    band, group : str or None
    galaxy_id : int or None
    """

    image: NDArray[np.float64]
    variance: NDArray[np.float64] | None
    usable: NDArray[np.bool_]
    psf: NDArray[np.float64] | None
    psf_scale: float | None
    pixel_scale: float | None
    zero_point: float | None
    wavelength: float | None
    gain: float | None
    redshift: float | None
    band: str | None
    group: str | None
    galaxy_id: int | None


def read_fits_image(path: Path) -> FitsImage:
    """Read one FITS file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CutoutError
        When it is no FITS file, is cut off, or holds no 2-D image.
    """
    from astropy.io import fits

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with fits.open(path, memmap=False) as hdus:
                found = _read(hdus, path)
    except CutoutError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as exc:
        raise CutoutError(f"{path}: not a FITS image that can be read: {exc}") from exc
    for one in said:  # astropy only warns of a file that ends too early
        if "truncated" in str(one.message):
            raise CutoutError(f"{path}: {one.message}")
    return found


def _read(hdus: Any, path: Path) -> FitsImage:
    from astropy.io import fits

    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    images = [h for h in hdus if isinstance(h, kinds) and len(h.shape or ()) == 2]
    for hdu in images:
        if max(hdu.shape) > MAX_SIDE:
            raise CutoutError(f"{path}: an image of {hdu.shape} pixels; at most {MAX_SIDE} a side")
    named = {str(h.name).upper(): h for h in reversed(images)}
    beside = {*ERROR, *VARIANCE, *WEIGHT, *MASK, "PSF"}
    main = _named(named, SCIENCE) or next((h for h in images if str(h.name).upper() not in beside), None)
    if main is None:
        raise CutoutError(f"{path}: no 2-D image in it")
    image = np.asarray(main.data, dtype=np.float64)
    usable = np.isfinite(image)
    variance = _variance(named)
    for what, array in (("noise", variance), ("mask", mask := _data(named, MASK))):
        if array is not None and array.shape != image.shape:
            raise CutoutError(f"{path}: {what} of shape {array.shape} beside an image of {image.shape}")
    if variance is not None:
        usable &= np.isfinite(variance) & (variance > 0)
        variance = np.where(usable, variance, 0.0)
    if mask is not None:
        usable &= mask == 0
    heads = [main.header, hdus[0].header]
    psf = named.get("PSF")
    return FitsImage(
        image=image,
        variance=variance,
        usable=usable,
        psf=None if psf is None else np.asarray(psf.data, dtype=np.float64),
        psf_scale=None if psf is None else _number([psf.header], SCALE_WORDS),
        pixel_scale=_number(heads, SCALE_WORDS) or _wcs_scale(main.header),
        zero_point=_number(heads, ZERO_POINT_WORDS),
        wavelength=_number(heads, ("WAVELEN",)),
        gain=_number(heads, ("GAIN",)),
        redshift=_number(heads, ("REDSHIFT", "Z")),
        band=_text(heads, ("FILTER", "BAND")),
        group=_text(heads, ("GROUP",)),
        galaxy_id=_integer(heads, ("GALID", "OBJID", "ID")),
    )


def _named(named: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((named[name] for name in names if name in named), None)


def _data(named: dict[str, Any], names: tuple[str, ...]) -> NDArray[np.float64] | None:
    hdu = _named(named, names)
    return None if hdu is None else np.asarray(hdu.data, dtype=np.float64)


def _variance(named: dict[str, Any]) -> NDArray[np.float64] | None:
    variance, error, weight = _data(named, VARIANCE), _data(named, ERROR), _data(named, WEIGHT)
    if variance is not None:
        return variance
    if error is not None:
        return np.where(error > 0, error, 0.0) ** 2
    if weight is not None:
        return np.asarray(np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0))
    return None


def _value(heads: list[Any], words: tuple[str, ...]) -> Any:
    return next((h[w] for h in heads for w in words if w in h and h[w] is not None), None)


def _number(heads: list[Any], words: tuple[str, ...]) -> float | None:
    value = _value(heads, words)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _text(heads: list[Any], words: tuple[str, ...]) -> str | None:
    value = _value(heads, words)
    return str(value).strip() or None if value is not None else None


def _integer(heads: list[Any], words: tuple[str, ...]) -> int | None:
    value = _value(heads, words)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _wcs_scale(header: Any) -> float | None:
    """Arcsec a pixel from a celestial WCS's matrix, the square root of a pixel's area."""
    if not str(header.get("CTYPE1", "")).startswith(("RA", "DEC", "GLON")):
        return None
    cd = [[header.get(f"CD{i}_{j}") for j in (1, 2)] for i in (1, 2)]
    if any(v is not None for row in cd for v in row):
        (a, b), (c, d) = ([v or 0.0 for v in row] for row in cd)
    else:
        step = [header.get(f"CDELT{i}", 1.0) for i in (1, 2)]
        (a, b), (c, d) = ([step[i] * header.get(f"PC{i + 1}_{j + 1}", float(i == j)) for j in (0, 1)] for i in (0, 1))
    area = abs(a * d - b * c)
    return 3600.0 * math.sqrt(area) if area > 0 else None
