"""Stamps of a batch, each of the size its galaxy needs."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.errors import BadInputError, RenderError
from skyloom.export.extent import edge_brightness, stamp_sizes
from skyloom.export.settings import ExportSettings
from skyloom.physics.huge_fft import raise_on_huge_fft
from skyloom.profiles import ProfileBatch

__all__ = ["draw_stamps", "psf_stamp", "warn_of_cuts"]

_logger = logging.getLogger(__name__)

_PIXELS_AT_ONCE = 4 * 2**20  # 16 MB of stamps, and some more inside the drawing
_PSF_REACH = 3.5  # FWHM: what lies outside is 1e-14 of a Gaussian's peak


def draw_stamps(
    batch: ProfileBatch, settings: ExportSettings, *, sharpened: bool = False
) -> Iterator[NDArray[np.float32] | None]:
    """Galaxies as seen through the export's PSF, sampled (not averaged) at the pixels' centres.

    Parameters
    ----------
    batch : ProfileBatch
        N galaxies.
    settings : ExportSettings
    sharpened : bool
        Twice the image through a Gaussian of variance s^2 less that through one of 2 s^2: its transfer function
        is 1 - (1 - exp(-k^2 s^2 / 2))^2, one to fourth order in k. A reader who takes the stamp for the galaxy
        itself sees it blurred by (k s)^4 / 4 only.

    Yields
    ------
    ndarray of float32, shape (size, size), or None
        Flux per pixel, in the batch's order. Galaxy's origin at the true centre, shifted by its offset. A galaxy that
        is too large for our Fourier grids is drawn by GalSim; None is for one that is too large for GalSim's too,
        which is logged.

    Raises
    ------
    BadInputError
        For a flux that is not positive, or other numbers that cannot be drawn; names the galaxy.
    """
    _check(batch)
    sizes = stamp_sizes(batch, settings)
    narrow = galsim.Gaussian(fwhm=settings.psf_fwhm)
    wide = galsim.Gaussian(fwhm=settings.psf_fwhm * math.sqrt(2))
    for rows in _windows(sizes):
        drawn: dict[int, NDArray[np.float32] | None] = {}
        for size in np.unique(sizes[rows]):
            alike = rows[sizes[rows] == size]
            images = _draw(batch[alike], narrow, settings, int(size))
            if sharpened:
                blurred = _draw(batch[alike], wide, settings, int(size))
                images = [None if a is None or b is None else 2 * a - b for a, b in zip(images, blurred, strict=True)]
            drawn.update(zip(alike.tolist(), images, strict=True))
        for row in rows.tolist():
            yield drawn.pop(row)


def psf_stamp(settings: ExportSettings) -> NDArray[np.float32]:
    """The export's PSF as the galaxies' stamps have it, shape (size, size)."""
    size = 2 * math.ceil(_PSF_REACH * settings.psf_fwhm / settings.pixel_scale)
    psf = galsim.Gaussian(fwhm=settings.psf_fwhm)
    image = psf.drawImage(nx=size, ny=size, scale=settings.pixel_scale, method="no_pixel", dtype=np.float64)
    return np.asarray(image.array, dtype=np.float32)


def _draw(
    batch: ProfileBatch, psf: galsim.GSObject, settings: ExportSettings, size: int
) -> Sequence[NDArray[np.float32] | None]:
    from skyloom.physics.draw import draw  # torch

    try:
        return list(draw(batch, psf, pixel_scale=settings.pixel_scale, stamp_size=size, pixel=False))
    except (RenderError, BadInputError) as exc:  # for one of them, which is named by its row here
        if len(batch) > 1:
            return [_draw(batch[i : i + 1], psf, settings, size)[0] for i in range(len(batch))]
        if isinstance(exc, BadInputError):
            error = type(exc)(f"galaxy {batch.galaxy_id[0]}: {exc}")
            error.galaxy_id = int(batch.galaxy_id[0])
            raise error from exc
        return [_draw_with_galsim(batch, psf, settings, size)]


def _draw_with_galsim(
    batch: ProfileBatch, psf: galsim.GSObject, settings: ExportSettings, size: int
) -> NDArray[np.float32] | None:
    """The stamp of one galaxy as GalSim alone draws it, if it can."""
    profile = galsim.Convolve(batch[0], psf)
    try:
        with raise_on_huge_fft():
            image = profile.drawImage(
                nx=size, ny=size, scale=settings.pixel_scale, method="no_pixel", dtype=np.float32
            )  # fmt: skip
    except galsim.GalSimError as exc:
        _logger.warning(
            "galaxy %d, half-light radius %.4g arcsec, is left out: it cannot be drawn on %d pixels of %g arcsec: %s",
            batch.galaxy_id[0], batch.half_light_radius[0], size, settings.pixel_scale, " ".join(str(exc).split()),
        )  # fmt: skip
        return None
    return np.asarray(image.array)


def _windows(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows in order, in parts of bounded numbers of pixels."""
    first, pixels = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if pixels and pixels + size**2 > _PIXELS_AT_ONCE:
            yield np.arange(first, row)
            first, pixels = row, 0
        pixels += size**2
    if len(sizes):
        yield np.arange(first, len(sizes))


def _check(batch: ProfileBatch) -> None:
    bad = np.flatnonzero(~(np.isfinite(batch.flux) & (batch.flux > 0)))
    if len(bad):
        raise BadInputError(f"galaxy {batch.galaxy_id[bad[0]]}: flux = {batch.flux[bad[0]]:g} cannot be exported")


def warn_of_cuts(batch: ProfileBatch, settings: ExportSettings) -> None:
    """Log how many galaxies are larger than the largest stamp."""
    sizes = stamp_sizes(batch, settings)
    edge = edge_brightness(batch, sizes, settings)
    cut = np.flatnonzero((sizes >= settings.max_stamp_size // 2 * 2) & (edge > settings.tolerance))
    if len(cut):
        worst = cut[np.argmax(edge[cut])]
        _logger.warning(
            "galaxies larger than max_stamp_size = %d pixels: %d; the worst, galaxy %d, is cut where it has %.1e of "
            "its peak",
            settings.max_stamp_size, len(cut), batch.galaxy_id[worst], edge[worst],
        )  # fmt: skip
