"""Reader of NumPy arrays of stamps: ``.npy`` (N, H, W), or ``.npz`` with ``images`` and what goes with them.

``.npz`` may hold ``variance`` or ``weight`` (N, H, W), ``mask`` (N, H, W; true: usable), ``psf`` (P, Q) or
(N, P, Q), ``galaxy_id`` and ``redshift`` (N,), and the scalars ``pixel_scale``, ``zero_point``, ``band`` and
``wavelength``. The side-car (`skyloom.cutouts.sidecar`) gives the rest. A ``.npy`` is read stamp by stamp; a
``.npz`` whole. Pickled objects are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.cutouts.centred import cut_centred
from skyloom.cutouts.plain_values import described, effective_psf
from skyloom.cutouts.sidecar import SideCar, read_sidecar
from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, Dropped

__all__ = ["accepts_plain_arrays", "open_npy", "read_plain_arrays"]

MAX_BYTES = 4 * 2**30
"""Of a ``.npz``, unpacked: it has to be read whole."""

MAX_GAP = 0.6
SCALARS = ("pixel_scale", "zero_point", "band", "wavelength")
STAMPS = ("images", "variance", "weight", "mask")
ROWS = ("galaxy_id", "redshift")


def accepts_plain_arrays(path: Path) -> bool:
    """Whether `path` is a NumPy file by its name and first bytes."""
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x93NUMPY", b"PK"))


def open_npy(path: Path) -> NDArray[Any]:
    """The array of a ``.npy``, read where it is looked at.

    Raises
    ------
    CutoutError
        When it is no such file, is cut off, or holds objects.
    """
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as exc:
        raise CutoutError(f"{path}: not a NumPy array of numbers that can be read: {exc}") from exc


def read_plain_arrays(
    path: Path, *, stamp_size: int = 96, psf_size: int = 81, source: str = ""
) -> Iterator[Cutout | Dropped]:
    """Read stamps of one band, the galaxy in the middle of each.

    Parameters
    ----------
    path : Path
        ``.npy`` or ``.npz``.
    stamp_size, psf_size : int
        Pixels along a side.
    source : str
        Name of the data set; the file's name when empty.

    Raises
    ------
    CutoutError
        When the arrays do not go together, or pixel scale, zero point, band, wavelength or PSF are nowhere given.
    """
    arrays = {"images": open_npy(path)} if path.suffix == ".npy" else _open_npz(path)
    images = _checked(arrays, path)
    sidecar = read_sidecar(path)
    values = described(sidecar, **{name: _scalar(arrays, name, path) for name in SCALARS})
    if isinstance(values, str):
        raise CutoutError(f"{path}: {values}")
    own = sidecar.of(values["band"])
    source = source or path.stem
    ids = arrays.get("galaxy_id", np.arange(1, len(images) + 1))
    redshift = arrays.get("redshift", np.full(len(images), np.nan))
    shared = arrays.get("psf") if arrays.get("psf", np.zeros((1, 1, 1))).ndim == 2 or "psf" not in arrays else None
    each = arrays["psf"] if "psf" in arrays and shared is None else None
    psf = effective_psf(shared, None, own, values["pixel_scale"], psf_size) if each is None else ""
    if isinstance(psf, str) and each is None:
        raise CutoutError(f"{path}: {psf}")
    for i in range(len(images)):
        where = f"{path.name} row {i} (galaxy {int(ids[i])})"
        if each is not None:
            psf = effective_psf(each[i], None, own, values["pixel_scale"], psf_size)
        made = psf if isinstance(psf, str) else _cut(arrays, i, psf, own, values["pixel_scale"], stamp_size)
        if isinstance(made, str):
            yield Dropped(where, made)
            continue
        z = float(redshift[i])
        yield Cutout(
            **values | made,
            galaxy_id=int(ids[i]),
            group=f"{source}/{int(ids[i])}",
            source=source,
            redshift=z if 0 < z < 30 else float("nan"),
        )


def _cut(
    arrays: dict[str, NDArray[Any]],
    i: int,
    psf: NDArray[np.float32],
    sidecar: SideCar,
    pixel_scale: float,
    stamp_size: int,
) -> dict[str, Any] | str:
    image = np.asarray(arrays["images"][i], dtype=np.float64)
    usable = np.isfinite(image)
    variance: NDArray[np.float64] | None = None
    if "variance" in arrays:
        variance = np.asarray(arrays["variance"][i], dtype=np.float64)
    elif "weight" in arrays:
        weight = np.asarray(arrays["weight"][i], dtype=np.float64)
        variance = np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0)
    if variance is not None:
        usable &= np.isfinite(variance) & (variance > 0)
        variance = np.where(usable, variance, 0.0)
    if "mask" in arrays:
        usable &= np.asarray(arrays["mask"][i]) != 0
    if not usable.any():
        return "no finite, unmasked pixels"
    return cut_centred(
        image,
        usable,
        psf,
        pixel_scale=pixel_scale,
        stamp_size=stamp_size,
        variance=variance,
        gain=sidecar.gain,
        max_gap=MAX_GAP,
    )


def _open_npz(path: Path) -> dict[str, NDArray[Any]]:
    known = (*STAMPS, "psf", *ROWS, *SCALARS)
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > MAX_BYTES:
            raise CutoutError(f"{path}: {size / 2**30:.1f} GiB unpacked; save the images as .npy, read stamp by stamp")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in known if name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise CutoutError(f"{path}: not NumPy arrays of numbers that can be read: {exc}") from exc


def _checked(arrays: dict[str, NDArray[Any]], path: Path) -> NDArray[Any]:
    if "images" not in arrays:
        raise CutoutError(f"{path}: no array 'images' (N, H, W) in it")
    images = arrays["images"]
    if images.ndim != 3 or 0 in images.shape or max(images.shape[1:]) > 10_000:
        raise CutoutError(f"{path}: images must be (N, H, W), not {images.shape}")
    for name, array in arrays.items():
        kinds = "US" if name == "band" else "biuf"
        if array.dtype.kind not in kinds:
            raise CutoutError(f"{path}: {name} has type {array.dtype}")
        if name in STAMPS and array.shape != images.shape:
            raise CutoutError(f"{path}: {name} has shape {array.shape}, images {images.shape}")
        if name in ROWS and array.shape != images.shape[:1]:
            raise CutoutError(f"{path}: {name} has shape {array.shape}, there are {len(images)} images")
        if name in SCALARS and array.size != 1:
            raise CutoutError(
                f"{path}: {name} must be one value, not {array.shape}; stamps of one band and scale a file"
            )
    psf = arrays.get("psf")
    if psf is not None and not (psf.ndim == 2 or (psf.ndim == 3 and len(psf) == len(images))):
        raise CutoutError(f"{path}: psf must be (P, Q) or ({len(images)}, P, Q), not {psf.shape}")
    return images


def _scalar(arrays: dict[str, NDArray[Any]], name: str, path: Path) -> Any:
    if name not in arrays:
        return None
    value = arrays[name].reshape(-1)[0]
    return value.item() if not isinstance(value, bytes) else value.decode(errors="replace")
