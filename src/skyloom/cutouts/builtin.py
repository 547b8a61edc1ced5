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
    """Give the formats that ``skyloom ingest`` reads; no two accept the same file."""
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
        CutoutReader(
            "btk-hdf5",
            accepts=_late("btk_hdf5", "accepts_btk_hdf5"),
            read=_late("btk_hdf5", "read_btk_hdf5"),
            summary="BlendingToolKit's blend_<n>.hdf5: each source of a blend, its neighbours taken off",
        ),
        CutoutReader(
            "fits-field",
            accepts=_late("fits_field", "accepts_fits_field"),
            read=_late("fits_field", "read_fits_field"),
            summary="one FITS image of a field, with or without a catalogue: detection, neighbours masked",
        ),
        CutoutReader(
            "plain-stamps",
            accepts=_late("plain_stamps", "accepts_plain_stamps"),
            read=_late("plain_stamps", "read_plain_stamps"),
            summary="a folder, or a .txt list, of FITS stamps, one galaxy each; stamps.toml",
        ),
        CutoutReader(
            "plain-arrays",
            accepts=_late("plain_arrays", "accepts_plain_arrays"),
            read=_late("plain_arrays", "read_plain_arrays"),
            summary="NumPy .npy or .npz of stamps (N, H, W), with a .toml of the same name",
        ),
    ]
