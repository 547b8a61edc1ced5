"""`PendingGalaxy`: a galaxy whose conditions are known and whose profile is decoded later, with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import galsim
import numpy as np

from skyloom.delegate import DelegatedObject
from skyloom.galsim_config.decoding import Slot
from skyloom.units import flux_from_mag

__all__ = ["PendingGalaxy", "PendingTruth"]

_DECODED = (
    "sersic_n", "half_light_radius", "q", "beta", "jacobian", "residual", "grid_scale", "offset", "galaxy_id",
    "generator", "weights_sha256", "drawn_from", "wavelength",
)  # fmt: skip
_WORDS = ("drawn_from", "generator", "weights")


class PendingTruth(dict[str, Any]):
    """Stands for the truth of a galaxy that is not decoded yet: of the right types, to be replaced."""

    def __init__(self, slot: Slot) -> None:
        super().__init__(galaxy_id=int(slot.values["galaxy_id"]), seed=slot.seed, **dict.fromkeys(_WORDS, ""))
        self.slot = slot


class PendingGalaxy(DelegatedObject):
    """Becomes the `skyloom.LearnedGalaxy` of its slot when somebody asks for more than its flux.

    Until then GalSim can shear, lens, shift and convolve it: its transformations only collect their matrices.

    Parameters
    ----------
    slot : Slot
    fetch : callable
        Decodes the slot.
    gsparams : galsim.GSParams, optional
    """

    _lazy = ("_inner",)
    _negative_flux = 0.0
    _flux_per_photon = 1.0

    def __init__(self, slot: Slot, fetch: Callable[[Slot], None], gsparams: galsim.GSParams | None = None) -> None:
        self.slot = slot
        self._fetch = fetch
        self._gsparams = galsim.GSParams.check(gsparams)
        self.asked_flux: float | None = None
        """What `withFlux` asked for; None: the conditions' flux."""

    def decoded(self) -> galsim.GSObject:
        """The galaxy itself."""
        if self.slot.batch is None:
            self._fetch(self.slot)
        assert self.slot.batch is not None
        galaxy = self.slot.batch[self.slot.row]
        if self.asked_flux is not None:
            galaxy = galaxy.withFlux(self.asked_flux)
        return galaxy.withGSParams(self._gsparams)

    _build = decoded

    @property
    def _flux(self) -> float:
        values = self.slot.values
        if self.asked_flux is not None:
            return self.asked_flux
        if self.slot.batch is not None:
            return float(self.slot.batch.flux[self.slot.row])
        if "flux" in values:
            return float(values["flux"])
        return float(flux_from_mag(np.array([values["mag"]]), np.array([values["zero_point"]]))[0])

    def withFlux(self, flux: Any) -> galsim.GSObject:
        """Copy with another total flux."""
        if callable(flux):
            return super().withFlux(flux)
        new = PendingGalaxy(self.slot, self._fetch, self._gsparams)
        new.asked_flux = float(flux)
        if "redshift" in self.__dict__:
            new.redshift = self.redshift
        return new

    @property
    def _positive_flux(self) -> float:
        return self._flux

    @property
    def _centroid(self) -> galsim.PositionD:
        return self._inner._centroid

    def __getattr__(self, name: str) -> Any:
        """What else a learned galaxy knows."""
        if name not in _DECODED:  # GalSim looks for many names
            raise AttributeError(f"'PendingGalaxy' object has no attribute '{name}'")
        return getattr(self._inner, name)

    def __reduce__(self) -> Any:
        return _itself, (self.decoded(),)

    def __copy__(self) -> PendingGalaxy:
        new = object.__new__(PendingGalaxy)
        new.__dict__.update(self.__getstate__())
        return new

    def __eq__(self, other: object) -> bool:
        return self is other or self._inner == getattr(other, "_inner", other)

    def __hash__(self) -> int:
        return hash(self._inner)

    def __repr__(self) -> str:
        return repr(self._inner)

    def __str__(self) -> str:
        return str(self._inner)


def _itself(galaxy: galsim.GSObject) -> galsim.GSObject:
    return galaxy
