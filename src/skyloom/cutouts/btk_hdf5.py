"""Reader of the files that BlendingToolKit saves (https://github.com/LSSTDESC/BlendingToolKit).

The layout is that of ``BlendBatch.save`` of BTK 1.0.0 to 1.0.9, ``blend_<n>.hdf5``: ``blend_images`` (B, C, S, S)
and ``isolated_images`` (B, M, C, S, S) in electrons, ``psf`` (C, S, S), a table ``catalog_list/<i>`` a blend with
``ra``, ``dec`` (arcsec from the centre), ``x_peak``, ``y_peak`` (0-based pixels) and ``not_drawn_<band>``, and the
attributes ``batch_size``, ``max_n_sources``, ``stamp_size`` (arcsec) and ``survey_name``. Several surveys drawn
together lie in ``<n>/<survey>/blend_<n>.hdf5``. BTK 0.9 wrote NumPy files, which this does not read.

Every source of a blend becomes a cutout a band: the noisy blend less the isolated images of the others. BTK's
blend is the sum of the isolated images and noise, so what is left is the galaxy alone, with the noise that the
blend has, the photon noise of its neighbours included.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.btk_file import BtkBand, bands_of, pixel_scale_of
from skyloom.cutouts.detect import segment
from skyloom.cutouts.framing import frame
from skyloom.cutouts.shape import semi_major_of
from skyloom.cutouts.sidecar import read_sidecar
from skyloom.errors import CutoutError
from skyloom.safe_hdf5 import check_file
from skyloom.stamps import Cutout, Dropped

__all__ = ["accepts_btk_hdf5", "read_btk_hdf5"]

logger = logging.getLogger(__name__)

NEEDED = ("blend_images", "isolated_images", "catalog_list")
FIRST = 64
"""Blends that the noise is looked at in."""

MIN_SN = 10.0
"""Of a galaxy's pixels, by a matched filter: fainter ones have no measurable profile."""


@dataclass(frozen=True)
class _Noise:
    sky: float
    """Variance of a pixel without light."""
    photons: float
    """Variance an electron of light: 1, or 0 when BTK drew background noise alone."""


def accepts_btk_hdf5(path: Path) -> bool:
    """Whether `path` is a file that BTK saved, or a folder with such files."""
    try:
        return bool(_files(path))
    except OSError:
        return False


def read_btk_hdf5(
    path: Path, *, stamp_size: int = 96, psf_size: int = 81, source: str = ""
) -> Iterator[Cutout | Dropped]:
    """Read blends one by one, each source in each band.

    Parameters
    ----------
    path : Path
        A file, or a folder of them. A side-car (see `skyloom.cutouts.sidecar`) gives what the survey's name
        does not tell.
    stamp_size, psf_size : int
        Pixels along a side.
    source : str
        Name of the data set; the file's or folder's name when empty.

    Raises
    ------
    CutoutError
        When a file is not of this layout, refers to anything outside itself, or lacks what a cutout needs.
    """
    files = _files(path)
    if not files:
        raise CutoutError(f"{path}: no file that BlendingToolKit saved ({', '.join(NEEDED)})")
    source = source or path.resolve().stem
    first = 0
    starts: dict[str, int] = {}
    for name in files:
        # Surveys drawn together show the same galaxies: they share ids, batch by batch.
        start = starts.setdefault(name.stem, first)
        count = yield from _read_file(name, stamp_size, psf_size, source, start)
        first = max(first, start + count)


def _read_file(path: Path, stamp_size: int, psf_size: int, source: str, start: int) -> Any:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            check_file(file, path)
            _check_layout(file, path)
            sidecar = read_sidecar(path)
            scale = pixel_scale_of(file, path, sidecar)
            bands = bands_of(file, path, sidecar, scale, psf_size)
            noise = [_noise_of(file, band) for band in bands]
            most = file["isolated_images"].shape[1]
            for i in range(len(file["blend_images"])):
                table = file[f"catalog_list/{i}"][:]
                for band, level in zip(bands, noise, strict=True):
                    blend = np.asarray(file["blend_images"][i, band.index], dtype=np.float64)
                    alone = np.asarray(file["isolated_images"][i, :, band.index], dtype=np.float64)
                    for j in range(len(table)):
                        where = f"{path.name} blend {i} source {j} {band.name}"
                        made = _cut(blend, alone, table, j, band, level, scale, stamp_size)
                        if isinstance(made, str):
                            yield Dropped(where, made)
                            continue
                        yield Cutout(
                            **made,
                            zero_point=band.zero_point,
                            band=band.name,
                            wavelength=band.wavelength,
                            galaxy_id=start + i * most + j,
                            group=f"{source}/{path.stem}-{i}",
                            source=source,
                            redshift=_redshift(table, j),
                        )
            return len(file["blend_images"]) * most
    except OSError as exc:
        raise CutoutError(f"{path}: cannot be read: {exc}") from exc


