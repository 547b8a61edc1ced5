"""A smooth window in Fourier space, which parts an image into what is coarse and what is fine.

The fine part of a galaxy, its cusp and clumps as the PSF leaves them, lies near its centre, however large the stamp.
So only a small period needs all wavenumbers, and a large one those that the window passes: a Laplacian pyramid
(Burt & Adelson 1983, IEEE Trans. Commun. 31, 532) of two levels, exact but for where the window's tails are cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

__all__ = ["Window"]

_REACH, _FLAT, _FOOT = 10.0, 3.0, 3.1
"""Width times half-period, and how many widths the foot of the window's edge is away on either side: what is cut
there is below 1e-5 of a galaxy's peak."""


@dataclass(frozen=True)
class Window:
    """The product of ``erfc((|k| - centre) / width) / 2`` along both axes.

    Parameters
    ----------
    centre, width : float
        Radians per arcsec.
    """

    centre: float
    width: float

    @classmethod
    def for_half_period(cls, half: float) -> Window:
        """The window whose own transform has faded at a distance `half` (arcsec)."""
        width = _REACH / half
        return cls(centre=_FLAT * width, width=width)

    @classmethod
    def that_ends(cls, end: float) -> Window:
        """The window that ends at a wavenumber (radians per arcsec)."""
        width = end / (_FLAT + _FOOT)
        return cls(centre=_FLAT * width, width=width)

    @property
    def end(self) -> float:
        """Where it ends along an axis, radians per arcsec."""
        return self.centre + _FOOT * self.width

    def plane(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its values for wavenumbers along both axes; from shape (M,) to (M, M)."""
        along = erfc((np.abs(k) - self.centre) / self.width) / 2
        return np.asarray(along[:, None] * along)
