"""Skyloom's own files of cutouts, layout version 1: written whole or not at all, checked before read.

/image      float32 (N, S, S)     one chunk a stamp, gzip with shuffle
/variance   float32 (N, S, S)
/mask       uint8   (N, S, S)     1: usable
/psf        float32 (N, P, P)
/columns/*  (N,)                  every scalar of `Cutout`, and of its fit with the prefix ``fit_``
attributes  format = "skyloom-cutouts", version = 1, provenance = JSON text, and, of files with fits,
            fit = "each band by itself" or "shape shared between bands"
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skyloom.errors import CutoutError
from skyloom.files import current_umask
from skyloom.safe_hdf5 import check_file
from skyloom.stamps import FIT_COLUMNS, SCALAR_COLUMNS, Cutout, CutoutSet, SersicFit

__all__ = [
    "FORMAT",
    "OWN_SHAPES",
    "SHARED_SHAPES",
    "VERSION",
    "is_cutouts_file",
    "read_cutouts",
    "read_provenance",
    "write_cutouts",
]

FORMAT, VERSION = "skyloom-cutouts", 1
PIXELS = {"image": "<f4", "variance": "<f4", "mask": "u1", "psf": "<f4"}
TYPES: dict[str, str] = {"galaxy_id": "<i8", "thresholded": "u1", "fit_flag": "<i4"}
TEXT = ("band", "group", "source")
LATER = ("centre_x", "centre_y")
"""Columns that files made before they existed lack: NaN."""

OWN_SHAPES, SHARED_SHAPES = "each band by itself", "shape shared between bands"
"""Values of the attribute ``fit``."""

NO_FIT = -1
BUFFER = 64


def write_cutouts(
    path: Path | str,
    cutouts: Iterable[Cutout],
    *,
    provenance: Mapping[str, Any] | None = None,
    revise: Callable[[CutoutSet], Mapping[int, SersicFit]] | None = None,
    distinct: bool = True,
) -> int:
    """Write cutouts as they come, and put the file under its name only when it is whole.

    Parameters
    ----------
    path : Path or str
        Replaced if it exists.
    cutouts : iterable of Cutout
        All of the first one's shapes.
    provenance : mapping, optional
        Anything JSON can hold.
    revise : callable, optional
        Given all cutouts as a set, before the file gets its name, the fits of the rows that galaxies of
        several bands share a shape in.
    distinct : bool
        Refuse a galaxy that comes twice in a band; simulations may hold several draws of each.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    CutoutError
        For none at all, unequal shapes, pixels that are not finite, or a galaxy that comes twice in a band.
    """
    import h5py

    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as file:
            count = _write_all(file, cutouts, path, distinct)
            file.attrs.update(
                format=FORMAT, version=VERSION, provenance=json.dumps(dict(provenance or {}), sort_keys=True)
            )
            if any(file["columns/fit_flag"][:] != NO_FIT):
                file.attrs["fit"] = OWN_SHAPES
        if revise is not None:
            _revise(Path(temporary), revise(read_cutouts(temporary)))
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return count


def read_cutouts(path: Path | str) -> CutoutSet:
    """Open a file of cutouts; pixels are read when a row is asked for.

    Parameters
    ----------
    path : Path or str
        A file written by `write_cutouts` or ``skyloom ingest``.

    Returns
    -------
    CutoutSet

    Raises
    ------
    CutoutError
        When it is not such a file, is damaged, or refers to anything outside itself.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            check_file(file, path)
            _check_layout(file, path)
            rows = file["image"].shape[0]
            columns = {
                name: _column(file["columns"][name][:], name) if name in file["columns"] else np.full(rows, np.nan)
                for name in _column_names()
            }
    except FileNotFoundError:
        raise CutoutError(f"{path}: no such file") from None
    except OSError as exc:
        raise CutoutError(f"{path}: not an HDF5 file, or a damaged one: {exc}") from exc
    return CutoutSet(path, columns)


def read_provenance(path: Path | str) -> dict[str, Any]:
    """What was recorded when the file was made."""
    import h5py

    with h5py.File(path, "r") as file:
        _check_format(file, Path(path))
        return dict(json.loads(str(file.attrs.get("provenance", "{}"))))


