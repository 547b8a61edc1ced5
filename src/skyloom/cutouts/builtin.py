"""The readers that come with Skyloom, as a plugin like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pluggy

from skyloom.descriptors import CutoutReader

__all__ = ["skyloom_cutout_readers"]

hookimpl = pluggy.HookimplMarker("skyloom")


def _late(module: str, name: str) -> Callable[..., Any]:
    """Import a reader when it is called, so that listing them costs nothing."""

    def call(path: Path, **options: Any) -> Any:
        return getattr(import_module(f"skyloom.cutouts.{module}"), name)(path, **options)

    return call


@hookimpl
def skyloom_cutout_readers() -> Sequence[CutoutReader]:
    """Give the three formats that ``skyloom ingest`` reads."""
    return [
        CutoutReader(
            "real-galaxy",
            accepts=_late("real_galaxy", "accepts_real_galaxy"),
            read=_late("real_galaxy", "read_real_galaxy"),
            summary="GalSim RealGalaxyCatalog: a catalogue table, stamps and PSFs in FITS",
        ),
        CutoutReader(
            "fits-fields",
            accepts=_late("fits_fields", "accepts_fits_fields"),
            read=_late("fits_fields", "read_fits_fields"),
            summary="a folder of FITS fields with SCI, ERR, PSF, and detections.csv",
        ),
        CutoutReader(
            "hdf5-stamps",
            accepts=_late("hdf5_stamps", "accepts_hdf5_stamps"),
            read=_late("hdf5_stamps", "read_hdf5_stamps"),
            summary="HDF5 with galaxy_id and images/<band>; several bands, thresholded or not",
        ),
    ]
