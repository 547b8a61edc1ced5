"""PSFs as images for a file of stamps, each distinct one drawn once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.stamp_file import StampFileWriter

__all__ = ["PsfImages"]

_KEPT = 256  # of those that vary from object to object


class PsfImages:
    """Draws PSFs into a file of stamps, and remembers the last ones.

    Parameters
    ----------
    writer : StampFileWriter
    size : int
        Pixels along a side.
    """

    def __init__(self, writer: StampFileWriter, size: int) -> None:
        self._writer, self._size = writer, size
        self._numbers: OrderedDict[Hashable, int] = OrderedDict()

    def number(self, key: Hashable, profile_of: Callable[[Any], galsim.GSObject], *, pixel: bool = True) -> int:
        """Number in the file of the PSF of a key.

        Parameters
        ----------
        key : hashable
            Equal for PSFs that are the same.
        profile_of : callable
            The PSF of a key, in pixels.
        pixel : bool
            Convolve with the pixel.
        """
        if (key, pixel) not in self._numbers:
            method = "auto" if pixel else "no_pixel"
            image = profile_of(key).drawImage(nx=self._size, ny=self._size, scale=1.0, method=method, dtype=float)
            self._numbers[key, pixel] = self._writer.add_psf(_as_float32(image.array))
            while len(self._numbers) > _KEPT:
                self._numbers.popitem(last=False)
        self._numbers.move_to_end((key, pixel))
        return self._numbers[key, pixel]


def _as_float32(array: Any) -> NDArray[np.float32]:
    return np.asarray(array, dtype=np.float32)
