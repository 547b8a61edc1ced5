"""Photons of a Sersic with a learned residual, all of them positive.

GalSim shoots an interpolated image by shooting its pixels and its interpolant, which is negative in places:
a good part of the photons then only cancels others. Here a photon of the Sersic S is kept with probability
(S + R) / (M S), M being the largest value of the ratio, and another one is shot for each that is not.
Nothing is tabulated: the photons follow S and the interpolated R exactly, but for two places where next to
no light is:

- where S + R is negative (ringing of the interpolant beside a steep edge) there is no photon;
- where S + R exceeds M S, M being taken where the profile holds any light, there are M S.
"""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.normalise import sersic_profile
from skyloom.residual_grid import interpolate, oversample

__all__ = ["ResidualShooter"]

Floats = NDArray[np.float64]
_FINE = 2  # the largest ratio is looked for on a grid this much finer
_MARGIN = 1.05  # and is this much more between its points
_DARK = 1e-10  # of the flux: a point of the grid with less does not count
_MOST = 1 << 18  # photons shot at a time, to bound the memory


@dataclass(frozen=True, eq=False)
class ResidualShooter:
    """Shoots photons in the canonical frame.

    Parameters
    ----------
    sersic_n : float
    residual : ndarray, shape (G, G)
        Surface brightness in units of the Sersic's flux per canonical area.
    grid_scale : float
        Canonical units per grid point.
    """

    sersic_n: float
    residual: NDArray[np.float32]
    grid_scale: float

    def __post_init__(self) -> None:
        fine, sersic, area = self._fine()
        ratio = np.where((sersic + fine) * area > _DARK, 1.0 + fine / sersic, 0.0)
        object.__setattr__(self, "bound", max(1.0, float(ratio.max()) * _MARGIN))

    bound = 1.0
    """M, the largest ratio of the profile to its Sersic."""

    @property
    def clipped_flux(self) -> float:
        """Light that the photons lack or have too much, as a fraction of the flux; see the module."""
        fine, sersic, area = self._fine()
        wanted = np.clip(sersic + fine, 0.0, self.bound * sersic)
        total = 1.0 + float(self.residual.sum(dtype=np.float64)) * self.grid_scale**2
        return float(np.abs(wanted - sersic - fine).sum() * area / total)

    def _fine(self) -> tuple[Floats, Floats, float]:
        """Residual and Sersic on the finer grid, and the area of its pixels."""
        fine = oversample(self.residual, _FINE)
        axis = (np.arange(len(fine)) - (len(fine) - 1) / 2) * self.grid_scale / _FINE
        sersic = np.maximum(sersic_profile(np.hypot(axis[:, None], axis), self.sersic_n), 1e-300)
        return fine, sersic, (self.grid_scale / _FINE) ** 2

    def shoot(self, count: int, sersic: galsim.Sersic, rng: galsim.BaseDeviate) -> tuple[Floats, Floats]:
        """Positions of `count` photons.

        Parameters
        ----------
        count : int
        sersic : galsim.Sersic
            Of this index and half-light radius 1.
        rng : galsim.BaseDeviate
            Moves on by as many numbers as it takes.

        Returns
        -------
        x, y : ndarray, shape (count,)
            Canonical units.
        """
        x, y = np.empty(count), np.empty(count)
        done = 0
        share = (1.0 + float(self.residual.sum(dtype=np.float64)) * self.grid_scale**2) / self.bound
        while done < count:
            tries = min(int((count - done) / share * 1.02) + 64, _MOST)
            photons = galsim.PhotonArray(tries)
            sersic._shoot(photons, rng)
            kept = self._kept(photons.x, photons.y, rng)[: count - done]
            x[done : done + len(kept)], y[done : done + len(kept)] = photons.x[kept], photons.y[kept]
            done += len(kept)
        return x, y

    def _kept(self, x: Floats, y: Floats, rng: galsim.BaseDeviate) -> NDArray[np.int64]:
        chance = np.empty(len(x))
        galsim.UniformDeviate(rng).generate(chance)
        sersic = sersic_profile(np.hypot(x, y), self.sersic_n)
        learned = interpolate(self.residual, self.grid_scale, x, y)
        return np.flatnonzero(chance * self.bound * sersic < sersic + learned)
