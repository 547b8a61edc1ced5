"""Checks of an HDF5 file before anything in it is read.

A dataset with external storage reads any file of the host, links and virtual datasets lead out of the file,
and some hundred bytes can declare terabytes (https://docs.hdfgroup.org/hdf5/, chapters on datasets and
links).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skyloom.errors import BadInputError, CutoutError

__all__ = ["check_file"]

MAX_BYTES = 64 * 2**30
MAX_SIDE = 10_000
MAX_OBJECTS = 10_000
MAX_EXPANSION = 1_100
"""Declared over stored bytes; gzip cannot compress further than 1032."""


def check_file(file: Any, path: Path, error: type[BadInputError] = CutoutError, *, max_side: int = MAX_SIDE) -> None:
    """Refuse a file that refers to anything outside itself or declares absurd shapes.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    path : Path
        To name in errors.
    error : type
        What is raised.
    max_side : int
        Of a dataset's axes behind the first.

    Raises
    ------
    BadInputError
        Of class `error`, with the name of the offending object.
    """
    import h5py

    pending = [file]
    seen = 0
    while pending:
        group = pending.pop()
        for key in group:
            seen += 1
            if seen > MAX_OBJECTS:
                raise error(f"{path}: more than {MAX_OBJECTS} objects")
            name = f"{group.name.rstrip('/')}/{key}"
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise error(f"{path}: '{name}' is a {type(link).__name__}; links are refused")
            item = group[key]
            if isinstance(item, h5py.Group):
                pending.append(item)
            elif isinstance(item, h5py.Dataset):
                _check_dataset(item, name, path, error, max_side)
            else:
                raise error(f"{path}: '{name}' is neither a group nor a dataset")


def _check_dataset(dataset: Any, name: str, path: Path, error: type[BadInputError], max_side: int) -> None:
    if dataset.external:
        raise error(f"{path}: '{name}' is stored in another file ({dataset.external[0][0]}); refused")
    if dataset.is_virtual:
        raise error(f"{path}: '{name}' is a virtual dataset; refused")
    # A table is a compound of plain columns, which is how astropy writes one.
    kinds = {dataset.dtype[i].base.kind for i in range(len(dataset.dtype))} or {dataset.dtype.kind}
    if not kinds <= set("biufS") or dataset.dtype.hasobject:
        raise error(f"{path}: '{name}' has type {dataset.dtype}; only numbers and fixed-length text are read")
    size = dataset.size or 0
    declared = size * dataset.dtype.itemsize
    if declared > MAX_BYTES or any(side > max_side for side in dataset.shape[1:]):
        raise error(f"{path}: '{name}' declares the absurd shape {dataset.shape}")
    if declared > 2**20 and declared > MAX_EXPANSION * dataset.id.get_storage_size():
        raise error(f"{path}: '{name}' declares {declared} bytes and stores {dataset.id.get_storage_size()}")
