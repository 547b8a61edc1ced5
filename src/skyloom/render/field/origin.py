"""How a field was made, and one hash of all that decides its pixels."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import galsim
import numpy as np

from skyloom.render.field.filling import Filled, Galaxies
from skyloom.render.field.observing import Observing
from skyloom.render.field.psf_cells import PsfCells
from skyloom.render.field.stages import who_changes_profiles
from skyloom.render.receipts import versions
from skyloom.surveys.observing import ObservingConditions

__all__ = ["origin_of", "psf_label"]


def origin_of(
    galaxies: Galaxies,
    observing: Observing,
    wcs: galsim.BaseWCS,
    size: tuple[int, int],
    filled: Filled,
    psfs: PsfCells,
    *,
    noise: str,
    noise_by: str,
    numbers: Mapping[str, float],
    **choices: Any,
) -> Mapping[str, Any]:
    """Provenance of a field, read-only.

    Parameters
    ----------
    galaxies, observing, wcs, size, filled, psfs
        What was asked for, and what became of it.
    noise, noise_by, numbers
        Model, who added it, and its parameters.
    **choices
        What else decides the pixels, by name.
    """
    said: dict[str, Any] = {
        "size": list(size),
        "seed": galaxies.seed,
        "model": dict(galaxies.model) if isinstance(galaxies.model, Mapping) else str(galaxies.model),
        "models": dict(sorted(filled.models.items())),
        "out_of_range": galaxies.out_of_range,
        "observing": dataclasses.asdict(observing),
        "wcs": repr(wcs),
        "stages": {
            "after_profiles": who_changes_profiles(),
            "lens": sorted(filled.lensed_by),
            "psf": sorted(psfs.answered_by),
            "noise": noise_by,
        },
        "noise": noise,
        "noise_parameters": {name: float(value) for name, value in numbers.items()},
        **choices,
        "psf_sha256": psfs.digest(),
        "objects_sha256": _digest(galaxies),
    }
    config = json.dumps(said, sort_keys=True, default=str)
    return MappingProxyType(
        {
            "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
            "catalogue": galaxies.objects.source,
            "catalogue_sha256": galaxies.objects.sha256,
            **said,
            "versions": versions(),
        }
    )


def psf_label(choice: Any) -> str:
    """A PSF in words that are the same in every process; functions of one name share them, `psf_sha256` does not."""
    if isinstance(choice, str):
        return choice
    if isinstance(choice, galsim.GSObject):
        return repr(choice)
    owner = getattr(choice, "__self__", None)
    if isinstance(owner, ObservingConditions):
        choice = owner.psf_factory
    if dataclasses.is_dataclass(choice) or isinstance(choice, galsim.GSObject):
        return repr(choice)
    return f"{getattr(choice, '__module__', '')}.{getattr(choice, '__qualname__', type(choice).__qualname__)}"


def _digest(galaxies: Galaxies) -> str:
    """Of the objects and their places, whatever their order."""
    objects = galaxies.objects
    order = np.argsort(objects.conditions.galaxy_id, kind="stable")
    digest = hashlib.sha256()
    columns = {**objects.conditions.as_dict(), **galaxies.lensing()}
    columns |= {"kind": objects.kind.astype("S"), "x": galaxies.places[0], "y": galaxies.places[1]}
    for name, values in columns.items():
        digest.update(f"{name}{values.dtype.str}".encode())
        digest.update(np.ascontiguousarray(values[order]).tobytes())
    return digest.hexdigest()
