"""Units of the physical inputs, and how a column with another unit is brought to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import ConditionsError

__all__ = ["COLUMN_UNITS", "flux_from_mag", "mag_from_flux", "to_unit"]

COLUMN_UNITS: dict[str, str] = {
    "mag": "mag(AB)",
    "flux": "electron",
    "zero_point": "mag(AB)",
    "half_light_radius": "arcsec",
    "sersic_n": "",
    "q": "",
    "beta": "rad",
    "wavelength": "nm",
    "redshift": "",
    "structure_radius": "arcsec",
}
"""Unit each column of `skyloom.Conditions` is kept in (astropy's spelling; empty: a pure number)."""


def to_unit(name: str, values: Any) -> Any:
    """Bring an astropy ``Quantity`` or a `galsim.Angle` to the column's unit; pass plain numbers on.

    Parameters
    ----------
    name : str
        A key of `COLUMN_UNITS`.
    values : array_like, astropy.units.Quantity or galsim.Angle
        One value or one a galaxy.

    Returns
    -------
    array_like
        Numbers in ``COLUMN_UNITS[name]``.

    Raises
    ------
    ConditionsError
        When the unit cannot be converted.
    """
    unit = getattr(values, "unit", None)
    if unit is None:
        if name == "beta" and hasattr(values, "rad"):  # one galsim.Angle
            return float(values.rad)
        return values
    from astropy import units as u

    if isinstance(unit, u.UnrecognizedUnit):  # FITS knows neither 'electron' nor 'mag(AB)', astropy does
        unit = u.Unit(unit.to_string(), parse_strict="silent")
    wanted = COLUMN_UNITS[name]
    target = u.ABmag if wanted == "mag(AB)" else u.Unit(wanted)
    numbers = np.ma.getdata(getattr(values, "value", values))  # masks are the caller's business
    if hasattr(numbers, "unmasked"):
        numbers = numbers.unmasked
    if name in ("mag", "zero_point") and unit == u.mag:
        return numbers
    try:
        return (numbers * unit).to_value(target)
    except (u.UnitsError, TypeError, ValueError) as exc:
        wanted = f"'{wanted}'" if wanted else "a pure number"
        raise ConditionsError(f"column '{name}' has unit '{unit}', which does not convert to {wanted}") from exc


def flux_from_mag(mag: NDArray[np.float64], zero_point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flux in electrons of AB magnitudes: ``10**(-0.4 (mag - zero_point))``.

    Parameters
    ----------
    mag, zero_point : ndarray, shape (N,)
        AB magnitudes; `zero_point` is the magnitude that gives one electron over the exposure.
    """
    return np.asarray(10.0 ** (-0.4 * (mag - zero_point)), dtype=np.float64)


def mag_from_flux(flux: NDArray[np.float64], zero_point: NDArray[np.float64]) -> NDArray[np.float64]:
    """AB magnitude of a flux in electrons; the inverse of `flux_from_mag`."""
    return np.asarray(zero_point - 2.5 * np.log10(flux), dtype=np.float64)
