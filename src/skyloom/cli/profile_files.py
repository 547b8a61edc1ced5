"""What ``skyloom sample`` writes: profiles (HDF5), stamps and truth (FITS), a picture (PNG)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom import __version__
from skyloom.errors import BadInputError, RenderError
from skyloom.files import whole_file
from skyloom.profiles import ProfileBatch
from skyloom.units import COLUMN_UNITS

__all__ = ["truth_columns", "write_picture", "write_profiles", "write_stamps"]

_SHOWN = 64  # galaxies in a picture
_MAX_FFT = 6144  # samples along an axis: some hundred megabytes
_THRESHOLDS = ((5e-3, 1e-3), (0.02, 2e-3), (0.05, 5e-3), (0.05, 0.02), (0.05, 0.05))  # folding, maxk; GalSim's first
_FIELD = 8.0  # a picture's stamps are this many half-light radii wide
_TRUTH = (
    "galaxy_id",
    "flux",
    "half_light_radius",
    "sersic_n",
    "q",
    "beta",
    "wavelength",
    "redshift",
    "drawn_from",
)


def truth_columns(batch: ProfileBatch) -> dict[str, NDArray[Any]]:
    """Physical numbers of a batch by name, those that are known."""
    return {name: getattr(batch, name) for name in _TRUTH if getattr(batch, name) is not None}


def write_profiles(batch: ProfileBatch, path: Path) -> None:
    """Write the light profiles: one dataset a column of `ProfileBatch`, with its unit.

    Parameters
    ----------
    batch : ProfileBatch
    path : pathlib.Path
        HDF5; replaced if it exists.
    """
    import h5py

    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(_provenance(batch), grid_scale=batch.grid_scale)
        columns = truth_columns(batch) | {"jacobian": batch.jacobian, "offset": batch.offset}
        if batch.residual is not None:
            columns["residual"] = batch.residual
        units = COLUMN_UNITS | {"jacobian": "arcsec", "offset": "arcsec"}
        for name, values in columns.items():
            stored = values.astype("S") if values.dtype.kind == "U" else values
            options = {"compression": "gzip", "shuffle": True} if name == "residual" else {}
            file.create_dataset(name, data=stored, **options).attrs["unit"] = units.get(name, "")


def write_stamps(batch: ProfileBatch, path: Path, *, pixel_scale: float, stamp_size: int) -> None:
    """Write stamps, convolved with the pixel only, and the truth table.

    Parameters
    ----------
    batch : ProfileBatch
    path : pathlib.Path
        FITS; replaced if it exists.
    pixel_scale : float
        Arcsec.
    stamp_size : int
        Pixels of a side.
    """
    from astropy.io import fits
    from astropy.table import Table

    cube = np.stack([_stamp(batch, i, pixel_scale, stamp_size) for i in range(len(batch))])
    header = fits.Header()
    for key, value in _provenance(batch).items():
        header[f"HIERARCH {key}"] = value
    header["PIXSCALE"] = (pixel_scale, "arcsec")
    header["BUNIT"] = "electron"
    table = Table(truth_columns(batch))
    for name in set(table.colnames) - {"flux"}:  # the FITS standard lacks the electron
        table[name].unit = COLUMN_UNITS.get(name) or None
    truth = fits.BinTableHDU(table, name="TRUTH")
    units = fits.HDUList([fits.PrimaryHDU(cube, header), truth])
    with whole_file(path) as temporary:
        units.writeto(temporary, overwrite=True)


def write_picture(batch: ProfileBatch, path: Path, *, stamp_size: int) -> None:
    """Write a picture of at most 64 galaxies side by side, each eight half-light radii wide.

    Parameters
    ----------
    batch : ProfileBatch
    path : pathlib.Path
        PNG; replaced if it exists.
    stamp_size : int
        Pixels of a galaxy's side.
    """
    from matplotlib.image import imsave

    number = min(len(batch), _SHOWN)
    if number == 0:
        raise BadInputError(f"'{path}': there is no galaxy to show")
    across = int(np.ceil(np.sqrt(number)))
    down = -(-number // across)
    canvas = np.zeros((down * stamp_size, across * stamp_size))
    for i in range(number):
        stamp = _stamp(batch, i, _FIELD * batch.half_light_radius[i] / stamp_size, stamp_size)
        scaled = stamp / np.quantile(stamp, 0.995)
        row, column = divmod(i, across)
        place = np.s_[row * stamp_size : (row + 1) * stamp_size, column * stamp_size : (column + 1) * stamp_size]
        canvas[place] = np.arcsinh(30 * scaled)[::-1]  # y runs up
    with whole_file(path) as temporary:
        imsave(temporary, canvas, cmap="magma", vmin=0, vmax=np.arcsinh(40))


def _stamp(batch: ProfileBatch, index: int, pixel_scale: float, stamp_size: int) -> NDArray[np.float32]:
    """One galaxy behind the pixel alone.

    Nothing but the pixel limits its wavenumbers here, and those of a small, steep galaxy need an FFT of many
    gigabytes. For them the far wings, then the brightest pixels, are drawn less exactly (some per cent).
    """
    for folding, threshold in _THRESHOLDS:
        galaxy = batch[index].withGSParams(folding_threshold=folding, maxk_threshold=threshold)
        seen = galsim.Convolve(galaxy, galsim.Pixel(pixel_scale, gsparams=galaxy.gsparams))
        if 2 * seen.maxk / min(seen.stepk, 2 * np.pi / (stamp_size * pixel_scale)) <= _MAX_FFT:
            break
    else:
        raise RenderError(
            f"galaxy {batch.galaxy_id[index]}: half_light_radius = {batch.half_light_radius[index]:g} arcsec is too "
            f"small to draw without a PSF in pixels of {pixel_scale:g} arcsec at sersic_n = {batch.sersic_n[index]:g}"
        )
    image = galaxy.drawImage(nx=stamp_size, ny=stamp_size, scale=pixel_scale, dtype=np.float32)
    array: NDArray[np.float32] = image.array
    return array


def _provenance(batch: ProfileBatch) -> dict[str, Any]:
    return {
        "generator": batch.generator,
        "weights_sha256": batch.weights_sha256,
        "seed": str(batch.seed),  # up to 128 bits
        "skyloom_version": __version__,
    }
