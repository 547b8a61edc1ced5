"""Reader of GalSim's RealGalaxyCatalog format, through its FITS tables (Mandelbaum+ 2012, MNRAS 420, 1518).

A catalogue table names, a galaxy, a FITS file and extension with its stamp and with its PSF, the noise
variance and a file with the noise's correlation function. A companion ``*_fits.fits`` table, where there is
one, gives redshifts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.bands import wavelength_of
from skyloom.cutouts.detect import segment
from skyloom.cutouts.framing import frame
from skyloom.cutouts.noise import correlation_area, measure_sky
from skyloom.cutouts.psfs import centred_psf
from skyloom.cutouts.shape import semi_major_of
from skyloom.cutouts.sky_groups import sky_groups
from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, Dropped

__all__ = ["accepts_real_galaxy", "read_real_galaxy"]

NEEDED = (
    "ident",
    "gal_filename",
    "gal_hdu",
    "psf_filename",
    "psf_hdu",
    "pixel_scale",
    "noise_variance",
    "band",
)

COSMOS_ZERO_POINT = 25.94
"""AB magnitude of 1 e-/s in COSMOS ACS F814W (Leauthaud et al. 2007, ApJS 172, 219), which GalSim's
catalogues hold."""

COSMOS_EXPTIME = 2028.0
"""Seconds of a COSMOS exposure (Koekemoer et al. 2007, ApJS 172, 196): turns e-/s into photons."""

DEBLEND = 0.02
"""Contrast of a neighbour: noise splits galaxies of the S/N of these stamps at less."""


def accepts_real_galaxy(path: Path) -> bool:
    """Whether `path` is a catalogue table, or a folder that holds exactly one."""
    try:
        _catalogue_path(path)
    except (CutoutError, OSError):
        return False
    return True


def read_real_galaxy(
    path: Path,
    *,
    stamp_size: int = 96,
    psf_size: int = 81,
    zero_point: float = COSMOS_ZERO_POINT,
    exptime: float = COSMOS_EXPTIME,
    source: str = "cosmos",
) -> Iterator[Cutout | Dropped]:
    """Read a RealGalaxyCatalog galaxy by galaxy.

    Parameters
    ----------
    path : Path
        The catalogue table or its folder.
    stamp_size, psf_size : int
        Pixels along a side.
    zero_point : float
        AB magnitude of one unit.
    exptime : float
        Seconds; the images are e-/s.
    source : str
        Name of the data set.

    Raises
    ------
    CutoutError
        When the table or a file it names cannot be read.
    """
    from astropy.io import fits

    catalogue = _catalogue_path(path)
    with fits.open(catalogue) as hdus:
        rows = _columns(hdus[1].data)
    redshift = _redshifts(catalogue, rows["ident"])
    if "ra" in rows and "dec" in rows:
        diagonal = 1.5 * stamp_size * float(rows["pixel_scale"].max())
        groups = sky_groups(rows["ra"], rows["dec"], diagonal)
    else:
        groups = np.arange(len(rows["ident"]))
    opened: dict[str, Any] = {}
    try:
        for i, ident in enumerate(rows["ident"]):
            name = f"{catalogue.name} ident {ident}"
            image = _pixels(opened, catalogue, rows, i, "gal")
            psf = _pixels(opened, catalogue, rows, i, "psf")
            catalogue_noise = _catalogue_noise(catalogue, rows, i)
            scale = float(rows["pixel_scale"][i])
            made = _cut(image, psf, catalogue_noise, scale, exptime, stamp_size, psf_size, name)
            if isinstance(made, str):
                yield Dropped(name, made)
                continue
            band = str(rows["band"][i]).strip()
            yield Cutout(
                **made,
                zero_point=zero_point,
                band=band,
                wavelength=wavelength_of(band),
                galaxy_id=int(ident),
                group=f"{source}/{int(rows['ident'][groups[i]])}",
                source=source,
                redshift=float(redshift[i]),
            )
    finally:
        for hdus in opened.values():
            hdus.close()


def _cut(
    image: NDArray[np.float64],
    psf: NDArray[np.float64],
    catalogue_noise: tuple[float, float, float],
    scale: float,
    exptime: float,
    stamp_size: int,
    psf_size: int,
    name: str,
) -> dict[str, Any] | str:
    variance, rho, area = catalogue_noise
    usable = np.isfinite(image)
    if not usable.any() or not variance > 0:
        return "no finite pixels or no noise variance"
    centre = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    found = segment(image, np.sqrt(variance), usable, centre, deblend=DEBLEND)
    if found is None:
        return "no source at the stamp's centre"
    sky = measure_sky(image, found.free & usable)
    if sky is not None and 0.5 < sky.rms**2 / variance < 2:  # else it measured something other than sky
        variance, level, rho = sky.rms**2, sky.level, sky.correlation
        area = area or correlation_area(rho)
    else:
        level = 0.0
    image = image - level
    usable &= ~found.neighbours
    from scipy import ndimage

    source_rate = np.clip(ndimage.gaussian_filter(np.where(usable, image, 0.0), 1.0), 0.0, None)
    photons = source_rate / exptime / (area or correlation_area(rho))
    framed = frame(
        image,
        variance + photons,
        usable,
        found.free,
        centred_psf(psf, scale, scale, psf_size, where=f"{name}, PSF"),
        x=found.x,
        y=found.y,
        semi_major=semi_major_of(image, usable, found),
        pixel_scale=scale,
        noise_correlation=rho,
        size=stamp_size,
    )
    return vars(framed)


def _catalogue_path(path: Path) -> Path:
    from astropy.io import fits

    candidates = sorted(path.glob("*.fits")) if path.is_dir() else [path]
    good = []
    for candidate in candidates:
        if candidate.suffix not in (".fits", ".fit"):
            continue
        with fits.open(candidate) as hdus:
            table = hdus[1] if len(hdus) > 1 else None
            if isinstance(table, fits.BinTableHDU) and set(NEEDED) <= {c.lower() for c in table.columns.names}:
                good.append(candidate)
    if len(good) != 1:
        found = ", ".join(p.name for p in good) or "none"
        raise CutoutError(f"{path}: needs one table with columns {', '.join(NEEDED)}; found {found}")
    return good[0]


def _columns(data: Any) -> dict[str, NDArray[Any]]:
    """Columns by lower-case name, in native byte order."""
    out = {}
    for name in data.names:
        values = np.asarray(data[name])
        out[name.lower()] = values.astype(values.dtype.newbyteorder("="))
    return out


def _redshifts(catalogue: Path, ident: NDArray[Any]) -> NDArray[np.float64]:
    from astropy.io import fits

    companion = catalogue.with_name(f"{catalogue.stem}_fits.fits")
    out = np.full(len(ident), np.nan)
    if not companion.exists():
        return out
    with fits.open(companion) as hdus:
        columns = _columns(hdus[1].data)
    if "zphot" not in columns or "ident" not in columns:
        return out
    known = dict(zip(columns["ident"].tolist(), columns["zphot"].tolist(), strict=True))
    out[:] = [known.get(int(i), np.nan) for i in ident]
    out[~((out > 0) & (out < 30))] = np.nan  # the catalogue's own "not known" is a negative number
    return out


def _pixels(
    opened: dict[str, Any], catalogue: Path, rows: dict[str, NDArray[Any]], i: int, what: str
) -> NDArray[np.float64]:
    from astropy.io import fits

    name, hdu = str(rows[f"{what}_filename"][i]).strip(), int(rows[f"{what}_hdu"][i])
    where = f"{catalogue}, ident {rows['ident'][i]}"
    if Path(name).name != name:
        raise CutoutError(f"{where}: {what}_filename '{name}' is not the name of a file in the catalogue's folder")
    try:
        if name not in opened:
            opened[name] = fits.open(catalogue.parent / name)
        data = np.asarray(opened[name][hdu].data, dtype=np.float64)
    except (OSError, IndexError, TypeError, ValueError) as exc:
        raise CutoutError(f"{where}: '{name}' extension {hdu} cannot be read: {exc}") from exc
    if data.ndim != 2 or max(data.shape) > 10_000:
        raise CutoutError(f"{where}: '{name}' extension {hdu} has shape {data.shape}, not a stamp's")
    return data


def _catalogue_noise(catalogue: Path, rows: dict[str, NDArray[Any]], i: int) -> tuple[float, float, float]:
    """Variance, lag-1 correlation and correlation area (0: not known) from the catalogue."""
    from astropy.io import fits

    variance = float(rows["noise_variance"][i])
    name = str(rows["noise_filename"][i]).strip() if "noise_filename" in rows else ""
    file = catalogue.parent / Path(name).name
    if not name or not file.is_file():
        return variance, 0.0, 0.0
    cf = np.asarray(fits.getdata(file), dtype=np.float64)
    y, x = np.unravel_index(int(np.argmax(cf)), cf.shape)
    rho = float((cf[y, x + 1] + cf[y + 1, x]) / 2 / cf[y, x])
    return variance, rho, float(cf.sum() / cf[y, x])