def _cut(
    blend: NDArray[np.float64],
    alone: NDArray[np.float64],
    table: NDArray[Any],
    j: int,
    band: BtkBand,
    noise: _Noise | None,
    scale: float,
    stamp_size: int,
) -> dict[str, Any] | str:
    if noise is None:
        return "images without noise (draw them with add_noise='all' or 'background')"
    if table[f"not_drawn_{band.name}"][j] or not np.any(alone[j]):
        return "not drawn by BTK"
    light = alone[: len(table)]
    usable = np.isfinite(blend) & np.isfinite(light).all(0)
    if not usable.any():
        return "no finite pixels"
    image = np.where(usable, blend - (light.sum(0) - light[j]), 0.0)
    total = np.where(usable, np.clip(light.sum(0), 0.0, None), 0.0)
    variance = noise.sky + noise.photons * total
    middle = float(table["x_peak"][j]), float(table["y_peak"][j])
    if not all(0 <= v < n for v, n in zip(middle, image.shape[::-1], strict=True)):
        return "centre outside the image"
    mine = np.where(usable, light[j], 0.0)
    if not np.sqrt((mine**2 / variance).sum()) > MIN_SN:
        return f"S/N below {MIN_SN:g}"
    # Its own noiseless image tells where the galaxy is; noise would deblend a faint one into pieces.
    found = segment(mine, float(np.sqrt(noise.sky)) / 2, usable, middle, deblend=1.0)
    if found is None:
        return "fainter than the noise in every pixel"
    framed = frame(
        image,
        variance,
        usable,
        found.free & usable,
        band.psf,
        x=middle[0],
        y=middle[1],
        semi_major=semi_major_of(mine, usable, found),
        pixel_scale=scale,
        noise_correlation=0.0,
        size=stamp_size,
    )
    return vars(framed)


def _noise_of(file: Any, band: BtkBand) -> _Noise | None:
    """Variance of the sky, and whether BTK drew the photon noise of galaxies; None: no noise at all."""
    dark, bright = [], []
    for i in range(min(FIRST, len(file["blend_images"]))):
        light = np.asarray(file["isolated_images"][i, :, band.index], dtype=np.float64).sum(0)
        left = np.asarray(file["blend_images"][i, band.index], dtype=np.float64) - light
        good = np.isfinite(left) & np.isfinite(light)
        order = np.argsort(light[good])
        dark.append(left[good][order[: len(order) // 2]])
        bright.append(np.stack([left[good], light[good]]))
    sky = float(np.concatenate(dark).var()) if dark and sum(map(len, dark)) > 1 else 0.0
    if not sky > 0 or not np.isfinite(sky):
        return None
    left, light = np.concatenate(bright, axis=1)
    with_photons = sky + np.clip(light, 0.0, None)
    likelihood = [-0.5 * (left**2 / v + np.log(v)).sum() for v in (sky, with_photons)]
    return _Noise(sky, float(likelihood[1] >= likelihood[0]))


def _check_layout(file: Any, path: Path) -> None:
    blends, alone = file["blend_images"], file["isolated_images"]
    if blends.ndim != 4 or blends.shape[2] != blends.shape[3] or alone.ndim != 5:
        raise CutoutError(f"{path}: blend_images {blends.shape} and isolated_images {alone.shape} are not BTK's")
    b, c, size = (int(n) for n in blends.shape[:3])
    if (alone.shape[0], *alone.shape[2:]) != (b, c, size, size):
        raise CutoutError(f"{path}: isolated_images {alone.shape} do not go with blend_images {blends.shape}")
    if b == 0:
        raise CutoutError(f"{path}: no blends in it")
    if "psf" in file and file["psf"].shape[:1] != (c,):
        raise CutoutError(f"{path}: psf {file['psf'].shape} for {c} bands")
    for i in range(b):
        rows = file["catalog_list"].get(str(i))
        names = set(rows.dtype.names or ()) if rows is not None else set()
        if not {"x_peak", "y_peak"} <= names or rows.ndim != 1 or len(rows) > alone.shape[1]:
            raise CutoutError(
                f"{path}: catalog_list/{i} is not a table of at most {alone.shape[1]} sources with x_peak"
            )


def _redshift(table: NDArray[Any], j: int) -> float:
    for name in ("redshift", "zphot"):
        if name in (table.dtype.names or ()):
            value = float(table[name][j])
            return value if 0 < value < 30 else float("nan")
    return float("nan")


def _files(path: Path) -> list[Path]:
    import h5py

    found = []
    names = (
        sorted([*path.glob("*.hdf5"), *path.glob("*/*.hdf5"), *path.glob("*/*/*.hdf5")]) if path.is_dir() else [path]
    )
    for name in names:
        if name.is_file() and h5py.is_hdf5(name):
            with h5py.File(name, "r") as file:
                if all(key in file for key in NEEDED):
                    found.append(name)
    return found
