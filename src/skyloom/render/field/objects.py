"""What a field is made of: rows of a catalogue, a table or a population, with their places and their lensing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.columns import column_names
from skyloom.conditions import Conditions
from skyloom.errors import BadInputError, ConditionsError
from skyloom.populations.catalogue import Catalogue
from skyloom.populations.read import OTHERS, read_catalogue
from skyloom.populations.registry import list_populations, load_population
from skyloom.populations.table_files import open_table
from skyloom.render.field.observing import Observing

__all__ = ["FieldObjects", "read_objects"]

Column = NDArray[np.float64]
_COLUMNS = ("x", "y", "ra", "dec", "g1", "g2", "mu")
_PAIRS = (("x", "y"), ("ra", "dec"), ("g1", "g2"))


@dataclass(frozen=True, eq=False)
class FieldObjects:
    """N objects; what is not known is None.

    Parameters
    ----------
    conditions : Conditions
        In the image's electrons and at its wavelength.
    kind : ndarray of str, shape (N,)
        ``galaxy``, ``star``, or another word.
    columns : mapping of str to ndarray, shape (N,)
        Of ``x``, ``y`` (pixels, the first is 1), ``ra``, ``dec`` (degrees), ``g1``, ``g2``, ``mu``.
    source : str
        Where they come from, in words.
    sha256 : str
        Of the file, where there is one.
    """

    conditions: Conditions
    kind: NDArray[np.str_]
    columns: Mapping[str, Column]
    source: str
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.conditions)


def read_objects(
    catalogue: Any,
    given: Mapping[str, Any],
    kind: Any,
    observing: Observing,
    *,
    seed: int,
    area: float,
    population: Mapping[str, Any],
) -> FieldObjects:
    """Bring a catalogue of any form to `FieldObjects`.

    Parameters
    ----------
    catalogue : Conditions, Catalogue, table, path or name of a population
    given : mapping
        Columns by name that replace the catalogue's; None for those that do not.
    kind : array_like of str, optional
        One word, or one an object.
    observing : Observing
        Its zero point turns magnitudes into electrons.
    seed : int
        Of a population.
    area : float
        Square degrees, of a population.
    population : mapping
        Options of a population.

    Raises
    ------
    BadInputError
        Naming column, row, galaxy and value.
    """
    found: dict[str, Any] = {}
    word: Any = None
    sha256 = ""
    if isinstance(catalogue, str) and catalogue in list_populations():
        conditions = load_population(catalogue).sample_area(area, seed=seed, **population)
        source = f"population {catalogue}"
    else:
        if population:
            raise BadInputError(
                f"population: options are for a population's name, not for a {type(catalogue).__name__}"
            )
        if isinstance(catalogue, (str, os.PathLike)):
            catalogue = _read_file(catalogue, observing)
        if isinstance(catalogue, Catalogue):
            conditions, word = catalogue.conditions, catalogue.kind
            found = {name: getattr(catalogue, name) for name in _COLUMNS}
            source, sha256 = catalogue.path.name, catalogue.sha256
        elif isinstance(catalogue, Conditions):
            conditions, source = catalogue, "Conditions"
        else:
            conditions = _from_table(catalogue, observing)
            names = column_names(catalogue)
            found = {name: catalogue[name] for name in _COLUMNS if name in names}
            word = catalogue["kind"] if "kind" in names else None
            source = type(catalogue).__name__
    found.update({name: value for name, value in given.items() if value is not None})
    ids = conditions.galaxy_id
    columns = {name: _column(name, values, ids) for name, values in found.items() if values is not None}
    for one, other in _PAIRS:
        if (one in columns) != (other in columns):
            here, missing = (one, other) if one in columns else (other, one)
            raise BadInputError(f"column '{here}' needs '{missing}' beside it")
    words = _kinds(word if kind is None else kind, len(ids))
    return FieldObjects(_for_image(conditions, observing), words, columns, source, sha256)


def _read_file(path: str | os.PathLike[str], observing: Observing) -> Catalogue:
    """Read a file; magnitudes without a zero point are given the image's."""
    place = Path(path)
    if isinstance(path, str) and not place.suffix and not place.exists():
        load_population(path)  # says which there are
    columns = {}
    if observing.exposure_zero_point is not None and place.is_file():
        names = {name.lower() for name in open_table(place).names}
        if "mag" in names and not {"zero_point", "flux"} & names:
            columns["zero_point"] = observing.exposure_zero_point
    return read_catalogue(place, columns=columns)


def _from_table(table: Any, observing: Observing) -> Conditions:
    names = column_names(table)
    if "mag" in names and not {"zero_point", "flux"} & set(names):
        if observing.exposure_zero_point is None:
            raise ConditionsError("column 'mag' needs a survey, or zero_point (AB magnitude of one electron a second)")
        return Conditions.from_table(table, zero_point=observing.exposure_zero_point)
    return Conditions.from_table(table)


def _for_image(conditions: Conditions, observing: Observing) -> Conditions:
    """Magnitudes stay and fluxes become the image's; an image has one wavelength."""
    changes: dict[str, Any] = {}
    if observing.exposure_zero_point is not None and conditions.mag is not None:
        changes["zero_point"] = observing.exposure_zero_point
    if observing.wavelength is not None:
        changes["wavelength"] = observing.wavelength
    return conditions.replace(**changes) if changes and len(conditions) else conditions


def _column(name: str, values: Any, ids: NDArray[np.int64]) -> Column:
    """One checked number an object, in degrees or pixels."""
    unit = getattr(values, "unit", None)
    if unit is not None and name in ("ra", "dec"):
        values = (values.quantity if hasattr(values, "quantity") else values).to("deg").value
    values = np.ma.filled(np.ma.asanyarray(values), np.nan) if hasattr(values, "mask") else np.asarray(values)
    if values.dtype.kind not in "iuf" or values.ndim > 1 or (values.ndim and len(values) != len(ids)):
        raise ConditionsError(f"column '{name}' must be one number an object ({len(ids)}), not {values.dtype} of shape "
                              f"{values.shape}")  # fmt: skip
    column = np.array(np.broadcast_to(values, ids.shape), dtype=np.float64)
    low, high = OTHERS[name]
    bad = ~((column >= low) & (column <= high))
    if bad.any():
        row = int(np.argmax(bad))
        error = ConditionsError(
            f"column '{name}', row {row} (galaxy {ids[row]}): {float(column[row])!r} is not within [{low:g}, {high:g}]"
        )
        error.galaxy_id = int(ids[row])
        raise error
    return column


def _kinds(kind: Any, count: int) -> NDArray[np.str_]:
    words = np.asarray("galaxy" if kind is None else kind).astype(str)
    if words.ndim > 1 or (words.ndim and len(words) != count):
        raise ConditionsError(f"column 'kind' must be one word, or one an object ({count}), not shape {words.shape}")
    return np.array(np.broadcast_to(np.char.strip(words), (count,)))
