"""``output.learned_truth``: what was asked for and what was drawn, a row a learned galaxy, as FITS and Parquet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from galsim import CelestialCoord
from galsim.config import GetCurrentValue, RegisterExtraOutput
from galsim.config.extra import ExtraOutputBuilder

from skyloom.files import whole_file
from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.decoding import Slot, decode
from skyloom.galsim_config.pending import PendingTruth

__all__ = ["COLUMNS", "LearnedTruthBuilder", "fill_truth_tables", "learned_truths"]

_ASKED = (
    "mag", "flux", "zero_point", "half_light_radius", "sersic_n", "q", "beta", "redshift", "wavelength",
)  # fmt: skip
_DRAWN = ("flux", "half_light_radius", "sersic_n", "q", "beta")

COLUMNS: dict[str, tuple[str, str]] = {
    "galaxy_id": ("i8", ""),
    "obj_num": ("i8", ""),
    "image_num": ("i8", ""),
    "x": ("f8", "pix"),
    "y": ("f8", "pix"),
    "ra": ("f8", "deg"),
    "dec": ("f8", "deg"),
    **{f"requested_{name}": ("f8", "") for name in _ASKED},
    **{name: ("f8", "") for name in _DRAWN},
    "drawn_from": ("U10", ""),
    "out_of_range": ("U10", ""),
    "generator": ("U64", ""),
    "weights": ("U64", ""),
    "latent_seed": ("u8", ""),
}
"""Type and unit by column; radii are in arcsec, ``beta`` in radians, ``flux`` in electrons before GalSim's own factors.

``drawn_from`` says what was done with a galaxy: ``learned``, ``clipped`` to the model's range, or
``parametric``; ``out_of_range`` is the policy. The structure follows from ``latent_seed``, ``galaxy_id`` and
the weights; a ``latent_seed`` beyond 64 bits makes its column text. What is not known is NaN.
"""
_UNITS = {"half_light_radius": "arcsec", "beta": "rad", "wavelength": "nm", "mag": "mag", "zero_point": "mag"}


class LearnedTruthBuilder(ExtraOutputBuilder):
    """Collects the truth of the learned galaxies of a file.

    The section has `file_name`, of the FITS table; the Parquet file beside it has its stem, and is left out
    where pyarrow is not installed.
    """

    def initialize(self, data: Any, scratch: Any, config: dict[str, Any], base: dict[str, Any], logger: Any) -> None:
        """Begin a file."""
        check_keys(config, "output.learned_truth", ["file_name", "dir", "hdu"])
        super().initialize(data, scratch, config, base, logger)
        self._waiting: dict[int, list[tuple[int, Slot]]] = {}

    def processStamp(self, obj_num: int, config: dict[str, Any], base: dict[str, Any], logger: Any) -> None:
        """Keep a row for each learned galaxy of this object; one that is not decoded yet gets its row's rest later."""
        truths = list(learned_truths(base.get("gal"), base))
        if truths:
            self.scratch[obj_num] = [_row(truth, base) for truth in truths]
            slots = [(place, t.slot) for place, t in enumerate(truths) if isinstance(t, PendingTruth)]
            if slots:
                self._waiting[obj_num] = slots

    def fill(self) -> None:
        """Complete the rows of galaxies that have been decoded since, in the process that drew them."""
        for obj_num, slots in self._waiting.items():
            rows = self.scratch[obj_num]
            for place, slot in slots:
                if slot.batch is None:
                    decode([slot], 1)
                rows[place].update(_known(slot.truth()))
            self.scratch[obj_num] = rows  # a copy, where processes share it
        self._waiting = {}

    def processImage(
        self, index: int, obj_nums: Any, config: dict[str, Any], base: dict[str, Any], logger: Any
    ) -> None:
        """Forget objects that turned out to be off the image."""
        self.fill()
        skipped = list(base.get("_skipped_obj_nums", {}).keys())  # a proxy, where processes share it
        for obj_num in skipped:
            self.scratch.pop(obj_num, None)

    def finalize(self, config: dict[str, Any], base: dict[str, Any], main_data: Any, logger: Any) -> dict[str, Any]:
        """Columns in the order of the objects."""
        rows = [row for number in sorted(self.scratch.keys()) for row in self.scratch[number]]
        kinds = {name: kind for name, (kind, _) in COLUMNS.items()}
        if any(row["latent_seed"] >= 1 << 64 for row in rows):
            kinds["latent_seed"] = "U"
        return {name: np.array([row[name] for row in rows], dtype=kind) for name, kind in kinds.items()}

    def writeFile(self, file_name: str, config: dict[str, Any], base: dict[str, Any], logger: Any) -> None:
        """Write both tables."""
        path = Path(file_name)
        with whole_file(path) as temporary:
            self.writeHdu(config, base, logger).writeto(temporary, overwrite=True)
        try:
            from pyarrow import parquet, table
        except ImportError:
            if logger:
                logger.warning("%s: no Parquet file beside it, for pyarrow is not installed", file_name)
            return
        with whole_file(path.with_suffix(".parquet")) as temporary:
            parquet.write_table(table(dict(self.final_data)), temporary)

    def writeHdu(self, config: dict[str, Any], base: dict[str, Any], logger: Any) -> Any:
        """The table as a FITS extension."""
        from astropy.io.fits import table_to_hdu
        from astropy.table import Table

        columns = Table(self.final_data)
        for name, (_, unit) in COLUMNS.items():
            known = unit or _UNITS.get(name.removeprefix("requested_"), "")
            if known:
                columns[name].unit = known
        return table_to_hdu(columns)


def learned_truths(section: Any, base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Truths of the galaxies that stand in an object's section now; not of a list's other items."""
    if not isinstance(section, dict):
        return
    if "_learned_truth" in section:
        yield section["_learned_truth"]
        return
    items = section.get("items")
    if not isinstance(items, list):
        return
    if section.get("type") == "List":
        index = GetCurrentValue("index", section, int, base)
        items = items[index : index + 1] if isinstance(index, int) and index >= 0 else items[index:][:1]
    for item in items:
        yield from learned_truths(item, base)


def _row(truth: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    position, world = base.get("image_pos"), base.get("world_pos")
    return {
        "obj_num": base["obj_num"],
        "image_num": base.get("image_num", 0),
        "x": math.nan if position is None else position.x,
        "y": math.nan if position is None else position.y,
        "ra": world.ra.deg % 360 if isinstance(world, CelestialCoord) else math.nan,
        "dec": world.dec.deg if isinstance(world, CelestialCoord) else math.nan,
        **({} if isinstance(truth, PendingTruth) else _known(truth)),
    }


def _known(truth: dict[str, Any]) -> dict[str, Any]:
    """Columns of a decoded galaxy."""
    asked = truth["requested"]
    return {
        "galaxy_id": truth["galaxy_id"],
        **{f"requested_{name}": _number(asked.get(name)) for name in _ASKED},
        **{name: _number(truth.get(name)) for name in _DRAWN},
        "drawn_from": truth["drawn_from"],
        "out_of_range": truth["out_of_range"],
        "generator": truth["generator"],
        "weights": truth["weights"],
        "latent_seed": truth["seed"],
    }


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def fill_truth_tables(base: dict[str, Any]) -> None:
    """Complete the rows of galaxies that an image has decoded together, before their process ends."""
    builder = base.get("extra_builder", {}).get("learned_truth")
    if builder is not None:
        builder.fill()


RegisterExtraOutput("learned_truth", LearnedTruthBuilder())
