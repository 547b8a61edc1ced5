"""Reader of one image of a field, with or without a catalogue of its galaxies.

The image and what lies beside it as `skyloom.cutouts.fits_images` reads them; the side-car gives the rest. Without
a catalogue, sources are detected with SEP (Barbary 2016, JOSS 1, 58), and those that are resolved, away from the
edge and of S/N above 20 are kept. With one, only its galaxies are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.centred import cut_centred
from skyloom.cutouts.field_catalogue import find_catalogue, read_catalogue
from skyloom.cutouts.fits_images import FitsImage, read_fits_image
from skyloom.cutouts.plain_values import described, effective_psf
from skyloom.cutouts.real_galaxy import accepts_real_galaxy
from skyloom.cutouts.sidecar import read_sidecar
from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, Dropped

__all__ = ["accepts_fits_field", "read_fits_field"]

logger = logging.getLogger(__name__)

MIN_SN, MIN_RESOLVED = 20.0, 1.2
MESH = 64
"""Pixels along a side of the background's mesh."""

MATCH = 3.0
"""Pixels within which a source of the catalogue must be found."""

MAX_GAP = 0.6


@dataclass(frozen=True)
class _Source:
    x: float
    y: float
    a: float
    radius: float
    """Half-light radius, pixels, the PSF's blur included."""
    sn: float
    edge: bool
    galaxy_id: int
    redshift: float = float("nan")


def accepts_fits_field(path: Path) -> bool:
    """Whether `path` is one FITS file with an image, and no catalogue of stamps."""
    from astropy.io import fits

    if not path.is_file() or not path.name.endswith((".fits", ".fit", ".fits.gz", ".fits.fz")):
        return False
    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    try:
        with fits.open(path) as hdus:
            if not any(isinstance(h, kinds) and len(h.shape or ()) == 2 for h in hdus):
                return False
    except (OSError, ValueError, TypeError):
        return False
    return not accepts_real_galaxy(path)


def read_fits_field(
    path: Path, *, stamp_size: int = 96, psf_size: int = 81, source: str = ""
) -> Iterator[Cutout | Dropped]:
    """Read a field source by source.

    Parameters
    ----------
    path : Path
        The FITS file. Its catalogue is what the side-car names, else ``<name>.csv``, ``<name>.ecsv``,
        ``<name>_truth.fits`` or ``<name>_catalogue.fits`` beside it, when there is one.
    stamp_size, psf_size : int
        Pixels along a side.
    source : str
        Name of the data set; the file's name when empty.

    Raises
    ------
    CutoutError
        When the image cannot be read, or pixel scale, zero point, band, wavelength or PSF are nowhere given.
    """
    sidecar = read_sidecar(path)
    found = read_fits_image(path)
    values = described(
        sidecar,
        pixel_scale=found.pixel_scale,
        zero_point=found.zero_point,
        band=found.band,
        wavelength=found.wavelength,
    )
    if isinstance(values, str):
        raise CutoutError(f"{path}: {values}")
    own = sidecar.of(values["band"])
    scale = values["pixel_scale"]
    psf = effective_psf(found.psf, found.psf_scale, own, scale, psf_size)
    if isinstance(psf, str):
        raise CutoutError(f"{path}: {psf}")
    if not found.usable.any():
        raise CutoutError(f"{path}: no finite, unmasked pixels")
    source = source or path.stem
    sky, rms, sources, labels = _detect(found, path)
    catalogue = find_catalogue(path, sidecar)
    if catalogue is not None:
        chosen: list[_Source | Dropped] = list(_matched(catalogue, path, sources, labels))
    else:
        chosen = list(_unlisted(path, sources, _radius_of(psf)))
    logger.info("%s: %d sources detected, noise %.3g a pixel", path, len(sources), rms)
    gain = own.gain or found.gain
    for item in chosen:
        if isinstance(item, Dropped):
            yield item
            continue
        name = f"{path.name} source at ({item.x:.1f}, {item.y:.1f})"
        if item.edge:
            yield Dropped(name, "at the field's edge")
            continue
        if not item.sn > MIN_SN:
            yield Dropped(name, f"S/N below {MIN_SN:g}")
            continue
        made = _cut(found, sky, item, psf, scale, stamp_size, gain)
        if isinstance(made, str):
            yield Dropped(name, made)
            continue
        yield Cutout(
            **values | made,
            galaxy_id=item.galaxy_id,
            group=f"{source}/{found.group or 0}",
            source=source,
            redshift=item.redshift,
        )


