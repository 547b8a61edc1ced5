"""`read_catalogue`: a file's columns mapped by name to what galaxies are asked for with."""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.conditions import Conditions
from skyloom.errors import CatalogueError, ConditionsError
from skyloom.populations.catalogue import KINDS, Catalogue
from skyloom.populations.skycatalogs import is_skycatalogs, read_skycatalogs
from skyloom.populations.table_files import TableFile, open_table

__all__ = ["read_catalogue"]

OTHERS: dict[str, tuple[float, float]] = {
    "ra": (-360.0, 360.0),
    "dec": (-90.0, 90.0),
    "x": (-1e9, 1e9),
    "y": (-1e9, 1e9),
    "g1": (-1.0, 1.0),
    "g2": (-1.0, 1.0),
    "mu": (1e-3, 1e3),
    "gamma1": (-10.0, 10.0),
    "gamma2": (-10.0, 10.0),
    "kappa": (-10.0, 0.999),
}
"""Columns beside those of `Conditions`, in degrees, pixels and pure numbers, and what is no mistake."""
NAMES = ("galaxy_id", *Conditions.columns(), *OTHERS, "kind")


def read_catalogue(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str | float] | None = None,
    table: str | int | None = None,
    layout: str = "auto",
    band: str = "i",
    exptime: float = 1.0,
) -> Catalogue:
    """Read a catalogue, once a process: FITS, ECSV, CSV, Parquet, HDF5, or skyCatalogs' Parquet.

    Parameters
    ----------
    path : str or path
    columns : mapping of str to str or float, optional
        Our name to the file's, ``{"mag": "MAG_I"}``, or to a number for all rows, ``{"zero_point": 31.2}``. What is
        not mapped is taken from the column of our own name, whatever its case, where there is one. Ours are those
        of `Conditions`, ``ra``, ``dec`` (degrees), ``x``, ``y`` (pixels, the first is 1), ``g1``, ``g2``, ``mu``,
        or ``gamma1``, ``gamma2``, ``kappa`` in their place, and ``kind`` (``galaxy`` or ``star``, or true for a
        star).
    table : str or int, optional
        The HDU of a FITS file, the group or dataset of an HDF5 file.
    layout : str
        ``"plain"``, ``"skycatalogs"`` (see `read_skycatalogs`), or ``"auto"``: the latter where the file has its
        columns and `columns` maps none.
    band : str
        skyCatalogs: the flux column ``lsst_flux_<band>``.
    exptime : float
        skyCatalogs: seconds, by which fluxes a second become electrons.

    Returns
    -------
    Catalogue

    Raises
    ------
    CatalogueError
        Naming file, column, row, galaxy and value: a missing file or column, no rows, a duplicate id, NaN, a
        value that cannot be, an HDF5 file that declares more than it holds or points outside itself.
    """
    found = Path(path)
    if not found.is_file():
        open_table(found, table)  # says what is wrong
    state = found.stat()
    mapped = tuple(sorted((columns or {}).items()))
    for ours, theirs in mapped:
        if ours not in NAMES:
            near = difflib.get_close_matches(ours, NAMES, n=2)
            raise CatalogueError(
                f"columns: '{ours}' is no name of ours" + (f"; did you mean {' or '.join(near)}?" if near else "")
                + f" There are: {', '.join(NAMES)}"
            )  # fmt: skip
        if isinstance(theirs, bool) or not isinstance(theirs, (str, Real)):
            raise CatalogueError(f"columns: '{ours}' is a column's name or a number, not {theirs!r:.60}")
    if layout not in ("auto", "plain", "skycatalogs"):
        raise CatalogueError(f"layout is auto, plain or skycatalogs, not {layout!r:.60}")
    key = (found.resolve(), state.st_mtime_ns, state.st_size)
    return _read(found, key, mapped, table, layout, band, float(exptime))


@functools.lru_cache(maxsize=16)
def _read(
    path: Path,
    key: tuple[Any, ...],
    mapped: tuple[tuple[str, Any], ...],
    table: str | int | None,
    layout: str,
    band: str,
    exptime: float,
) -> Catalogue:
    """Read a file in this state; `key` is the cache's."""
    file = open_table(path, table)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        if layout == "skycatalogs" or (layout == "auto" and not mapped and is_skycatalogs(file)):
            return read_skycatalogs(path, file, sha256, band=band, exptime=exptime)
        return _plain(path, file, sha256, dict(mapped))
    except CatalogueError:
        raise
    except ConditionsError as exc:
        raise CatalogueError(f"catalogue '{path}': {exc}") from exc
    except Exception as exc:  # a damaged file may fail as late as here
        raise CatalogueError(f"catalogue '{path}' cannot be read: {type(exc).__name__}: {exc}") from exc


