"""`PsfCells`: a PSF that varies over the image, asked for once a cell of it."""

from __future__ import annotations

import hashlib
import math
import sys
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.physics.sized_stamps import seen_under
from skyloom.render.field.stages import PsfChoice, ask_psf, stage

__all__ = ["PsfCells"]

Column = NDArray[np.float64]
Key = tuple[int, tuple[float, ...]]


class PsfCells:
    """The PSFs of an image divided into square cells, each asked for at its cell's middle when it is needed.

    Parameters
    ----------
    choice : str, galsim.GSObject or callable
        See `ask_psf`. A GSObject is the same everywhere.
    wavelength : float or None
        nm.
    cell : int
        Pixels along a side of a cell.
    size : (int, int)
        Of the image.
    """

    def __init__(self, choice: PsfChoice, wavelength: float | None, cell: int, size: tuple[int, int]) -> None:
        self._choice, self._wavelength, self._size = choice, wavelength, size
        self._cell = max(size) if isinstance(choice, galsim.GSObject) else cell
        self._across = math.ceil(size[0] / self._cell)
        self._of_cell: dict[int, int] = {}
        self._numbers: dict[galsim.GSObject, int] = {}
        self.answered_by: set[str] = set()
        """Plugins that gave a PSF by name."""
        self.profiles: list[galsim.GSObject] = []
        """The distinct ones, in arcsec."""

    def cells(self, x: Column, y: Column) -> NDArray[np.int64]:
        """Cell of each place, shape (N,); one off the image has that of the nearest edge."""
        nx, ny = self._size
        column, row = (
            np.clip((place - 0.5) // self._cell, 0, (side - 1) // self._cell).astype(np.int64)
            for place, side in ((x, nx), (y, ny))
        )
        return np.asarray(row * self._across + column)

    def number(self, cell: int) -> int:
        """Number of a cell's PSF among `profiles`."""
        if cell not in self._of_cell:
            with stage("psf"):
                psf, who = ask_psf(self._choice, self._wavelength, *self._middle(cell))
            if who:
                self.answered_by.add(who)
            number = self._numbers.setdefault(psf, len(self.profiles))
            if number == len(self.profiles):
                self.profiles.append(psf)
            self._of_cell[cell] = number
        return self._of_cell[cell]

    def digest(self) -> str:
        """SHA-256 of the PSFs that were asked for, cell by cell, as GalSim writes them."""
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # else it leaves out most of a PSF's image
            written = [hashlib.sha256(repr(psf).encode()).hexdigest() for psf in self.profiles]
        cells = [f"{cell} {written[number]}" for cell, number in sorted(self._of_cell.items())]
        return hashlib.sha256("\n".join(cells).encode()).hexdigest()

    def keys(self, cells: NDArray[np.int64], matrices: Column, uniform: bool) -> list[Key]:
        """What tells PSFs in pixels apart: the number, and the Jacobian (arcsec per pixel) they are seen under.

        Parameters
        ----------
        cells : ndarray of int, shape (N,)
        matrices : ndarray, shape (N, 2, 2)
        uniform : bool
            Whether all of the image has one Jacobian; others are rounded so that neighbours share one.
        """
        out: list[Key] = []
        for cell, matrix in zip(cells.tolist(), matrices, strict=True):
            number = self.number(cell)
            seen = matrix if uniform else seen_under(matrix, self.profiles[number])
            out.append((number, tuple(seen.ravel().tolist())))
        return out

    def in_image(self, key: Any) -> galsim.GSObject:
        """The PSF of a key, in pixels."""
        return galsim.JacobianWCS(*key[1]).toImage(self.profiles[key[0]])

    def _middle(self, cell: int) -> tuple[float, float]:
        return tuple(  # type: ignore[return-value]
            0.5 + (i * self._cell + min((i + 1) * self._cell, side)) / 2
            for i, side in zip((cell % self._across, cell // self._across), self._size, strict=True)
        )
