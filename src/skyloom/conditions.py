"""`Conditions`: the physical inputs of galaxies, one row a galaxy, checked whole when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyloom.errors import ConditionsError
from skyloom.units import flux_from_mag, mag_from_flux, to_unit

__all__ = ["PHYSICAL_RANGES", "Conditions"]

PHYSICAL_RANGES: dict[str, tuple[float, float]] = {
    "mag": (-40.0, 60.0),
    "flux": (1e-30, 1e30),
    "zero_point": (-40.0, 60.0),
    "half_light_radius": (1e-6, 3600.0),
    "sersic_n": (0.3, 6.2),
    "q": (1e-3, 1.0),
    "beta": (-1e6, 1e6),
    "wavelength": (10.0, 1e6),
    "redshift": (-0.01, 30.0),
}
"""Closed ranges outside which a value is a mistake, in the units of `skyloom.units.COLUMN_UNITS`.

The Sersic index has GalSim's range. A generator's own, narrower ranges stand in its `GeneratorSpec`.
"""

_OPTIONAL = ("wavelength", "redshift", "zero_point")
Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Conditions:
    """Physical inputs for N galaxies.

    Scalars are repeated for every galaxy; astropy Quantities and Columns are converted to the units below.

    Parameters
    ----------
    galaxy_id : array_like of int, optional
        Unique 64-bit integers; counts from 0 when left out. The identity of a galaxy: one id and seed always give
        the same galaxy, in every band.
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
        Position angle of the major axis from +x towards +y, radians. Zero by default.
    wavelength : array_like, optional
        Observed, nm. A masked entry means "not known".
    redshift : array_like, optional
        A masked entry means "not known".

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
        }
        _require(given)
        raw = {name: _plain(name, values) for name, values in given.items() if values is not None}
        size = _common_size(raw, galaxy_id)
        ids = _galaxy_ids(galaxy_id, size)
        columns = {name: _column(name, values, mask, ids) for name, (values, mask) in raw.items()}
        if "mag" in columns:
            columns["flux"] = flux_from_mag(columns["mag"], columns["zero_point"])
            _check_range("flux", columns["flux"], None, ids)
        elif "zero_point" in columns:
            columns["mag"] = mag_from_flux(columns["flux"], columns["zero_point"])
        for values in (*columns.values(), ids):
            values.flags.writeable = False
        object.__setattr__(self, "galaxy_id", ids)
        object.__setattr__(self, "_size", size)
        for name in given:
            object.__setattr__(self, name, columns.get(name))

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
        names = _column_names(table)
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
            object.__setattr__(new, name, None if values is None else values[rows])
        return new

    def replace(self, **columns: Any) -> Conditions:
        """Copy with some columns replaced, and checked again; replacing ``flux`` drops ``mag`` and the reverse."""
        now: dict[str, Any] = {name: getattr(self, name) for name in ("galaxy_id", *self.columns())}
        now.update(columns)
        now.pop("mag" if "flux" in columns or now["mag"] is None else "flux")
        for name in ("wavelength", "redshift"):  # NaN means "not known" inside, masked outside
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


def _plain(name: str, values: Any) -> tuple[Column, NDArray[np.bool_] | None]:
    """Numbers in the column's unit, and a mask of entries that are not known."""
    mask = getattr(values, "mask", None)
    try:
        data = np.ma.getdata(np.asanyarray(to_unit(name, values)))
        if hasattr(data, "unmasked"):  # astropy's Masked
            data = data.unmasked
        if data.dtype.kind not in "iufb":
            data = np.array([getattr(v, "rad", v) for v in np.atleast_1d(data)])  # galsim.Angle objects
        numbers = np.array(data, dtype=np.float64)  # also brings big-endian columns of FITS files home
    except (TypeError, ValueError) as exc:
        if isinstance(exc, ConditionsError):
            raise
        raise ConditionsError(f"column '{name}' holds {values!r:.60}, which are not numbers") from exc
    if numbers.ndim > 1:
        raise ConditionsError(f"column '{name}' must have one value a galaxy, not shape {numbers.shape}")
    known = None if mask is None or not np.any(mask) else np.broadcast_to(np.asarray(mask, dtype=bool), numbers.shape)
    return numbers, known


