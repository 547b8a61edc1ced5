"""What a file of galaxies does not say itself, in a small TOML file beside it.

``stamps.npy`` has ``stamps.toml``; a folder has ``stamps.toml`` inside. Numbers for one band stand in a table
``[bands.<name>]`` and win over those above them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from skyloom.errors import CutoutError

__all__ = ["FOLDER_SIDECAR", "PSF_PROFILES", "SideCar", "read_sidecar"]

FOLDER_SIDECAR = "stamps.toml"
PSF_PROFILES = ("gaussian", "moffat", "kolmogorov")

_RANGES = {
    "pixel_scale": (1e-3, 10.0),
    "zero_point": (0.0, 50.0),
    "wavelength": (100.0, 30_000.0),
    "psf_pixel_scale": (1e-4, 10.0),
    "psf_fwhm": (1e-3, 20.0),
    "psf_beta": (1.1, 20.0),
    "gain": (1e-6, 1e12),
}


@dataclass(frozen=True)
class SideCar:
    """Numbers that hold for all stamps of a source; None: not given.

    Parameters
    ----------
    path : Path or None
        The file they come from, or the one that would be read.
    pixel_scale : float or None
        Arcsec.
    zero_point : float or None
        AB magnitude of one unit of summed image.
    band : str or None
    wavelength : float or None
        Pivot wavelength, nm.
    psf : str or None
        File in the same folder, FITS or ``.npy``, with an image of the PSF.
    psf_pixel_scale : float or None
        Its pixels, arcsec; those of the stamps when left out.
    psf_has_pixel : bool or None
        Whether the response of the stamp's pixel is in that image; true when left out.
    psf_fwhm : float or None
        Arcsec, without the pixel: an analytic PSF in place of an image.
    psf_profile : str or None
        One of `PSF_PROFILES`; ``"moffat"`` when left out.
    psf_beta : float or None
        Of the Moffat; 3 when left out.
    gain : float or None
        Photo-electrons a unit of the image: for the photon noise of the galaxies.
    catalogue : str or None
        File in the same folder that lists a field's galaxies.
    bands : mapping of str to mapping
        Values by band.
    """

    path: Path | None = None
    pixel_scale: float | None = None
    zero_point: float | None = None
    band: str | None = None
    wavelength: float | None = None
    psf: str | None = None
    psf_pixel_scale: float | None = None
    psf_has_pixel: bool | None = None
    psf_fwhm: float | None = None
    psf_profile: str | None = None
    psf_beta: float | None = None
    gain: float | None = None
    catalogue: str | None = None
    bands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name if self.path is not None else FOLDER_SIDECAR

    def of(self, band: str) -> SideCar:
        """The numbers of one band."""
        own = self.__dict__ | dict(self.bands.get(band, {}))
        return SideCar(**own)


_TEXT = ("band", "psf", "psf_profile", "catalogue")
_KEYS = tuple(f.name for f in fields(SideCar) if f.name not in ("path", "bands"))


def read_sidecar(path: Path) -> SideCar:
    """Read what lies beside `path`: its name with ``.toml``, else ``stamps.toml`` of its folder.

    Parameters
    ----------
    path : Path
        A file or folder of galaxies.

    Returns
    -------
    SideCar
        All None without such a file; `SideCar.path` then names the one that could be written.

    Raises
    ------
    CutoutError
        With the key that is not known, of a wrong type or out of range.
    """
    if path.is_dir():
        candidates = [path / FOLDER_SIDECAR]
    else:
        candidates = [path.with_suffix(".toml"), path.with_name(FOLDER_SIDECAR)]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        return SideCar(path=candidates[0])
    try:
        given = tomllib.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise CutoutError(f"{found}: not a TOML file: {exc}") from exc
    bands = given.pop("bands", {})
    if not isinstance(bands, dict) or not all(isinstance(b, dict) for b in bands.values()):
        raise CutoutError(f"{found}: bands must be tables, [bands.<name>]")
    _check(given, found, "")
    for name, own in bands.items():
        _check(own, found, f"bands.{name}.")
    return SideCar(path=found, bands=bands, **given)


def _check(given: dict[str, Any], path: Path, prefix: str) -> None:
    for key, value in given.items():
        where = f"{path}: {prefix}{key}"
        if key not in _KEYS:
            raise CutoutError(f"{where} is not known; there are {', '.join(_KEYS)}")
        if key in _RANGES:
            low, high = _RANGES[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise CutoutError(f"{where} must be a number from {low:g} to {high:g}, not {value!r}")
        elif key in _TEXT:
            if not isinstance(value, str) or not value:
                raise CutoutError(f"{where} must be text, not {value!r}")
            if key in ("psf", "catalogue") and Path(value).name != value:
                raise CutoutError(f"{where}: '{value}' is not the name of a file in the same folder")
        elif not isinstance(value, bool):
            raise CutoutError(f"{where} must be true or false, not {value!r}")
    if given.get("psf_profile", "moffat") not in PSF_PROFILES:
        raise CutoutError(f"{path}: {prefix}psf_profile must be one of {', '.join(PSF_PROFILES)}")
    if "psf" in given and "psf_fwhm" in given:
        raise CutoutError(f"{path}: {prefix}psf and {prefix}psf_fwhm both given; keep one")
