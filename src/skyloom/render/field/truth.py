"""The truth table of a field: what was asked for, and what was drawn, a row an object on the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.profiles import ProfileBatch
from skyloom.render.field.objects import FieldObjects
from skyloom.render.field.painting import Part

__all__ = ["TruthRows"]

_ASKED = (
    "mag", "flux", "zero_point", "half_light_radius", "sersic_n", "q", "beta", "redshift", "wavelength",
)  # fmt: skip
_DRAWN = ("flux", "half_light_radius", "sersic_n", "q", "beta")
_LENSED = ("flux", "half_light_radius", "q", "beta")
_UNITS = {
    "x": "pix", "y": "pix", "ra": "deg", "dec": "deg", "half_light_radius": "arcsec", "beta": "rad",
    "wavelength": "nm", "mag": "mag", "zero_point": "mag", "flux": "electron",
}  # fmt: skip


class TruthRows:
    """Collects what became of the objects of a field, in whatever order.

    Parameters
    ----------
    count : int
        Objects in the catalogue.
    """

    def __init__(self, count: int) -> None:
        self.drawn = np.zeros(count, dtype=bool)
        self._numbers = {f"{name}": np.full(count, np.nan) for name in _DRAWN}
        self._numbers |= {f"lensed_{name}": np.full(count, np.nan) for name in _LENSED}
        self._whole = {name: np.zeros(count, dtype=np.int64) for name in ("stamp_x", "stamp_y", "stamp_size")}
        self._words = {name: np.full(count, "", dtype="U64") for name in ("drawn_from", "generator", "weights")}

    def add(self, part: Part, source: ProfileBatch) -> None:
        """Take down galaxies that are seen; `source` is what they were before lensing."""
        rows, seen = part.rows[part.seen], part.seen
        self.drawn[rows] = True
        for name in _DRAWN:
            self._numbers[name][rows] = getattr(source, name)[seen]
        for name in _LENSED:
            self._numbers[f"lensed_{name}"][rows] = getattr(part.batch, name)[seen]
        for name, values in zip(self._whole, (*part.corners.T, part.sizes[:, 0]), strict=True):
            self._whole[name][rows] = values[seen]
        self._words["drawn_from"][rows] = source.drawn_from[seen]
        self._words["generator"][rows] = source.generator
        self._words["weights"][rows] = source.weights_sha256

    def table(
        self, objects: FieldObjects, columns: Mapping[str, NDArray[Any]], *, out_of_range: str, seed: int
    ) -> Table:
        """The rows that were drawn, in the catalogue's order.

        Parameters
        ----------
        objects : FieldObjects
        columns : mapping
            ``x``, ``y``, ``ra``, ``dec``, ``g1``, ``g2``, ``mu`` of all objects.
        out_of_range, seed
            The same for all.
        """
        keep = np.flatnonzero(self.drawn)
        asked = objects.conditions.as_dict()
        unknown = np.full(len(objects), np.nan)
        found: dict[str, NDArray[Any]] = {
            "galaxy_id": asked["galaxy_id"],
            "kind": objects.kind,
            **columns,
            **{f"requested_{name}": asked.get(name, unknown) for name in _ASKED},
            **self._numbers,
            **self._whole,
            **self._words,
        }
        table = Table({name: values[keep] for name, values in found.items()})
        for name in ("drawn_from", "generator", "weights", "kind"):  # as wide as they need be
            table[name] = table[name].astype(f"U{max([1, *map(len, table[name])])}")
        table["out_of_range"] = np.full(len(keep), out_of_range)
        table["latent_seed"] = (
            np.full(len(keep), seed, dtype=np.uint64) if seed < 1 << 64 else np.full(len(keep), str(seed))
        )
        for name in table.colnames:
            unit = _UNITS.get(name.removeprefix("requested_").removeprefix("lensed_"))
            if unit:
                table[name].unit = unit
        for name in ("stamp_x", "stamp_y", "stamp_size"):
            table[name].unit = "pix"
        return table
