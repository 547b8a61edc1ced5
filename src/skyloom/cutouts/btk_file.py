"""What a file of BlendingToolKit says of its bands: pixel scale, zero points, PSFs, noise.

None of these is written down in it, but most can be worked out from what is, and checked.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.bands import wavelength_of
from skyloom.cutouts.btk_surveys import BTK_SURVEYS, default_psf, zero_point_of
from skyloom.cutouts.sidecar import SideCar
from skyloom.cutouts.sidecar_psf import draw_effective, no_psf, sidecar_psf
from skyloom.errors import CutoutError

__all__ = ["BtkBand", "bands_of", "pixel_scale_of"]

logger = logging.getLogger(__name__)

FIRST = 64
"""Blends that the file's own numbers are worked out from."""

PSF_MATCH = 1e-3
"""Of the peak, that the PSF in the file may differ by from the one BTK draws by default."""

ZERO_POINT_MATCH = 0.05
"""Magnitudes; BTK rounds counts to integers and stamps lose a galaxy's outermost wings."""


@dataclass(frozen=True)
class BtkBand:
    """One band of a file.

    Parameters
    ----------
    index : int
        In the images.
    name : str
    zero_point : float
        AB magnitude of one unit.
    wavelength : float
        nm.
    psf : ndarray of float32, shape (P, P)
        Effective.
    """

    index: int
    name: str
    zero_point: float
    wavelength: float
    psf: NDArray[np.float32]


def pixel_scale_of(file: Any, path: Path, sidecar: SideCar) -> float:
    """Arcsec a pixel: a source's place in arcsec (ra) over that in pixels (x_peak)."""
    side = file["blend_images"].shape[-1]
    offsets, pixels = [0.0], [0.0]
    for i in range(min(FIRST, len(file["blend_images"]))):
        rows = file[f"catalog_list/{i}"]
        names = rows.dtype.names or ()
        if len(rows) and {"ra", "dec", "x_peak", "y_peak"} <= set(names):
            table = rows[:]
            for sky, pixel in (("ra", "x_peak"), ("dec", "y_peak")):
                offsets += np.asarray(table[sky], dtype=float).tolist()
                pixels += (np.asarray(table[pixel], dtype=float) - (side - 1) / 2).tolist()
    away, steps = np.asarray(offsets), np.asarray(pixels)
    scale = float((away * steps).sum() / (steps**2).sum()) if (steps**2).sum() > 1.0 else math.nan
    if math.isfinite(scale) and not np.allclose(away, scale * steps, atol=0.02 * abs(scale), rtol=1e-3):
        raise CutoutError(f"{path}: ra, dec and x_peak, y_peak of its catalogues fit no one pixel scale")
    if sidecar.pixel_scale is not None:
        if math.isfinite(scale) and abs(scale / sidecar.pixel_scale - 1) > 0.01:
            where = f"{path}: its catalogues say {scale:.4g} arcsec a pixel"
            raise CutoutError(f"{where}, {sidecar.name} says {sidecar.pixel_scale:g}")
        return sidecar.pixel_scale
    if not 1e-3 < scale < 10:
        raise CutoutError(f"{path}: no source away from the centre tells the pixel scale; give it in {sidecar.name}")
    return scale


def bands_of(file: Any, path: Path, sidecar: SideCar, pixel_scale: float, psf_size: int) -> list[BtkBand]:
    """The bands of a file, in the order of its images.

    Raises
    ------
    CutoutError
        With what is neither in the file nor in the side-car.
    """
    return [
        BtkBand(
            k,
            name,
            _zero_point(file, path, k, name, sidecar.of(name)),
            _wavelength(file, path, name, sidecar.of(name)),
            _psf(file, path, k, name, sidecar.of(name), pixel_scale, psf_size),
        )
        for k, name in enumerate(_names(file, path))
    ]


def _names(file: Any, path: Path) -> list[str]:
    """Names of the bands: BTK adds a column ``not_drawn_<band>`` a band, in their order."""
    count = file["blend_images"].shape[1]
    names = file["catalog_list/0"].dtype.names or ()
    bands = [str(n).removeprefix("not_drawn_") for n in names if str(n).startswith("not_drawn_")]
    if len(bands) != count:
        raise CutoutError(f"{path}: images in {count} bands, catalogue columns not_drawn_<band> of {bands or 'none'}")
    return bands


def _known(file: Any, name: str) -> Any:
    survey = BTK_SURVEYS.get(_survey_name(file))
    return (survey, survey.filters.get(name)) if survey is not None else (None, None)


