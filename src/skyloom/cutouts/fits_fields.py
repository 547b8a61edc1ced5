"""Reader of a folder of FITS fields, each with SCI, ERR and PSF, and a list of their sources.

The primary header gives ``FILTER``, ``PIXSCALE`` (arcsec), ``ZPAB`` (AB magnitude of one unit) and, where
fields overlap on the sky, a common ``GROUP``. The CSV has one row a source: ``stamp`` (the field's number,
the digits in ``field_NNN_band.fits``), ``band``, ``x``, ``y`` (0-based pixels), ``sn``, ``r50_px``,
``psf_r50_px``, ``not_edge`` and ``duplicate``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.bands import wavelength_of
from skyloom.cutouts.detect import Segments, segment
from skyloom.cutouts.framing import frame
from skyloom.cutouts.noise import SkyNoise, correlation_area, measure_sky
from skyloom.cutouts.psfs import centred_psf
from skyloom.cutouts.same_galaxy import shared_ids
from skyloom.cutouts.shape import semi_major_of
from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, Dropped

__all__ = ["accepts_fits_fields", "read_fits_fields"]

NUMBERS = ("stamp", "x", "y", "sn", "r50_px", "psf_r50_px", "not_edge", "duplicate")
MIN_SN, MIN_RESOLVED = 20.0, 1.2
LOCAL = 128
"""Pixels along a side of the window that a source's sky is measured in."""


@dataclass(frozen=True)
class _Field:
    sci: NDArray[np.float64]
    err: NDArray[np.float64]
    usable: NDArray[np.bool_]
    psf: NDArray[np.float64]
    band: str
    pixel_scale: float
    zero_point: float
    group: str


def accepts_fits_fields(path: Path) -> bool:
    """Whether `path` is a folder with ``detections.csv`` and FITS fields."""
    return path.is_dir() and (path / "detections.csv").is_file() and any(path.glob("*.fits"))


def read_fits_fields(
    path: Path,
    *,
    stamp_size: int = 96,
    psf_size: int = 81,
    source: str = "",
) -> Iterator[Cutout | Dropped]:
    """Read the sources of all fields: not a duplicate, away from the edge, resolved, S/N above 20.

    Parameters
    ----------
    path : Path
        The folder.
    stamp_size, psf_size : int
        Pixels along a side.
    source : str
        Name of the data set; the folder's name when empty.

    Raises
    ------
    CutoutError
        When a field or the list of detections cannot be read.
    """
    source = source or path.resolve().name
    rows = _detections(path / "detections.csv")
    files = {(int(m[1]), m[2].upper()): p for p in sorted(path.glob("*.fits")) if (m := _NAME.search(p.name))}
    fields = sorted({(r["stamp"], r["band"]) for r in rows})
    missing = [f"{stamp} {band}" for stamp, band in fields if (stamp, band) not in files]
    if missing:
        raise CutoutError(f"{path}: detections.csv lists fields without a file: {', '.join(missing[:5])}")
    headers = {key: _header(files[key]) for key in fields}
    ids = shared_ids(rows, headers)
    for key in fields:
        field = _read_field(files[key])
        for row in (r for r in rows if (r["stamp"], r["band"]) == key):
            name = f"{files[key].name} source at ({row['x']:.1f}, {row['y']:.1f})"
            reason = _unsuitable(row)
            made = reason or _cut(field, row, stamp_size, psf_size, name)
            if isinstance(made, str):
                yield Dropped(name, made)
                continue
            yield Cutout(
                **made,
                zero_point=field.zero_point,
                band=field.band,
                wavelength=wavelength_of(field.band),
                galaxy_id=ids[row["index"]],
                group=f"{source}/{field.group}",
                source=source,
            )


_NAME = re.compile(r"_(\d+)_([a-z]\d{3}[a-z]{1,2})\.fits$", re.IGNORECASE)


def _unsuitable(row: dict[str, Any]) -> str:
    if row["duplicate"]:
        return "seen in another field"
    if not row["not_edge"]:
        return "at a field's edge"
    if not row["sn"] > MIN_SN:
        return f"S/N below {MIN_SN:g}"
    if not row["r50_px"] > MIN_RESOLVED * row["psf_r50_px"]:
        return "not resolved"
    return ""


