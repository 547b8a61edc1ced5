"""Files on disk: their hashes, and how they come under their final names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["commit", "file_sha256", "pixel_sha256", "sync_folder"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_sha256(path: Path) -> str | None:
    """SHA-256 of the pixels of all images of a FITS file, or None for a file without any.

    Big-endian bytes as FITS has them, with type and shape; headers and tables don't count.
    """
    from astropy.io import fits

    if not _is_fits(path):
        return None
    digest, images = hashlib.sha256(), 0
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            if hdu.is_image and hdu.data is not None:
                data: Any = hdu.data
                data = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder(">"))
                digest.update(f"{data.dtype.str}{data.shape}".encode())
                digest.update(data)
                images += 1
    return digest.hexdigest() if images else None


def _is_fits(path: Path) -> bool:
    """Whatever its name: GalSim gives a NumberedFile of an extra output no suffix."""
    if ".fits" in path.suffixes[-2:]:
        return True
    with path.open("rb") as file:
        return file.read(9) == b"SIMPLE  ="


def commit(source: Path, target: Path, names: Iterable[str]) -> None:
    """Move whole files from a temporary folder to their final place on the same file system.

    Each is synchronised with the disk first, so that a name never stands for a file that is not there after
    a power cut.
    """
    folders = set()
    for name in names:
        final = target / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with (source / name).open("rb") as file:
            os.fsync(file.fileno())
        (source / name).replace(final)
        folders.add(final.parent)
    for folder in folders:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to disk, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse; the rename is theirs to keep
        pass
    finally:
        os.close(handle)
