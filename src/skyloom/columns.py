"""Reading and checking one column of galaxy inputs: numbers, unit, mask, range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import ConditionsError
from skyloom.units import to_unit

__all__ = [
    "MAY_BE_UNKNOWN",
    "PHYSICAL_RANGES",
    "check_range",
    "column_names",
    "common_size",
    "finished_column",
    "plain_column",
    "read_ids",
]

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
    "structure_radius": (1e-6, 3600.0),
}
"""Closed ranges outside which a value is a mistake, in the units of `skyloom.units.COLUMN_UNITS`.

The Sersic index has GalSim's range. A generator's own, narrower ranges stand in its `GeneratorSpec`.
"""

MAY_BE_UNKNOWN = ("wavelength", "redshift", "structure_radius")
"""Columns that may be masked; NaN inside."""

Column = NDArray[np.float64]


def plain_column(name: str, values: Any) -> tuple[Column, NDArray[np.bool_] | None]:
    """Numbers in the column's unit, and a mask of entries that are not known."""
    mask = getattr(values, "mask", None)
    try:
        data = np.ma.getdata(np.asanyarray(to_unit(name, values)))
        if hasattr(data, "unmasked"):  # astropy's Masked
            data = data.unmasked
        if data.dtype.kind == "O":  # Python numbers or galsim.Angle objects
            data = np.array([getattr(v, "rad", v) for v in np.atleast_1d(data)])
        if data.dtype.kind not in "iuf":  # NumPy would take "1.5", None and dates for numbers
            raise TypeError(f"{data.dtype} is no kind of real number")
        numbers = np.array(data, dtype=np.float64)  # also brings big-endian columns of FITS files home
    except (TypeError, ValueError) as exc:
        if isinstance(exc, ConditionsError):
            raise
        raise ConditionsError(_not_numbers(name, values)) from exc
    if numbers.ndim > 1:
        raise ConditionsError(f"column '{name}' must have one value a galaxy, not shape {numbers.shape}")
    known = None if mask is None or not np.any(mask) else np.broadcast_to(np.asarray(mask, dtype=bool), numbers.shape)
    return numbers, known


def _not_numbers(name: str, values: Any) -> str:
    entries = np.asarray(values, dtype=object)
    if entries.ndim == 0:
        return f"column '{name}' holds {entries.item()!r:.60}, which is not a number"
    suspects = [(row, v) for row, v in enumerate(entries) if isinstance(v, bool) or not isinstance(v, Real)]
    if not suspects:
        return f"column '{name}' holds values that are not numbers"
    row, value = next(((row, v) for row, v in suspects if not _spells_number(v)), suspects[0])
    return f"column '{name}', row {row}: {value!r:.60} is {'text, ' * _spells_number(value)}not a number"


def _spells_number(value: Any) -> bool:
    try:
        return isinstance(value, (str, bytes)) and math.isfinite(float(value))
    except ValueError:
        return False


def common_size(raw: Mapping[str, tuple[Column, Any]], galaxy_id: Any) -> int:
    """Number of galaxies; one when there are only scalars."""
    sizes = {name: len(values) for name, (values, _) in raw.items() if values.ndim}
    if galaxy_id is not None and np.ndim(galaxy_id):
        sizes["galaxy_id"] = len(np.asarray(galaxy_id))
    if len(set(sizes.values())) > 1:
        raise ConditionsError("columns differ in length: " + ", ".join(f"{k} has {v}" for k, v in sizes.items()))
    return next(iter(sizes.values()), 1)


def read_ids(galaxy_id: Any, size: int) -> NDArray[np.int64]:
    """Galaxy ids as native 64-bit integers, each once; a count from 0 for None."""
    if galaxy_id is None:
        return np.arange(size, dtype=np.int64)
    mask = np.ma.getmaskarray(np.ma.asanyarray(galaxy_id)) if hasattr(galaxy_id, "mask") else None
    ids = np.atleast_1d(np.asarray(np.ma.getdata(np.asanyarray(galaxy_id))))  # plain, also of a table's Column
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


def finished_column(name: str, values: Column, mask: NDArray[np.bool_] | None, ids: NDArray[np.int64]) -> Column:
    """One checked value a galaxy; NaN where it is not known and need not be."""
    column = np.array(np.broadcast_to(values, ids.shape))
    if mask is not None:
        mask = np.broadcast_to(mask, ids.shape)
        if name not in MAY_BE_UNKNOWN:
            row = int(np.argmax(mask))
            raise ConditionsError(f"column '{name}', row {row} (galaxy {ids[row]}): the value is masked")
    check_range(name, column, mask, ids)
    if mask is not None:
        column[mask] = np.nan
    return column


def check_range(name: str, column: Column, mask: NDArray[np.bool_] | None, ids: NDArray[np.int64]) -> None:
    """Raise unless all values that are not masked lie in `PHYSICAL_RANGES`."""
    low, high = PHYSICAL_RANGES[name]
    bad = ~((column >= low) & (column <= high))  # NaN compares false
    if mask is not None:
        bad &= ~mask
    if bad.any():
        row = int(np.argmax(bad))
        more = int(bad.sum()) - 1
        raise ConditionsError(
            f"column '{name}', row {row} (galaxy {ids[row]}): {float(column[row])!r} is not within "
            f"[{low:g}, {high:g}]" + (f" (and {more} more row{'s' if more > 1 else ''})" if more else "")
        )


def column_names(table: Any) -> list[str]:
    """Names of the columns of an astropy Table, a structured array or a mapping."""
    for attribute in ("colnames", "dtype"):
        found = getattr(table, attribute, None)
        names = getattr(found, "names", found)
        if names is not None:
            return list(names)
    if hasattr(table, "keys"):
        return list(table.keys())
    raise ConditionsError(f"a table, structured array or mapping is needed, not {type(table).__name__}")
