"""`LearnedGalaxy`: one galaxy of a `ProfileBatch` as a GalSim object."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import galsim
import numpy as np
from numpy.typing import ArrayLike

from skyloom.arguments import check_ellipse, finite, known, square_grid, within
from skyloom.delegate import DelegatedObject
from skyloom.residual_grid import band_limit
from skyloom.shooting import ResidualShooter

if TYPE_CHECKING:
    from skyloom.profiles import ProfileBatch

__all__ = ["LearnedGalaxy"]


class LearnedGalaxy(DelegatedObject):
    """A galaxy drawn by a generative model: an analytic Sersic plus a learned residual.

    In the canonical frame (see `skyloom.frames`) the profile is A (S + R): S a circular Sersic of flux 1
    and half-light radius 1, R the residual on a grid, read between its points with `galsim.Quintic`. Of
    GalSim's compact interpolants it leaves the least of the grid's copies in Fourier space, so no trace of
    the grid is seen under any shear and PSF. Its negative lobes, harmful for a cuspy image, hardly matter
    here: R is smooth where S has its cusp, and S + R stays positive. Photons are all positive
    (`skyloom.shooting`). Without a residual the object is exactly a sheared and shifted `galsim.Sersic`.

    The object carries its decoded residual, so pickles, copies and ``eval(repr(galaxy))`` need no model.

    Parameters
    ----------
    sersic_n : float
        Within GalSim's range, 0.3 to 6.2.
    flux : float
        Total flux of Sersic and residual.
    jacobian : array_like, shape (2, 2)
        Canonical frame to the sky, arcsec per canonical unit.
    half_light_radius : float
        Arcsec, circularised: the ellipse about the profile's origin with semi-axes half_light_radius /
        sqrt(q), along `beta`, and half_light_radius sqrt(q) holds half of the flux. The dilation in the
        Jacobian makes it so (`skyloom.normalise`); it isn't measured anew here.
    q : float
        Axis ratio b/a in (0, 1].
    beta : galsim.Angle or float
        Position angle of the major axis from +x towards +y; a number is in radians.
    residual : array_like, shape (G, G), optional
        Float32; R in units of the Sersic's flux per canonical area, rows along +y, true centre at the origin.
    grid_scale : float
        Canonical units per grid point; needed with a residual.
    offset : (float, float)
        Of the profile's origin from the object's (0, 0), arcsec.
    galaxy_id : int, optional
    generator : str
        Name of the generator that drew it.
    weights_sha256 : str
        Of the generator's weights.
    drawn_from : str
        ``learned``, ``clipped`` or ``parametric``.
    wavelength : float, optional
        Observed, nm.
    redshift : float, optional
        GalSim's own default, 0, where not known.
    gsparams : galsim.GSParams, optional

    Raises
    ------
    galsim.GalSimError
        `GalSimRangeError` for a number outside its range, `GalSimValueError` for one that isn't finite or an
        array of the wrong shape, `GalSimIncompatibleValuesError` where the Jacobian's ellipse is not that of
        `q` and `beta`.
    """

    _lazy = ("_inner", "_shooter", "_flux_ratio", "_hash")
    _negative_flux = 0.0
    _flux_per_photon = 1.0

    def __init__(
        self,
        *,
        sersic_n: float,
        flux: float,
        jacobian: ArrayLike,
        half_light_radius: float,
        q: float,
        beta: galsim.Angle | float,
        residual: ArrayLike | None = None,
        grid_scale: float = 0.0,
        offset: ArrayLike = (0.0, 0.0),
        galaxy_id: int | None = None,
        generator: str = "",
        weights_sha256: str = "",
        drawn_from: str | None = None,
        wavelength: float | None = None,
        redshift: float | None = None,
        gsparams: galsim.GSParams | None = None,
    ) -> None:
        self._gsparams = galsim.GSParams.check(gsparams)
        self._sersic_n = within("sersic_n", sersic_n, galsim.Sersic._minimum_n, galsim.Sersic._maximum_n)
        self._half_light_radius = within("half_light_radius", half_light_radius)
        self._q = within("q", q, high=1.0)
        self._flux = float(finite("flux", flux))
        self._beta = float(finite("beta", getattr(beta, "rad", beta)))
        self._jacobian = finite("jacobian", jacobian, (2, 2))
        self._offset = finite("offset", offset, (2,))
        self._residual = None if residual is None else square_grid("residual", residual)
        self._grid_scale = 0.0 if residual is None else within("grid_scale", grid_scale)
        check_ellipse(self._jacobian, self._q, self._beta)
        if not self._flux_ratio > 0:
            raise galsim.GalSimValueError("residual takes away all of the Sersic's light", self._flux_ratio)
        self.galaxy_id = None if galaxy_id is None else int(galaxy_id)
        self.generator = str(generator)
        self.weights_sha256 = str(weights_sha256)
        self.drawn_from = drawn_from or ("parametric" if residual is None else "learned")
        self.wavelength = known(wavelength)
        if known(redshift) is not None:
            self.redshift = known(redshift)

    @classmethod
    def from_batch(cls, batch: ProfileBatch, i: int, gsparams: galsim.GSParams | None = None) -> LearnedGalaxy:
        """Galaxy `i` of a batch; negative numbers count from the end.

        Raises
        ------
        IndexError
            When the batch has no such galaxy.
        """
        return cls(
            sersic_n=batch.sersic_n[i],
            flux=batch.flux[i],
            jacobian=batch.jacobian[i],
            half_light_radius=batch.half_light_radius[i],
            q=batch.q[i],
            beta=batch.beta[i],
            residual=None if batch.residual is None else batch.residual[i],
            grid_scale=batch.grid_scale,
            offset=batch.offset[i],
            galaxy_id=batch.galaxy_id[i],
            generator=batch.generator,
            weights_sha256=batch.weights_sha256,
            drawn_from=str(batch.drawn_from[i]),
            wavelength=None if batch.wavelength is None else batch.wavelength[i],
            redshift=None if batch.redshift is None else batch.redshift[i],
            gsparams=gsparams,
        )

    sersic_n = property(lambda self: self._sersic_n, doc="Sersic index of the analytic part.")
    half_light_radius = property(lambda self: self._half_light_radius, doc="Arcsec; see the class.")
    q = property(lambda self: self._q, doc="Axis ratio b/a.")
    beta = property(lambda self: self._beta * galsim.radians, doc="Position angle of the major axis, an Angle.")
    jacobian = property(lambda self: self._jacobian, doc="Arcsec per canonical unit, (2, 2), read-only.")
    residual = property(lambda self: self._residual, doc="Float32, shape (G, G), read-only; or None.")
    grid_scale = property(lambda self: self._grid_scale, doc="Canonical units per grid point.")
    offset = property(lambda self: galsim.PositionD(*self._offset), doc="Of the profile's origin, arcsec.")

    @cached_property
    def _flux_ratio(self) -> float:
        """Total flux in units of the Sersic's."""
        if self._residual is None:
            return 1.0
        return 1.0 + float(self._residual.sum(dtype=np.float64)) * self._grid_scale**2

    @property
    def _amplitude(self) -> float:
        """Flux of the Sersic part."""
        return self._flux / self._flux_ratio

    @property
    def _sersic(self) -> galsim.Sersic:
        return galsim.Sersic(self._sersic_n, half_light_radius=1.0, flux=self._amplitude, gsparams=self._gsparams)

    def _build(self) -> galsim.Transformation:
        canonical = self._sersic
        if self._residual is not None:
            # As pixel fluxes in float64: GalSim's own scaling of surface brightness fails for a sum of zero.
            pixels = self._residual.astype(np.float64) * (self._amplitude * self._grid_scale**2)
            threshold = self._gsparams.maxk_threshold * self._flux_ratio
            learned = galsim.InterpolatedImage(
                galsim.Image(pixels, scale=self._grid_scale),
                x_interpolant=galsim.Quintic(gsparams=self._gsparams),
                pad_factor=6,  # with 4 GalSim interpolates its k table to 2e-5 of the flux, with 6 to 1e-6
                calculate_stepk=False,
                calculate_maxk=False,
                _force_stepk=2 * math.pi / (len(pixels) * self._grid_scale),
                _force_maxk=band_limit(self._residual, self._grid_scale, threshold),
                gsparams=self._gsparams,
            )
            canonical = galsim.Sum(canonical, learned, gsparams=self._gsparams)
        # GalSim's transformations keep the surface brightness, not the flux.
        area = abs(self._jacobian[0, 0] * self._jacobian[1, 1] - self._jacobian[0, 1] * self._jacobian[1, 0])
        return galsim.Transform(canonical, self._jacobian, self._offset, 1.0 / area, gsparams=self._gsparams)

    @cached_property
    def _shooter(self) -> ResidualShooter:
        assert self._residual is not None  # without one the Sersic's own photons are shot
        return ResidualShooter(self._sersic_n, self._residual, self._grid_scale)

    def withFlux(self, flux: float) -> galsim.GSObject:
        """Copy with another total flux, still a LearnedGalaxy."""
        if callable(flux):  # an SED: GalSim's business
            return super().withFlux(flux)
        return LearnedGalaxy(**{**self._arguments(), "flux": flux}, gsparams=self._gsparams)

    def _arguments(self) -> dict[str, Any]:
        return {
            "sersic_n": self._sersic_n,
            "flux": self._flux,
            "jacobian": self._jacobian,
            "half_light_radius": self._half_light_radius,
            "q": self._q,
            "beta": self._beta,
            "residual": self._residual,
            "grid_scale": self._grid_scale,
            "offset": self._offset,
            "galaxy_id": self.galaxy_id,
            "generator": self.generator,
            "weights_sha256": self.weights_sha256,
            "drawn_from": self.drawn_from,
            "wavelength": self.wavelength,
            "redshift": self.__dict__.get("redshift"),
        }

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, LearnedGalaxy) or self._gsparams != other._gsparams:
            return False
        mine, theirs = self._arguments(), other._arguments()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        values = self._arguments()
        del values["redshift"]  # which GalSim's config sets later
        for name in ("jacobian", "residual", "offset"):
            # Adding zero makes -0.0 and 0.0, which are equal, hash alike.
            values[name] = None if values[name] is None else (values[name] + 0).tobytes()
        return hash(("skyloom.LearnedGalaxy", *values.values(), self._gsparams))

    def __repr__(self) -> str:
        # By way of __import__, as GalSim's own tests evaluate it where no name but galsim's is known.
        values = self._arguments()
        values["jacobian"], values["offset"] = self._jacobian.tolist(), tuple(self._offset.tolist())
        text = {name: repr(value) for name, value in values.items()}
        if self._residual is not None:  # nine digits are exact for float32
            rows = (", ".join(f"{v:.9g}" for v in row) for row in self._residual.tolist())
            text["residual"] = "[" + ", ".join(f"[{row}]" for row in rows) + "]"
        arguments = ", ".join(f"{name}={value}" for name, value in text.items())
        return f"__import__('skyloom.galaxy').galaxy.LearnedGalaxy({arguments}, gsparams={self._gsparams!r})"

    def __str__(self) -> str:
        numbers = f"flux={self._flux:g}, half_light_radius={self._half_light_radius:g}"
        return (
            f"skyloom.LearnedGalaxy(galaxy_id={self.galaxy_id}, generator={self.generator!r}, "
            f"sersic_n={self._sersic_n:g}, {numbers}, q={self._q:g}, beta={self._beta:g})"
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        for array in (self._jacobian, self._offset, self._residual):
            if array is not None:
                array.flags.writeable = False  # which pickle forgets

    @property
    def _positive_flux(self) -> float:
        return self._flux

    @property
    def _centroid(self) -> galsim.PositionD:
        if self._residual is None:
            return self.offset
        size = len(self._residual)
        axis = (np.arange(size) - (size - 1) / 2) * self._grid_scale
        learned = self._residual.astype(np.float64) * (self._grid_scale**2 / self._flux_ratio)
        moment = np.array([learned.sum(0) @ axis, learned.sum(1) @ axis])
        return galsim.PositionD(*(self._jacobian @ moment + self._offset))

    def _shoot(self, photons: galsim.PhotonArray, rng: galsim.BaseDeviate) -> None:
        if self._residual is None:
            super()._shoot(photons, rng)
            return
        x, y = self._shooter.shoot(len(photons), self._sersic, rng)
        (a, b), (c, d) = self._jacobian
        photons.x = a * x + b * y + self._offset[0]
        photons.y = c * x + d * y + self._offset[1]
        photons.flux = self._flux / max(len(photons), 1)
