"""Reader of single FITS stamps: a folder of them, or a text file that lists them.

One galaxy a file, in its middle. What a file does not say (`skyloom.cutouts.fits_images`) stands in ``stamps.toml``
of the folder (`skyloom.cutouts.sidecar`). A file that cannot be used is left out with its reason; the rest goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from skyloom.cutouts.centred import cut_centred
from skyloom.cutouts.fits_images import read_fits_image
from skyloom.cutouts.plain_values import described, effective_psf
from skyloom.cutouts.real_galaxy import accepts_real_galaxy
from skyloom.cutouts.sidecar import SideCar, read_sidecar
from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, Dropped

__all__ = ["accepts_plain_stamps", "read_plain_stamps"]

logger = logging.getLogger(__name__)

SUFFIXES = (".fits", ".fit", ".fits.gz", ".fits.fz")
CANNOT_READ = "not a FITS image that can be read"
MAX_GAP = 0.6
"""Share of pixels that may be masked: plain stamps often come with their neighbours masked."""


def accepts_plain_stamps(path: Path) -> bool:
    """Whether `path` is a folder of FITS files of no other format, or a ``.txt`` list of FITS files."""
    try:
        if path.is_dir():
            return bool(_in_folder(path)) and not (path / "detections.csv").exists() and not accepts_real_galaxy(path)
        if path.suffix != ".txt":
            return False
        with path.open(encoding="utf-8") as lines:
            names = (line.strip() for line in lines)
            return next((n for n in names if n and not n.startswith("#")), "").endswith(SUFFIXES)
    except (OSError, UnicodeDecodeError):
        return False


def read_plain_stamps(
    path: Path, *, stamp_size: int = 96, psf_size: int = 81, source: str = ""
) -> Iterator[Cutout | Dropped]:
    """Read stamps file by file, in the order of their names, or of the list.

    Parameters
    ----------
    path : Path
        The folder, or a text file with the name of a FITS file a line, relative to its own folder.
    stamp_size, psf_size : int
        Pixels along a side.
    source : str
        Name of the data set; the folder's name when empty.

    Raises
    ------
    CutoutError
        When there are no files, or the side-car cannot be used.
    """
    files = _in_folder(path) if path.is_dir() else _listed(path)
    if not files:
        raise CutoutError(f"{path}: no FITS files")
    sidecar = read_sidecar(path)
    source = source or path.resolve().stem
    files = [f for f in files if f.name != sidecar.psf]
    seen: set[tuple[int, str]] = set()
    for number, file in enumerate(files, start=1):
        made = _read_one(file, number, sidecar, stamp_size, psf_size, source)
        if isinstance(made, Cutout):
            if (made.galaxy_id, made.band) in seen:
                made = Dropped(file.name, "a galaxy and band that another file has")
            else:
                seen.add((made.galaxy_id, made.band))
        yield made


def _read_one(
    file: Path, number: int, sidecar: SideCar, stamp_size: int, psf_size: int, source: str
) -> Cutout | Dropped:
    try:
        found = read_fits_image(file)
    except CutoutError as exc:
        logger.warning("%s", exc)
        return Dropped(file.name, CANNOT_READ)
    values = described(
        sidecar,
        pixel_scale=found.pixel_scale,
        zero_point=found.zero_point,
        band=found.band,
        wavelength=found.wavelength,
    )
    if isinstance(values, str):
        return Dropped(file.name, values)
    own = sidecar.of(values["band"])
    psf = effective_psf(found.psf, found.psf_scale, own, values["pixel_scale"], psf_size)
    if isinstance(psf, str):
        return Dropped(file.name, psf)
    if not found.usable.any():
        return Dropped(file.name, "no finite, unmasked pixels")
    made = cut_centred(
        found.image,
        found.usable,
        psf,
        pixel_scale=values["pixel_scale"],
        stamp_size=stamp_size,
        variance=found.variance,
        gain=own.gain or found.gain,
        max_gap=MAX_GAP,
    )
    if isinstance(made, str):
        return Dropped(file.name, made)
    galaxy_id = number if found.galaxy_id is None else found.galaxy_id
    redshift = found.redshift
    return Cutout(
        **values | made,
        galaxy_id=galaxy_id,
        group=f"{source}/{found.group or galaxy_id}",
        source=source,
        redshift=redshift if redshift is not None and 0 < redshift < 30 else float("nan"),
    )


def _in_folder(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_file() and p.name.endswith(SUFFIXES))


def _listed(path: Path) -> list[Path]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as exc:
        raise CutoutError(f"{path}: not a list of files: {exc}") from exc
    return [path.parent / name for name in names if name and not name.startswith("#")]
