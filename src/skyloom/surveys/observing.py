"""`ObservingConditions`: what a survey's image is taken with, every number with its unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

from skyloom.errors import ConfigError

if TYPE_CHECKING:
    import galsim

__all__ = ["ObservingConditions"]

RANGES: dict[str, tuple[float, float]] = {
    "pixel_scale": (1e-4, 100.0),
    "zero_point": (-10.0, 60.0),
    "exptime": (1e-3, 1e9),
    "sky_level": (0.0, 1e12),
    "gain": (1e-3, 1e4),
    "read_noise": (0.0, 1e6),
    "wavelength": (10.0, 1e6),
}


@dataclass(frozen=True)
class ObservingConditions:
    """Telescope, detector and sky of one image.

    Parameters
    ----------
    name : str
        The survey's name, e.g. ``"lsst_i"``.
    pixel_scale : float
        arcsec/pixel.
    zero_point : float
        AB magnitude of a source that gives one electron a SECOND.
    exptime : float
        Seconds; of all exposures together where the image is a co-add.
    sky_level : float
        Sky, and what else the detector collects without a source, over the exposure: ADU/arcsec^2.
    gain : float
        Electrons per ADU.
    read_noise : float
        Electrons a pixel (one sigma), of all read-outs together.
    wavelength : float
        Effective wavelength of the band, nm.
    psf_factory : callable (x, y, wavelength) -> galsim.GSObject
        See `psf`. A plain `galsim.GSObject` is taken for a PSF that is the same everywhere.
    band : str
        The filter.
    source : str
        Where the numbers come from.

    Raises
    ------
    ConfigError
        For a number that is missing, not finite or absurd.
    """

    name: str
    pixel_scale: float
    zero_point: float
    exptime: float
    sky_level: float
    gain: float
    read_noise: float
    wavelength: float
    psf_factory: Callable[..., galsim.GSObject] = field(repr=False)
    band: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
                raise ConfigError(f"survey '{self.name}': {name} is {value!r}, not within [{low:g}, {high:g}]")
            object.__setattr__(self, name, float(value))
        if not callable(self.psf_factory) and not hasattr(self.psf_factory, "drawImage"):
            raise ConfigError(f"survey '{self.name}': the PSF is {self.psf_factory!r:.60}, not a GalSim object")

    @classmethod
    def from_mapping(cls, name: str, given: Mapping[str, Any]) -> ObservingConditions:
        """Read what a plugin's `Survey.load` returned, with ``psf`` for a GSObject or a factory.

        Raises
        ------
        ConfigError
            For a key that is missing or unknown.
        """
        values = dict(given)
        if "psf" in values:
            values["psf_factory"] = values.pop("psf")
        needed = {*RANGES, "psf_factory"}
        if missing := sorted(needed - set(values)):
            raise ConfigError(f"survey '{name}' lacks {', '.join(missing).replace('psf_factory', 'psf')}")
        if unknown := sorted(set(values) - needed - {"band", "source", "name"}):
            raise ConfigError(f"survey '{name}' has unknown keys: {', '.join(map(str, unknown))}")
        return cls(**{**values, "name": name})

    def psf(self, x: float | None = None, y: float | None = None, wavelength: float | None = None) -> galsim.GSObject:
        """PSF at a place of the image, without the pixel's response, of flux 1 and in arcsec.

        Parameters
        ----------
        x, y : float, optional
            Pixels, 1-based; the middle of the image or detector by default.
        wavelength : float, optional
            nm, observed; the band's effective wavelength by default.
        """
        if hasattr(self.psf_factory, "drawImage"):
            return self.psf_factory
        return self.psf_factory(x, y, self.wavelength if wavelength is None else float(wavelength))

    @property
    def exposure_zero_point(self) -> float:
        """AB magnitude that gives one electron over the EXPOSURE: `zero_point` of `skyloom.Conditions`."""
        return self.zero_point + 2.5 * math.log10(self.exptime)

    @property
    def sky_electrons(self) -> float:
        """Expected electrons a pixel without a source, over the exposure."""
        return self.sky_level * self.gain * self.pixel_scale**2

    @property
    def sky_brightness(self) -> float:
        """AB mag/arcsec^2 of the sky level; infinite where there is none."""
        rate = self.sky_level * self.gain / self.exptime
        return self.zero_point - 2.5 * math.log10(rate) if rate > 0 else math.inf

    @property
    def noise_per_pixel(self) -> float:
        """Electrons (one sigma) a pixel of sky and read-out."""
        return math.hypot(math.sqrt(self.sky_electrons), self.read_noise)
