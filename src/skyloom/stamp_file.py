"""Files for deblending studies: every object of an image by itself, without noise, with PSF and segmentation.

The HDF5 file is written stamp by stamp, so that memory grows with the image and not with its objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import BadInputError
from skyloom.safe_hdf5 import check_file

__all__ = ["NOBODY", "PSF_SIZE", "StampFile", "StampFileWriter", "read_stamps"]

FORMAT = "skyloom-stamps"
VERSION = 1
PSF_SIZE = 65
"""Pixels along a side of the PSFs' images."""

_FLUSH_PIXELS = 2**21
_MAX_SIDE = 100_000  # of an image
_COLUMNS = {
    "galaxy_id": np.int64, "number": np.int64, "x0": np.int64, "y0": np.int64, "width": np.int64, "height": np.int64,
    "first": np.int64, "psf": np.int64,
}  # fmt: skip
NOBODY = -1
"""In the segmentation: no object; as a galaxy's id or a PSF's number: none."""


class StampFileWriter:
    """Writes a file of stamps; to be used as a context manager.

    Parameters
    ----------
    path : pathlib.Path
        Where to write; a file there is replaced.
    size : (int, int)
        Of the image, pixels along x and y.
    psf_size : int
        Pixels along a side of the PSFs' images.
    """

    def __init__(self, path: Path, size: tuple[int, int], *, psf_size: int = PSF_SIZE) -> None:
        import h5py

        self._file = h5py.File(path, "w")
        self._rows: dict[str, list[int]] = {name: [] for name in _COLUMNS}
        self._waiting: list[NDArray[np.float32]] = []
        self._flushed = self._held = 0
        self._psfs = 0
        self._brightest = np.zeros((size[1], size[0]), dtype=np.float32)
        self._owner = np.full((size[1], size[0]), np.iinfo(np.int64).max)
        more: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        self._file.create_dataset("pixels", (0,), np.float32, maxshape=(None,), chunks=(2**15,), **more)
        shape = (psf_size, psf_size)
        more |= {"maxshape": (None, *shape), "chunks": (1, *shape)}
        self._file.create_dataset("psf_image", (0, *shape), np.float32, **more)

    def __enter__(self) -> StampFileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    def add_psf(self, image: NDArray[np.floating[Any]]) -> int:
        """Write a PSF's image, shape (psf_size, psf_size); gives its number for `add`."""
        found = self._file["psf_image"]
        found.resize(self._psfs + 1, axis=0)
        found[self._psfs] = image
        found.flush()  # HDF5 gives places to chunks when it writes them: left to itself, when a handle is forgotten
        self._psfs += 1
        return self._psfs - 1

    def add(self, galaxy_id: int, number: int, x0: int, y0: int, pixels: NDArray[np.floating[Any]], psf: int) -> None:
        """Take an object's stamp.

        Parameters
        ----------
        galaxy_id : int
            -1 for an object that has none.
        number : int
            Different for each object; the rows of the file are in its order.
        x0, y0 : int
            The image's pixel under the stamp's lower left one; the image's first is 1. May lie off the image.
        pixels : ndarray, shape (height, width)
            Without noise, in the image's unit.
        psf : int
            From `add_psf`; -1 for none.
        """
        pixels = np.array(pixels, dtype=np.float32)
        height, width = pixels.shape
        row = (galaxy_id, number, x0, y0, width, height, self._flushed + self._held, psf)
        for values, value in zip(self._rows.values(), row, strict=True):
            values.append(int(value))
        self._own(number, x0, y0, pixels)
        self._waiting.append(pixels.ravel())
        self._held += pixels.size
        if self._held >= _FLUSH_PIXELS:
            self._flush()

    def finish(self, threshold: float, attributes: Mapping[str, Any]) -> None:
        """Write what is left: columns, segmentation and attributes.

        Parameters
        ----------
        threshold : float
            In the image's unit: an object has a pixel where its light is above it, and brightest of all.
        attributes : mapping
            Numbers and words about the image.
        """
        self._flush()
        columns = {name: np.array(values, dtype=_COLUMNS[name]) for name, values in self._rows.items()}
        order = np.argsort(columns["number"], kind="stable")
        for name, values in columns.items():
            self._file.create_dataset(name, data=values[order])
        owned = self._brightest > threshold
        rows = np.searchsorted(columns["number"][order], self._owner[owned])
        segmentation = np.full(owned.shape, NOBODY, dtype=np.int32)
        segmentation[owned] = rows
        self._file.create_dataset("segmentation", data=segmentation, compression="gzip", compression_opts=1)
        self._file.attrs.update({**attributes, "threshold": threshold, "format": FORMAT, "version": VERSION})

    def _own(self, number: int, x0: int, y0: int, pixels: NDArray[np.float32]) -> None:
        """Give the object the pixels in which it is brighter than those before; of equals the least number has it."""
        (ny, nx), (height, width) = self._owner.shape, pixels.shape
        left, low, right, high = max(x0, 1), max(y0, 1), min(x0 + width - 1, nx), min(y0 + height - 1, ny)
        if left > right or low > high:
            return
        place = np.s_[low - 1 : high, left - 1 : right]
        mine = pixels[low - y0 : high - y0 + 1, left - x0 : right - x0 + 1]
        brightest, owner = self._brightest[place], self._owner[place]
        better = (mine > brightest) | ((mine == brightest) & (number < owner))
        owner[better] = number
        brightest[better] = mine[better]

    def _flush(self) -> None:
        if not self._waiting:
            return
        found = self._file["pixels"]
        found.resize(self._flushed + self._held, axis=0)
        found[self._flushed :] = np.concatenate(self._waiting)
        found.flush()
        self._flushed, self._held, self._waiting = self._flushed + self._held, 0, []


