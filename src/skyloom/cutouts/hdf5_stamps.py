"""Reader of HDF5 files of stamps.

They hold ``galaxy_id`` (N,) and, a band, ``images/<band>`` (N, H, W) with the galaxy centred.
``pixel_scale_arcsec`` (and ``zero_point_ab``) are attributes of a band's images; ``zero_point_ab/<band>``
(N,) may give zero points instead, ``redshift`` (N,) redshifts. PSFs come from ``psf.h5`` in the same folder
(one image a band with its ``pixel_scale_arcsec``); without it HST bands get a Moffat of the drizzled
mosaic's width. A ``galaxies.csv`` beside it with ``ra`` and ``dec``, row by row, tells which stamps share
sky.

A band whose images hold no negative pixel and are mostly exactly zero is *thresholded*: see `_thresholded`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.bands import wavelength_of
from skyloom.cutouts.centred import cut_centred
from skyloom.cutouts.psfs import centred_psf
from skyloom.cutouts.sky_groups import sky_groups
from skyloom.cutouts.thresholded import cut_thresholded, looks_thresholded
from skyloom.errors import CutoutError
from skyloom.safe_hdf5 import check_file
from skyloom.stamps import Cutout, Dropped

__all__ = ["accepts_hdf5_stamps", "read_hdf5_stamps"]

MOFFAT_FWHM = {"F606W": 0.105, "F814W": 0.115, "F125W": 0.19, "F160W": 0.20}
"""Arcsec, before the pixel, of HST mosaics drizzled to 0.06" (Koekemoer et al. 2011, ApJS 197, 36; Skelton
et al. 2014, ApJS 214, 24), with Moffat beta 3: right to some 10 %, and so only for files that come without
PSFs."""


def accepts_hdf5_stamps(path: Path) -> bool:
    """Whether `path` is an HDF5 file with ``galaxy_id`` and ``images``, or a folder with exactly one."""
    try:
        _stamps_path(path)
    except (CutoutError, OSError):
        return False
    return True


def read_hdf5_stamps(
    path: Path, *, stamp_size: int = 96, psf_size: int = 81, source: str = ""
) -> Iterator[Cutout | Dropped]:
    """Read stamps galaxy by galaxy, band by band.

    Parameters
    ----------
    path : Path
        The file, or its folder.
    stamp_size, psf_size : int
        Pixels along a side.
    source : str
        Name of the data set; the file's name when empty.

    Raises
    ------
    CutoutError
        When something above is missing, or the file links to anything outside itself.
    """
    import h5py

    path = _stamps_path(path)
    source = source or path.stem
    with h5py.File(path, "r") as file:
        check_file(file, path)
        ids = np.asarray(file["galaxy_id"][:], dtype=np.int64)
        redshift = np.asarray(file["redshift"][:], dtype=np.float64) if "redshift" in file else ids * np.nan
        bands = {str(name): file["images"][name] for name in file["images"]}
        groups = _groups(path, ids, bands)
        psfs = {name: _psf(path, name, _scale(images, path, name), psf_size) for name, images in bands.items()}
        kind = {name: looks_thresholded(images[: min(len(ids), 8)]) for name, images in bands.items()}
        for i, galaxy_id in enumerate(ids):
            for name, images in bands.items():
                where = f"{path.name} galaxy {galaxy_id} {name}"
                cut = cut_thresholded if kind[name] else _cut
                image = np.asarray(images[i], dtype=np.float64)
                made = cut(image, psfs[name], _scale(images, path, name), stamp_size, wavelength_of(name))
                if isinstance(made, str):
                    yield Dropped(where, made)
                    continue
                yield Cutout(
                    **made,
                    zero_point=_zero_point(file, path, name, i),
                    band=name.upper(),
                    wavelength=wavelength_of(name),
                    galaxy_id=int(galaxy_id),
                    group=f"{source}/{groups[i]}",
                    source=source,
                    redshift=float(redshift[i]),
                    thresholded=kind[name],
                )


def _cut(
    image: NDArray[np.float64], psf: NDArray[np.float32], scale: float, stamp_size: int, wavelength: float
) -> dict[str, Any] | str:
    usable = np.isfinite(image) & ~_gaps(image)
    return cut_centred(image, usable, psf, pixel_scale=scale, stamp_size=stamp_size)


def _gaps(image: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels of patches that are exactly zero, with a margin of one where resampling mixed them with data."""
    from scipy import ndimage

    zero = image == 0
    if zero.sum() < 4:
        return zero
    solid = ndimage.binary_opening(zero, structure=np.ones((2, 2)))
    return zero | ndimage.binary_dilation(solid, iterations=2)


def _stamps_path(path: Path) -> Path:
    import h5py

    candidates = sorted([*path.glob("*.h5"), *path.glob("*.hdf5")]) if path.is_dir() else [path]
    good = []
    for candidate in candidates:
        if candidate.is_file() and h5py.is_hdf5(candidate):
            with h5py.File(candidate, "r") as file:
                if "galaxy_id" in file and isinstance(file.get("images"), h5py.Group):
                    good.append(candidate)
    if len(good) != 1:
        found = ", ".join(p.name for p in good) or "none"
        raise CutoutError(f"{path}: needs one HDF5 file with 'galaxy_id' and 'images/<band>'; found {found}")
    return good[0]


def _scale(images: Any, path: Path, band: str) -> float:
    scale = float(images.attrs.get("pixel_scale_arcsec", np.nan))
    if not 1e-3 < scale < 10:
        raise CutoutError(f"{path}: images/{band} has no attribute pixel_scale_arcsec between 0.001 and 10")
    return scale


def _zero_point(file: Any, path: Path, band: str, i: int) -> float:
    attrs = file["images"][band].attrs
    if "zero_point_ab" in attrs:
        return float(attrs["zero_point_ab"])
    try:
        return float(file["zero_point_ab"][band][i])
    except KeyError:
        raise CutoutError(f"{path}: no zero point for band '{band}' (zero_point_ab)") from None


def _psf(path: Path, band: str, pixel_scale: float, size: int) -> NDArray[np.float32]:
    import galsim
    import h5py

    beside = path.with_name("psf.h5")
    if beside.is_file():
        with h5py.File(beside, "r") as file:
            check_file(file, beside)
            if band in file:
                where = f"{beside}, {band}"
                scale = _scale(file[band], beside, band)
                return centred_psf(np.asarray(file[band][:]), scale, pixel_scale, size, where=where)
    if band.upper() not in MOFFAT_FWHM:
        raise CutoutError(f"{path}: no PSF for band '{band}': {beside.name} is missing or does not have it")
    moffat = galsim.Moffat(beta=3, fwhm=MOFFAT_FWHM[band.upper()])
    image = moffat.drawImage(nx=size, ny=size, scale=pixel_scale, dtype=np.float64).array
    return np.asarray(image / image.sum(), dtype=np.float32)


def _groups(path: Path, ids: NDArray[np.int64], bands: dict[str, Any]) -> list[int]:
    beside = path.with_name("galaxies.csv")
    if beside.is_file():
        with beside.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        if len(rows) == len(ids) and rows and {"ra", "dec"} <= rows[0].keys():
            try:
                ra, dec = ([float(r[k]) for r in rows] for k in ("ra", "dec"))
            except ValueError as exc:
                raise CutoutError(f"{beside}: ra and dec must be degrees: {exc}") from exc
            widest = max(1.5 * images.shape[-1] * _scale(images, path, name) for name, images in bands.items())
            return [int(ids[k]) for k in sky_groups(ra, dec, widest)]
    return [int(i) for i in ids]
