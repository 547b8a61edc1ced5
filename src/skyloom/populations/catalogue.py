"""`Catalogue`: the objects of a file, checked whole when it is read."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.conditions import Conditions

__all__ = ["KINDS", "Catalogue"]

KINDS = ("galaxy", "star")
Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Objects of one file, one row an object; arrays are read-only and of one length.

    Parameters
    ----------
    conditions : Conditions
        A star's size and shape mean nothing.
    path : pathlib.Path
    sha256 : str
        Of the file, in hexadecimal.
    ra, dec : ndarray, optional
        Degrees.
    x, y : ndarray, optional
        Pixels, the first is 1.
    g1, g2 : ndarray, optional
        Reduced shear, to be applied; sky coordinates where positions are.
    mu : ndarray, optional
        Magnification, to be applied to size and flux.
    kind : ndarray of str, optional
        One of `KINDS` each; all are galaxies where there is none.
    """

    conditions: Conditions
    path: Path
    sha256: str
    ra: Column | None = None
    dec: Column | None = None
    x: Column | None = None
    y: Column | None = None
    g1: Column | None = None
    g2: Column | None = None
    mu: Column | None = None
    kind: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        for name in self.arrays():
            getattr(self, name).flags.writeable = False

    def __len__(self) -> int:
        return len(self.conditions)

    def __getitem__(self, index: Any) -> Catalogue:
        """Rows of `index` (integer, slice, mask or integer array) as a new catalogue."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        chosen = {name: getattr(self, name)[rows] for name in self.arrays()}
        return replace(self, conditions=self.conditions[rows], **chosen)

    @property
    def is_star(self) -> NDArray[np.bool_]:
        """Whether each object is a star, shape (N,)."""
        return np.zeros(len(self), dtype=bool) if self.kind is None else self.kind == "star"

    def arrays(self) -> list[str]:
        """Names of the columns beside `conditions` that the catalogue has."""
        names = [f.name for f in fields(self) if f.name not in ("conditions", "path", "sha256")]
        return [name for name in names if getattr(self, name) is not None]