@dataclass(frozen=True, eq=False)
class StampFile:
    """The stamps of an image; those asked for are read one by one.

    Parameters
    ----------
    path : pathlib.Path
    columns : mapping of str to ndarray, shape (N,)
        ``galaxy_id`` (-1: none), ``number``, ``x0``, ``y0`` (the image's pixel under the stamp's lower left one; the
        first is 1), ``width``, ``height``, ``psf`` (number of its PSF; -1: none).
    attributes : mapping
        Of the image: ``threshold`` and ``noise_sigma`` (ADU), ``pixel_scale`` (arcsec), ``wavelength`` (nm), ...
    """

    path: Path
    columns: Mapping[str, NDArray[np.int64]]
    attributes: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["galaxy_id"])

    def stamp(self, row: int) -> NDArray[np.float32]:
        """One object without noise, shape (height, width), ADU."""
        import h5py

        first, width, height = (int(self.columns[name][row]) for name in ("first", "width", "height"))
        with h5py.File(self.path, "r") as file:
            return np.asarray(file["pixels"][first : first + width * height]).reshape(height, width)

    def psf(self, row: int) -> NDArray[np.float32]:
        """The PSF at an object's place, the pixel's response included, centred; shape (P, P)."""
        import h5py

        with h5py.File(self.path, "r") as file:
            return np.asarray(file["psf_image"][int(self.columns["psf"][row])])

    def segmentation(self) -> NDArray[np.int32]:
        """The row of the object that is brightest in a pixel and above the threshold, -1 elsewhere; shape (ny, nx)."""
        import h5py

        with h5py.File(self.path, "r") as file:
            return np.asarray(file["segmentation"][()])


def read_stamps(path: str | Path) -> StampFile:
    """Open a file of stamps.

    Raises
    ------
    BadInputError
        For a file that is not there, of another format, or that points outside itself.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise BadInputError(f"file of stamps '{path}' does not exist")
    try:
        with h5py.File(path, "r") as file:
            attributes = dict(file.attrs)
            if attributes.get("format") != FORMAT or attributes.get("version") != VERSION:
                raise BadInputError(f"'{path}' is no file of stamps of version {VERSION}")
            check_file(file, path, BadInputError, max_side=_MAX_SIDE)
            columns = {name: np.asarray(file[name][()]) for name in _COLUMNS}
    except (OSError, KeyError) as exc:
        raise BadInputError(f"file of stamps '{path}' cannot be read: {exc}") from exc
    return StampFile(path, columns, attributes)