def _common_size(raw: Mapping[str, tuple[Column, Any]], galaxy_id: Any) -> int:
    sizes = {name: len(values) for name, (values, _) in raw.items() if values.ndim}
    if galaxy_id is not None and np.ndim(galaxy_id):
        sizes["galaxy_id"] = len(np.asarray(galaxy_id))
    if len(set(sizes.values())) > 1:
        raise ConditionsError("columns differ in length: " + ", ".join(f"{k} has {v}" for k, v in sizes.items()))
    return next(iter(sizes.values()), 1)


def _galaxy_ids(galaxy_id: Any, size: int) -> NDArray[np.int64]:
    if galaxy_id is None:
        return np.arange(size, dtype=np.int64)
    mask = np.ma.getmaskarray(np.ma.asanyarray(galaxy_id)) if hasattr(galaxy_id, "mask") else None
    ids = np.atleast_1d(np.ma.getdata(np.asanyarray(galaxy_id)))
    if mask is not None and np.any(mask):
        raise ConditionsError(f"column 'galaxy_id', row {int(np.argmax(mask))}: the value is masked")
    if ids.ndim > 1:
        raise ConditionsError(f"column 'galaxy_id' must have one value a galaxy, not shape {ids.shape}")
    if ids.dtype.kind not in "iu" or (ids.dtype.kind == "u" and ids.size and int(ids.max()) >= 1 << 63):
        raise ConditionsError(f"column 'galaxy_id' must hold 64-bit integers, not {ids.dtype} ({ids[:1]!r})")
    ids = ids.astype(np.int64)
    if len(ids) != size:
        raise ConditionsError(f"columns differ in length: galaxy_id has {len(ids)}, others have {size}")
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(np.diff(ids[order]) == 0)
    if same.size:
        first, second = sorted((int(order[same[0]]), int(order[same[0] + 1])))
        raise ConditionsError(f"column 'galaxy_id', row {second}: {ids[second]} stands in row {first} already")
    return ids


def _column(name: str, values: Column, mask: NDArray[np.bool_] | None, ids: NDArray[np.int64]) -> Column:
    column = np.array(np.broadcast_to(values, ids.shape))
    if mask is not None:
        mask = np.broadcast_to(mask, ids.shape)
        if name not in _OPTIONAL[:2]:
            row = int(np.argmax(mask))
            raise ConditionsError(f"column '{name}', row {row} (galaxy {ids[row]}): the value is masked")
    _check_range(name, column, mask, ids)
    if mask is not None:
        column[mask] = np.nan
    return column


def _check_range(name: str, column: Column, mask: NDArray[np.bool_] | None, ids: NDArray[np.int64]) -> None:
    low, high = PHYSICAL_RANGES[name]
    bad = ~((column >= low) & (column <= high))  # NaN compares false
    if mask is not None:
        bad &= ~mask
    if bad.any():
        row = int(np.argmax(bad))
        more = int(bad.sum()) - 1
        raise ConditionsError(
            f"column '{name}', row {row} (galaxy {ids[row]}): {float(column[row])!r} is not within [{low:g}, {high:g}]"
            + (f" (and {more} more rows)" if more else "")
        )


def _column_names(table: Any) -> list[str]:
    for attribute in ("colnames", "dtype"):
        found = getattr(table, attribute, None)
        names = getattr(found, "names", found)
        if names is not None:
            return list(names)
    if hasattr(table, "keys"):
        return list(table.keys())
    raise ConditionsError(f"a table, structured array or mapping is needed, not {type(table).__name__}")