def _plain(path: Path, file: TableFile, sha256: str, mapped: dict[str, Any]) -> Catalogue:
    sources = _sources(path, file, mapped)
    raw = file.read(sorted({s for s in sources.values() if isinstance(s, str)}))
    given: dict[str, Any] = {ours: raw[s] if isinstance(s, str) else s for ours, s in sources.items()}
    others = {n: _numbers(path, n, given.pop(n), file.rows) for n in OTHERS if n in given}
    kind = _kinds(path, given.pop("kind"), file.rows) if "kind" in given else None
    if kind is not None:
        _blank_stars(given, kind == "star")
    given.setdefault("galaxy_id", np.arange(file.rows, dtype=np.int64))
    conditions = Conditions(**given)
    for first, second in (("ra", "dec"), ("x", "y"), ("g1", "g2"), ("gamma1", "gamma2")):
        if (first in others) != (second in others):
            raise CatalogueError(f"catalogue '{path}' has one of '{first}' and '{second}', and not the other")
    if {"gamma1", "kappa"} & set(others):
        zero = np.zeros(file.rows)
        shear = others.pop("gamma1", zero), others.pop("gamma2", zero), others.pop("kappa", zero)
        if {"g1", "mu"} & set(others):
            raise CatalogueError(f"catalogue '{path}' has both g1, g2, mu and gamma1, gamma2, kappa")
        others["g1"], others["g2"], others["mu"] = reduced(*shear)
    return Catalogue(conditions, path, sha256, kind=kind, **others)


def reduced(gamma1: Any, gamma2: Any, kappa: Any) -> tuple[Any, Any, Any]:
    """Reduced shear ``gamma / (1 - kappa)`` and magnification ``1 / ((1 - kappa)^2 - |gamma|^2)``."""
    return gamma1 / (1 - kappa), gamma2 / (1 - kappa), 1 / ((1 - kappa) ** 2 - gamma1**2 - gamma2**2)


def _sources(path: Path, file: TableFile, mapped: dict[str, Any]) -> dict[str, Any]:
    """The file's column, or the number, of each of our names."""
    lower: dict[str, list[str]] = {}
    for name in file.names:
        lower.setdefault(name.lower(), []).append(name)
    out = dict(mapped)
    for ours, theirs in mapped.items():
        if isinstance(theirs, str) and theirs not in file.names:
            near = difflib.get_close_matches(theirs, file.names, n=3, cutoff=0.5)
            raise CatalogueError(
                f"catalogue '{path}' has no column '{theirs}', which is mapped to '{ours}'"
                + (f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(file.names[:30])}")
            )
    for ours in NAMES:
        if ours in out or (ours == "flux" and "mag" in mapped) or (ours == "mag" and "flux" in mapped):
            continue
        choice = [ours] if ours in file.names else lower.get(ours, [])
        if len(choice) > 1:
            raise CatalogueError(f"catalogue '{path}' has {' and '.join(choice)} for '{ours}'; map one with columns=")
        if choice:
            out[ours] = choice[0]
    return out


def _numbers(path: Path, name: str, values: Any, rows: int) -> NDArray[np.float64]:
    unit = getattr(values, "unit", None)
    if unit is not None and name in ("ra", "dec"):
        values = values.quantity.to("deg").value if hasattr(values, "quantity") else values
    mask = np.ma.getmaskarray(np.ma.asanyarray(values))
    plain = np.broadcast_to(np.asarray(np.ma.getdata(np.asanyarray(values))), (rows,))
    if plain.dtype.kind not in "iuf":
        raise CatalogueError(f"catalogue '{path}': column '{name}' holds {plain.dtype}, not numbers")
    out = plain.astype(np.float64)
    low, high = OTHERS[name]
    bad = ~((out >= low) & (out <= high)) | np.broadcast_to(mask, (rows,))
    if bad.any():
        row = int(np.argmax(bad))
        raise CatalogueError(
            f"catalogue '{path}': column '{name}', row {row}: {float(out[row])!r} is not within [{low:g}, {high:g}]"
            if not np.broadcast_to(mask, (rows,))[row]
            else f"catalogue '{path}': column '{name}', row {row}: the value is masked"
        )
    return out


def _kinds(path: Path, values: Any, rows: int) -> NDArray[np.str_]:
    plain = np.broadcast_to(np.asarray(values), (rows,))
    if plain.dtype.kind in "bi":
        return np.where(plain != 0, "star", "galaxy")
    text = np.char.lower(np.char.strip(plain.astype(str)))
    unknown = ~np.isin(text, KINDS)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise CatalogueError(f"catalogue '{path}': column 'kind', row {row}: {text[row]!r:.40} is none of galaxy, star")
    return np.asarray(text)


def _blank_stars(given: dict[str, Any], star: NDArray[np.bool_]) -> None:
    """Give stars a size and shape that `Conditions` takes, whatever stands in the file."""
    for name, blank in (("half_light_radius", 1e-3), ("sersic_n", 1.0), ("q", 1.0), ("beta", 0.0)):
        if name in given and np.ndim(given[name]):
            new = given[name].copy()
            new[star] = blank
            given[name] = new