def is_cutouts_file(path: Path) -> bool:
    """Whether `path` looks like a file of `write_cutouts`."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("format", "")) == FORMAT
    except OSError:
        return False


def _column_names() -> list[str]:
    return [*SCALAR_COLUMNS, *(f"fit_{name}" for name in FIT_COLUMNS)]


def _column(values: Any, name: str) -> Any:
    if name in TEXT:
        return np.array([v.decode("utf-8") for v in values])
    return values.astype(bool) if name == "thresholded" else values


def _write_all(file: Any, cutouts: Iterable[Cutout], path: Path, distinct: bool) -> int:
    columns: dict[str, list[Any]] = {name: [] for name in _column_names()}
    buffer: list[Cutout] = []
    seen: set[tuple[str, int, str]] = set()
    datasets: dict[str, Any] = {}
    for cutout in cutouts:
        key = (cutout.source, cutout.galaxy_id, cutout.band)
        if key in seen and distinct:
            raise CutoutError(f"{path}: galaxy {key[1]} of '{key[0]}' comes twice in {key[2]}")
        seen.add(key)
        if not datasets:
            datasets = _create(file, cutout)
        _check(cutout, datasets, path)
        for name in SCALAR_COLUMNS:
            columns[name].append(getattr(cutout, name))
        for name in FIT_COLUMNS:
            empty = NO_FIT if name == "flag" else np.nan
            columns[f"fit_{name}"].append(empty if cutout.fit is None else getattr(cutout.fit, name))
        buffer.append(cutout)
        if len(buffer) == BUFFER:
            _append(datasets, buffer)
    if not seen:
        raise CutoutError(f"{path}: no cutouts to write")
    _append(datasets, buffer)
    for name, values in columns.items():
        if name in TEXT:
            encoded = [str(v).encode("utf-8") for v in values]
            data = np.array(encoded, dtype=f"S{max(1, *(len(v) for v in encoded))}")
        else:
            data = np.array(values, dtype=TYPES.get(name, "<f8"))
        file.create_dataset(f"columns/{name}", data=data)
    return len(columns["galaxy_id"])


def _create(file: Any, first: Cutout) -> dict[str, Any]:
    out = {}
    for name, dtype in PIXELS.items():
        shape = getattr(first, name).shape
        out[name] = file.create_dataset(
            name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1, *shape), compression="gzip",
            compression_opts=2, shuffle=True, fletcher32=True,
        )  # fmt: skip
    return out


def _append(datasets: dict[str, Any], buffer: list[Cutout]) -> None:
    for name, dataset in datasets.items():
        start = dataset.shape[0]
        dataset.resize(start + len(buffer), axis=0)
        if buffer:
            dataset[start:] = np.stack([getattr(c, name) for c in buffer])
    buffer.clear()


def _revise(path: Path, fits: Mapping[int, SersicFit]) -> None:
    import h5py

    if not fits:
        return
    with h5py.File(path, "r+") as file:
        file.attrs["fit"] = SHARED_SHAPES
        for name in FIT_COLUMNS:
            values = file[f"columns/fit_{name}"][:]
            values[list(fits)] = [getattr(fit, name) for fit in fits.values()]
            file[f"columns/fit_{name}"][:] = values


def _check(cutout: Cutout, datasets: dict[str, Any], path: Path) -> None:
    where = f"{path}: galaxy {cutout.galaxy_id} of '{cutout.source}' in {cutout.band}"
    for name, dataset in datasets.items():
        pixels = getattr(cutout, name)
        if pixels.shape != dataset.shape[1:]:
            raise CutoutError(f"{where}: {name} has shape {pixels.shape}, the others {dataset.shape[1:]}")
        if not np.isfinite(pixels).all():
            raise CutoutError(f"{where}: {name} holds pixels that are not finite")
    if not (cutout.variance > 0).all():
        raise CutoutError(f"{where}: variance must be positive")


def _check_format(file: Any, path: Path) -> None:
    if str(file.attrs.get("format", "")) != FORMAT:
        raise CutoutError(f"{path}: not a file of cutouts made by 'skyloom ingest'")
    if int(file.attrs.get("version", 0)) != VERSION:
        raise CutoutError(f"{path}: layout version {file.attrs.get('version')}, this Skyloom reads {VERSION}")


def _check_layout(file: Any, path: Path) -> None:
    _check_format(file, path)
    missing = [name for name in PIXELS if name not in file]
    missing += [f"columns/{n}" for n in _column_names() if f"columns/{n}" not in file and n not in LATER]
    if missing:
        raise CutoutError(f"{path}: lacks {', '.join(missing)}")
    rows = file["image"].shape[0]
    for name, dtype in PIXELS.items():
        dataset = file[name]
        if dataset.ndim != 3 or dataset.shape[1] != dataset.shape[2] or dataset.dtype != np.dtype(dtype):
            raise CutoutError(f"{path}: '{name}' has shape {dataset.shape} and type {dataset.dtype}")
    if not file["image"].shape == file["variance"].shape == file["mask"].shape:
        raise CutoutError(f"{path}: image, variance and mask differ in shape")
    for name in (*PIXELS, *(f"columns/{name}" for name in _column_names())):
        if name in file and file[name].shape[0] != rows:
            raise CutoutError(f"{path}: '{name}' has {file[name].shape[0]} rows for {rows} images")