def _cut(field: _Field, row: dict[str, Any], stamp_size: int, psf_size: int, name: str) -> dict[str, Any] | str:
    rough = float(np.median(field.sci[field.usable]))
    scatter = 1.4826 * float(np.median(np.abs(field.sci[field.usable] - rough)))
    found = segment(field.sci - rough, scatter, field.usable, (row["x"], row["y"]))
    if found is None or np.hypot(found.x - row["x"], found.y - row["y"]) > 3 + row["r50_px"]:
        return "not found again where the list has it"
    sky = _local_sky(field, found)
    if sky is None:
        return "no sky to measure the noise on"
    image = field.sci - sky.level
    usable = field.usable & ~found.neighbours
    # ERR tells how photons of the source add to the sky's noise, its level on the sky is not to be trusted:
    # it is floored in some products, and never knows how drizzling smoothed the noise away into correlation.
    floor = float(np.median(field.err[found.free & field.usable]))
    photons = np.clip(field.err**2 - floor**2, 0.0, None) / correlation_area(sky.correlation)
    framed = frame(
        image,
        sky.rms**2 + photons,
        usable,
        found.free,
        centred_psf(field.psf, field.pixel_scale, field.pixel_scale, psf_size, where=f"{name}, PSF"),
        x=found.x,
        y=found.y,
        semi_major=semi_major_of(image, usable, found),
        pixel_scale=field.pixel_scale,
        noise_correlation=sky.correlation,
        size=stamp_size,
    )
    return vars(framed)


def _local_sky(field: _Field, found: Segments) -> SkyNoise | None:
    free = found.free & field.usable
    x, y = int(found.x), int(found.y)
    near = (slice(max(0, y - LOCAL // 2), y + LOCAL // 2), slice(max(0, x - LOCAL // 2), x + LOCAL // 2))
    if free[near].sum() > 2000:  # the level to 3 % of the scatter, with lag-1 correlation 0.4
        return measure_sky(field.sci[near], free[near])
    return measure_sky(field.sci, free)


def _detections(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with path.open(newline="") as stream:
        for line, row in enumerate(csv.DictReader(stream), start=2):
            try:
                values: dict[str, Any] = {name: float(row[name]) for name in NUMBERS}
                values["band"] = str(row["band"]).upper()
            except (KeyError, TypeError, ValueError) as exc:
                raise CutoutError(f"{path}, line {line}: not a detection: {exc}") from exc
            if not np.isfinite([values["x"], values["y"]]).all():
                continue  # a field in which nothing was detected
            values["stamp"], values["index"] = int(values["stamp"]), len(rows)
            rows.append(values)
    if not rows:
        raise CutoutError(f"{path}: no detections")
    return rows


def _header(path: Path) -> tuple[float, str, tuple[int, int]]:
    """Pixel scale, group and (height, width) of a field."""
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            head, sci = hdus[0].header, hdus["SCI"].header
            number = _NAME.search(path.name)
            group = str(head.get("GROUP", number[1] if number else path.stem))
            return float(head["PIXSCALE"]), group, (int(sci["NAXIS2"]), int(sci["NAXIS1"]))
    except (OSError, KeyError, ValueError) as exc:
        raise CutoutError(f"{path}: not a field with PIXSCALE and an SCI extension: {exc}") from exc


def _read_field(path: Path) -> _Field:
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            sci, err, psf = (np.asarray(hdus[name].data, dtype=np.float64) for name in ("SCI", "ERR", "PSF"))
            head = hdus[0].header
            band, zero_point = str(head["FILTER"]).strip(), float(head["ZPAB"])
    except (OSError, KeyError, TypeError, ValueError) as exc:
        raise CutoutError(f"{path}: not a field with SCI, ERR, PSF, FILTER and ZPAB: {exc}") from exc
    if sci.shape != err.shape or sci.ndim != 2:
        raise CutoutError(f"{path}: SCI has shape {sci.shape}, ERR {err.shape}")
    scale, group, _ = _header(path)
    usable = np.isfinite(sci) & np.isfinite(err) & (err > 0)
    return _Field(sci, np.where(usable, err, 0.0), usable, psf, band, scale, zero_point, group)
