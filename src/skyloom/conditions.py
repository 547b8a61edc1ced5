"""`Conditions`: the physical inputs of galaxies, one row a galaxy, checked whole when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyloom.columns import (
    MAY_BE_UNKNOWN,
    PHYSICAL_RANGES,
    check_range,
    column_names,
    common_size,
    finished_column,
    plain_column,
    read_ids,
)
from skyloom.errors import ConditionsError
from skyloom.units import flux_from_mag, mag_from_flux

__all__ = ["PHYSICAL_RANGES", "Conditions"]

Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Conditions:
    """Physical inputs for N galaxies.

    Scalars are repeated for every galaxy; astropy Quantities and Columns are converted to the units below.

    Parameters
    ----------
    galaxy_id : array_like of int, optional
        Unique 64-bit integers; counts from 0 when left out. The identity of a galaxy: one id and seed always
        give the same galaxy, in every band.
    mag : array_like, optional
        AB magnitude; needs `zero_point`. Exactly one of `mag` and `flux` is given.
    flux : array_like, optional
        Electrons over the exposure, positive.
    zero_point : array_like, optional
        AB magnitude that gives one electron over the exposure.
    half_light_radius : array_like
        Circularised, sqrt(ab), arcsec.
    sersic_n : array_like
        Sersic index, 0.3 to 6.2.
    q : array_like
        Axis ratio b/a in (0, 1]. One by default.
    beta : array_like or galsim.Angle
        Position angle of the major axis from +x towards +y, radians. Zero by default. Angles that differ by pi give
        the same galaxy; give one angle for all bands of a galaxy, for its structure turns with it.
    wavelength : array_like, optional
        Observed, nm. A masked entry means "not known".
    redshift : array_like, optional
        A masked entry means "not known".
    structure_radius : array_like, optional
        Half-light radius of the galaxy that all its bands share, circularised, arcsec: arms and clumps are scaled
        with it, so that they stay where they are on the sky while `half_light_radius` changes from band to band.
        The row's `half_light_radius` where left out or masked.

    Attributes
    ----------
    mag : ndarray or None
        None when `flux` was given without a zero point.

    Raises
    ------
    ConditionsError
        One message that names column, row, galaxy and value.
    """

    galaxy_id: NDArray[np.int64]
    flux: Column
    half_light_radius: Column
    sersic_n: Column
    q: Column
    beta: Column
    mag: Column | None = None
    zero_point: Column | None = None
    wavelength: Column | None = None
    redshift: Column | None = None
    structure_radius: Column | None = None
    _size: int = field(default=0, repr=False)

    def __init__(
        self,
        *,
        galaxy_id: ArrayLike | None = None,
        mag: ArrayLike | None = None,
        flux: ArrayLike | None = None,
        zero_point: ArrayLike | None = None,
        half_light_radius: ArrayLike | None = None,
        sersic_n: ArrayLike | None = None,
        q: ArrayLike = 1.0,
        beta: ArrayLike = 0.0,
        wavelength: ArrayLike | None = None,
        redshift: ArrayLike | None = None,
        structure_radius: ArrayLike | None = None,
    ) -> None:
        given = {
            "mag": mag,
            "flux": flux,
            "zero_point": zero_point,
            "half_light_radius": half_light_radius,
            "sersic_n": sersic_n,
            "q": q,
            "beta": beta,
            "wavelength": wavelength,
            "redshift": redshift,
            "structure_radius": structure_radius,
        }
        _require(given)
        raw = {name: plain_column(name, values) for name, values in given.items() if values is not None}
        size = common_size(raw, galaxy_id)
        ids = read_ids(galaxy_id, size)
        columns = {name: finished_column(name, values, mask, ids) for name, (values, mask) in raw.items()}
        if "mag" in columns:
            columns["flux"] = flux_from_mag(columns["mag"], columns["zero_point"])
            check_range("flux", columns["flux"], None, ids)
        elif "zero_point" in columns:
            columns["mag"] = mag_from_flux(columns["flux"], columns["zero_point"])
        object.__setattr__(self, "galaxy_id", _frozen(ids))
        object.__setattr__(self, "_size", size)
        for name in given:
            object.__setattr__(self, name, _frozen(columns[name]) if name in columns else None)

    @classmethod
    def from_table(cls, table: Any, **overrides: Any) -> Conditions:
        """Read the columns from an astropy Table, a structured array or a mapping.

        Parameters
        ----------
        table : astropy.table.Table, numpy structured array or mapping
            Columns with the names of the parameters of `Conditions`; others are left alone.
        **overrides
            Parameters given here win over the table's, e.g. ``zero_point=24.6``.

        Raises
        ------
        ConditionsError
            As the constructor's, also when the table has none of the names.
        """
        names = column_names(table)
        known = [f.name for f in fields(cls) if not f.name.startswith("_")]
        picked = {name: table[name] for name in known if name in names and name not in overrides}
        if not picked:
            raise ConditionsError(
                f"the table has none of the columns {', '.join(known)}; it has {', '.join(map(str, names)) or 'none'}"
            )
        return cls(**picked, **overrides)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Conditions:
        """Rows of `index` (integer, slice, mask or integer array) as new Conditions."""
        rows = np.atleast_1d(np.arange(self._size)[index])
        new = object.__new__(Conditions)
        object.__setattr__(new, "_size", len(rows))
        for name in ("galaxy_id", *self.columns()):
            values = getattr(self, name)
            object.__setattr__(new, name, None if values is None else _frozen(values[rows]))
        return new

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():  # pickle forgets that arrays are read-only
            object.__setattr__(self, name, _frozen(value) if isinstance(value, np.ndarray) else value)

    def replace(self, **columns: Any) -> Conditions:
        """Copy with some columns replaced, all checked again.

        Replacing ``flux`` drops ``mag`` and the reverse.
        """
        for name in columns:
            if name != "galaxy_id" and name not in self.columns():
                raise ConditionsError(f"'{name}' is no column; there are galaxy_id, {', '.join(self.columns())}")
        now: dict[str, Any] = {name: getattr(self, name) for name in ("galaxy_id", *self.columns())}
        now.update(columns)
        if "mag" not in columns or "flux" not in columns:  # both: for the constructor to refuse
            now.pop("mag" if "flux" in columns or now["mag"] is None else "flux")
        for name in MAY_BE_UNKNOWN:  # NaN means "not known" inside, masked outside
            if now[name] is not None and name not in columns:
                now[name] = np.ma.masked_invalid(now[name])
        return Conditions(**now)

    def as_dict(self) -> dict[str, NDArray[Any]]:
        """All columns that are known, by name."""
        out: dict[str, NDArray[Any]] = {"galaxy_id": self.galaxy_id}
        out.update({n: getattr(self, n) for n in self.columns() if getattr(self, n) is not None})
        return out

    @staticmethod
    def columns() -> tuple[str, ...]:
        """Names of the columns beside `galaxy_id`."""
        return tuple(PHYSICAL_RANGES)


def _frozen(values: NDArray[Any]) -> NDArray[Any]:
    values.flags.writeable = False
    return values


def _require(given: Mapping[str, Any]) -> None:
    for name in ("half_light_radius", "sersic_n"):
        if given[name] is None:
            raise ConditionsError(f"column '{name}' is missing")
    if (given["mag"] is None) == (given["flux"] is None):
        raise ConditionsError("give exactly one of the columns 'mag' and 'flux'")
    if given["mag"] is not None and given["zero_point"] is None:
        raise ConditionsError(
            "column 'mag' needs 'zero_point' (the AB magnitude that gives one electron), or give 'flux' in electrons"
        )