def _survey_name(file: Any) -> str:
    name = file.attrs.get("survey_name", "")
    return name.decode() if isinstance(name, bytes) else str(name)


def _wavelength(file: Any, path: Path, name: str, sidecar: SideCar) -> float:
    if sidecar.wavelength is not None:
        return sidecar.wavelength
    _, known = _known(file, name)
    if known is not None:
        return float(known.wavelength)
    try:
        return wavelength_of(name)
    except CutoutError:
        where = f"{path}: survey '{_survey_name(file)}', band '{name}'"
        raise CutoutError(f"{where}: no wavelength is known; give bands.{name}.wavelength in {sidecar.name}") from None


def _zero_point(file: Any, path: Path, k: int, name: str, sidecar: SideCar) -> float:
    if sidecar.zero_point is not None:
        return sidecar.zero_point
    _, known = _known(file, name)
    own = _own_zero_point(file, k, name)
    if known is not None and (math.isnan(own) or abs(zero_point_of(known) - own) < ZERO_POINT_MATCH):
        return zero_point_of(known)
    if math.isnan(own):
        where = f"{path}: survey '{_survey_name(file)}', band '{name}'"
        raise CutoutError(f"{where}: no zero point is known; give bands.{name}.zero_point in {sidecar.name}")
    logger.warning("%s: zero point of %s from its catalogue's %s_ab: %.3f", path, name, name, own)
    return own


def _own_zero_point(file: Any, k: int, name: str) -> float:
    """From the catalogue's magnitudes and the isolated images' sums; the largest, which loses the least light."""
    found = []
    for i in range(min(FIRST, len(file["blend_images"]))):
        table = file[f"catalog_list/{i}"][:]
        if f"{name}_ab" not in (table.dtype.names or ()):
            return math.nan
        sums = np.asarray(file["isolated_images"][i, : len(table), k], dtype=np.float64).sum((1, 2))
        good = sums > 1000  # counts are cut to integers
        found += (np.asarray(table[f"{name}_ab"], dtype=float)[good] + 2.5 * np.log10(sums[good])).tolist()
    finite = [v for v in found if math.isfinite(v)]
    return max(finite) if finite else math.nan


def _psf(
    file: Any, path: Path, k: int, name: str, sidecar: SideCar, pixel_scale: float, size: int
) -> NDArray[np.float32]:
    """The effective PSF.

    BTK stores it drawn at GalSim's Nyquist scale for it, not at the images', and does not write that scale.
    When it is the survey's default one, as drawing that one the same way shows, it is known exactly.
    """
    stored = np.asarray(file["psf"][k], dtype=np.float64) if "psf" in file else None
    if stored is not None and (not np.isfinite(stored).all() or not stored.sum() > 0):
        raise CutoutError(f"{path}: the PSF of band '{name}' is not finite or has no positive sum")
    if stored is not None and sidecar.psf_pixel_scale is not None and sidecar.psf is None:
        return _rescaled(stored, sidecar.psf_pixel_scale, pixel_scale, size)
    given = sidecar_psf(sidecar, pixel_scale, size)
    if given is not None:
        return given
    survey, known = _known(file, name)
    where = f"{path}: survey '{_survey_name(file)}', band '{name}'"
    if stored is None:
        raise CutoutError(f"{where}: {no_psf(sidecar)}")
    if known is not None:
        psf = default_psf(survey, known)
        drawn = psf.drawImage(nx=stored.shape[1], ny=stored.shape[0], dtype=np.float64).array
        if np.abs(drawn - stored).max() < PSF_MATCH * drawn.max():
            return draw_effective(psf, pixel_scale, size)
    raise CutoutError(
        f"{where}: its PSF is not the survey's default, and BTK does not write in which pixels it is drawn; "
        f"give bands.{name}.psf_pixel_scale (the GalSim object's nyquist_scale) in {sidecar.name}, or psf or psf_fwhm"
    )


def _rescaled(stored: NDArray[np.float64], scale: float, pixel_scale: float, size: int) -> NDArray[np.float32]:
    """The stored PSF, free of the pixel that it was drawn with, with the images' pixel in its place.

    At the Nyquist scale that pixel lets 64 % through at the highest frequency there is: it can be undone.
    """
    import galsim

    image = galsim.Image(np.ascontiguousarray(stored), scale=scale)
    drawn = galsim.InterpolatedImage(image, x_interpolant="lanczos15", normalization="flux")
    bare = galsim.Convolve(drawn, galsim.Deconvolve(galsim.Pixel(scale)))
    return draw_effective(bare, pixel_scale, size)
