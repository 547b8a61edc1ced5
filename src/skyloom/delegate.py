"""`DelegatedObject`: a GSObject that leaves drawing to another one made when it is first needed."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

__all__ = ["DelegatedObject"]


class DelegatedObject(galsim.GSObject):
    """Base of objects whose profile is made of GalSim's own.

    A subclass sets `_flux` and `_gsparams`, and makes the profile in `_build`. Copies, pickles and
    `withGSParams` leave the made profile behind, along with the other names in `_lazy`.

    The private names are GalSim's interface for profiles and mean what they mean there.
    """

    _lazy: tuple[str, ...] = ("_inner",)
    _has_hard_edges = False
    _is_analytic_x = True
    _is_analytic_k = True

    @abstractmethod
    def _build(self) -> galsim.GSObject:
        """Return the profile, with `_gsparams`."""

    @cached_property
    def _inner(self) -> galsim.GSObject:
        return self._build()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._lazy}

    @property
    def _sbp(self) -> Any:
        return self._inner._sbp

    @property
    def _stepk(self) -> float:
        return self._inner.stepk

    @property
    def _maxk(self) -> float:
        return self._inner.maxk

    @property
    def _is_axisymmetric(self) -> bool:
        return self._inner.is_axisymmetric

    @property
    def _max_sb(self) -> float:
        return self._inner.max_sb

    def _xValue(self, pos: galsim.PositionD) -> float:
        return self._inner._xValue(pos)

    def _kValue(self, kpos: galsim.PositionD) -> complex:
        return self._inner._kValue(kpos)

    def _drawReal(
        self,
        image: galsim.Image,
        jac: NDArray[np.float64] | None = None,
        offset: tuple[float, float] = (0.0, 0.0),
        flux_scaling: float = 1.0,
    ) -> None:
        self._inner._drawReal(image, jac, offset, flux_scaling)

    def _drawKImage(self, image: galsim.Image, jac: NDArray[np.float64] | None = None) -> None:
        self._inner._drawKImage(image, jac)

    def _shoot(self, photons: galsim.PhotonArray, rng: galsim.BaseDeviate) -> None:
        self._inner._shoot(photons, rng)
