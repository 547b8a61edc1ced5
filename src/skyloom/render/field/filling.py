"""A field's galaxies asked for, lensed and added to its image, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skyloom.profiles import OutOfRange
from skyloom.render.field.objects import FieldObjects
from skyloom.render.field.painting import Part, View, drawn_stamps, may_be_seen, prepare
from skyloom.render.field.places import Places
from skyloom.render.field.stages import ask_lens, ask_profiles, model_of, stage
from skyloom.render.field.truth import TruthRows

__all__ = ["Filled", "Galaxies", "Keep", "fill_image"]

Column = NDArray[np.float64]
Keep = Callable[[Part, int, NDArray[np.float32]], None]


@dataclass(frozen=True, eq=False)
class Galaxies:
    """What is to be drawn, and by which generator."""

    objects: FieldObjects
    places: Places
    pixel_scale: float
    """arcsec, in the middle of the image."""
    model: str | Mapping[str, str]
    seed: int
    out_of_range: OutOfRange

    def lensing(self) -> dict[str, Column]:
        """``g1``, ``g2`` and ``mu`` of all objects; those of stars, and what is not given, change nothing."""
        blank = {"g1": 0.0, "g2": 0.0, "mu": 1.0}
        star, columns = self.objects.kind == "star", self.objects.columns
        return {name: np.where(star, value, columns.get(name, value)) for name, value in blank.items()}


@dataclass(frozen=True, eq=False)
class Filled:
    """What became of them."""

    truth: TruthRows
    models: dict[str, str] = field(default_factory=dict)
    """Weights' SHA-256 by generator."""
    lensed_by: set[str] = field(default_factory=set)


def fill_image(
    image: NDArray[np.float32], galaxies: Galaxies, view: View, batch_size: int, keep: Keep | None = None
) -> Filled:
    """Add all galaxies to an image of electrons.

    They are taken cell by cell of the PSF and by their id, so that neither the catalogue's order nor `batch_size`
    decides in which order numbers are added.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        Altered.
    galaxies : Galaxies
    view : View
    batch_size : int
        Objects at a time.
    keep : callable (part, place in it, pixels), optional
        Is shown every stamp.
    """
    objects, (x, y) = galaxies.objects, galaxies.places
    filled = Filled(TruthRows(len(objects)))
    lensing = galaxies.lensing()
    asked = bool({"g1", "g2", "mu"} & set(objects.columns))
    g = np.minimum(np.hypot(lensing["g1"], lensing["g2"]), 0.999)
    stretch = np.sqrt(lensing["mu"] * (1 + g) / (1 - g))
    order = np.flatnonzero(may_be_seen(objects.conditions, stretch, x, y, galaxies.pixel_scale, view))
    order = order[np.lexsort((objects.conditions.galaxy_id[order], view.psfs.cells(x[order], y[order])))]
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        for cell in np.unique(view.psfs.cells(x[rows], y[rows])).tolist():
            view.psfs.number(cell)
        parts: list[Part] = []
        sources = []
        for kind in np.unique(objects.kind[rows]).tolist():
            rank = np.flatnonzero(objects.kind[rows] == kind)
            mine = rows[rank]
            conditions = objects.conditions[mine]
            source = ask_profiles(
                conditions, mine, kind=kind, model=model_of(galaxies.model, kind), seed=galaxies.seed,
                out_of_range=galaxies.out_of_range,
            )  # fmt: skip
            filled.models[source.generator] = source.weights_sha256
            lensed = source
            if asked and kind != "star":
                lensed, who = ask_lens(source, conditions, mine, *(column[mine] for column in lensing.values()))
                filled.lensed_by.add(who)
            with stage("draw"):
                parts.append(prepare(rank, mine, source, lensed, x[mine], y[mine], view))
            sources.append(source)
        with stage("draw"):
            for part, i, pixels in drawn_stamps(parts, view):
                _add(image, pixels, *part.corners[i].tolist())
                if keep is not None:
                    keep(part, i, pixels)
        for part, source in zip(parts, sources, strict=True):
            filled.truth.add(part, source)
    return filled


def _add(image: NDArray[np.float32], pixels: NDArray[np.float32], x: int, y: int) -> None:
    """Add what lies on the image of a stamp whose lower left pixel is (x, y), counted from 1."""
    (ny, nx), (height, width) = image.shape, pixels.shape
    left, low, right, high = max(x, 1), max(y, 1), min(x + width - 1, nx), min(y + height - 1, ny)
    if right < left or high < low:
        return  # a negative end would count from the other side
    image[low - 1 : high, left - 1 : right] += pixels[low - y : high - y + 1, left - x : right - x + 1]