def _cut(
    found: FitsImage,
    sky: NDArray[np.float64],
    item: _Source,
    psf: NDArray[np.float32],
    scale: float,
    stamp_size: int,
    gain: float | None,
) -> dict[str, Any] | str:
    """Cut a window that has room for a binned stamp and its sky, then as from any stamp."""
    half = int(max(stamp_size, 12 * item.a)) + 32
    x, y = round(item.x), round(item.y)
    rows = slice(max(0, y - half), min(sky.shape[0], y + half + 1))
    columns = slice(max(0, x - half), min(sky.shape[1], x + half + 1))
    near = rows, columns
    usable = found.usable[near]
    made = cut_centred(
        found.image[near] - sky[near],
        usable,
        psf,
        pixel_scale=scale,
        stamp_size=stamp_size,
        variance=None if found.variance is None else found.variance[near],
        gain=gain,
        centre=(item.x - columns.start, item.y - rows.start),
        max_gap=MAX_GAP,
    )
    if isinstance(made, dict):  # of the window: moved to the field's frame
        for key, start, window, whole in (
            ("centre_x", columns.start, usable.shape[1], sky.shape[1]),
            ("centre_y", rows.start, usable.shape[0], sky.shape[0]),
        ):
            made[key] += (start + (window - 1) / 2 - (whole - 1) / 2) * scale
    return made


def _detect(found: FitsImage, path: Path) -> tuple[NDArray[np.float64], float, list[_Source], NDArray[np.int32]]:
    import sep

    data = np.ascontiguousarray(np.where(found.usable, found.image, 0.0))
    bad = ~found.usable
    background = sep.Background(data, mask=bad, bw=MESH, bh=MESH)
    sky = np.asarray(background.back(), dtype=np.float64)
    rms = float(background.globalrms)
    if not rms > 0:
        raise CutoutError(f"{path}: no noise in its sky to detect sources above")
    try:
        objects, labels = sep.extract(
            data - sky, 2.0, err=rms, minarea=8, deblend_cont=0.005, segmentation_map=True, mask=bad
        )
    except Exception as exc:  # SEP raises a bare Exception when one of its buffers overflows
        raise CutoutError(f"{path}: SEP failed: {exc}") from exc
    if len(objects) == 0:
        return sky, rms, [], labels
    radius, _ = sep.flux_radius(data - sky, objects["x"], objects["y"], 6.0 * objects["a"], 0.5, mask=bad, subpix=5)
    edge = (objects["xmin"] <= 1) | (objects["ymin"] <= 1)
    edge |= (objects["xmax"] >= data.shape[1] - 2) | (objects["ymax"] >= data.shape[0] - 2)
    sn = objects["flux"] / (rms * np.sqrt(objects["npix"]))
    columns = zip(objects["x"], objects["y"], objects["a"], radius, sn, edge, strict=True)
    sources = [
        _Source(float(x), float(y), float(a), float(r), float(s), bool(e), k)
        for k, (x, y, a, r, s, e) in enumerate(columns, start=1)
    ]
    return sky, rms, sources, labels


def _unlisted(path: Path, sources: list[_Source], psf_radius: float) -> Iterator[_Source | Dropped]:
    for item in sources:
        if item.sn > MIN_SN and not item.edge and not item.radius > MIN_RESOLVED * psf_radius:
            yield Dropped(f"{path.name} source at ({item.x:.1f}, {item.y:.1f})", "not resolved")
        else:
            yield item


def _matched(
    catalogue: Path, path: Path, sources: list[_Source], labels: NDArray[np.int32]
) -> Iterator[_Source | Dropped]:
    """The detected source at each row's place; a second row at the same source is blended with the first."""
    taken: set[int] = set()
    for row in read_catalogue(catalogue):
        name = f"{path.name} galaxy {row.galaxy_id} of {catalogue.name}"
        x, y = round(row.x), round(row.y)
        if not (0 <= x < labels.shape[1] and 0 <= y < labels.shape[0]):
            yield Dropped(name, "outside the field")
            continue
        k = int(labels[y, x])
        if k == 0:
            away = [np.hypot(s.x - row.x, s.y - row.y) for s in sources]
            k = int(np.argmin(away)) + 1 if away and min(away) < MATCH else 0
        if k == 0:
            yield Dropped(name, "not detected where the catalogue has it")
        elif k in taken:
            yield Dropped(name, "blended with another galaxy of the catalogue")
        else:
            taken.add(k)
            s = sources[k - 1]
            yield _Source(s.x, s.y, s.a, s.radius, s.sn, s.edge, row.galaxy_id, row.redshift)


def _radius_of(psf: NDArray[np.float32]) -> float:
    """Half-light radius of a PSF, pixels."""
    yy, xx = np.mgrid[: psf.shape[0], : psf.shape[1]] - psf.shape[0] // 2
    radius = np.hypot(xx, yy).ravel()
    order = np.argsort(radius)
    growth = np.cumsum(psf.ravel()[order], dtype=np.float64)
    return float(np.interp(0.5 * growth[-1], growth, radius[order]))
