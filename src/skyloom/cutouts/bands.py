"""Pivot wavelengths of the filters that real cutouts come in."""

from __future__ import annotations

from skyloom.errors import CutoutError

__all__ = ["PIVOT_WAVELENGTHS", "wavelength_of"]

PIVOT_WAVELENGTHS: dict[str, float] = {
    "F435W": 432.9, "F475W": 474.7, "F606W": 592.2, "F775W": 769.3, "F814W": 804.6, "F850LP": 903.3,
    "F105W": 1055.1, "F125W": 1248.6, "F140W": 1392.3, "F160W": 1536.9,
    "F090W": 902.2, "F115W": 1154.3, "F150W": 1500.7, "F200W": 1988.6, "F277W": 2761.7, "F356W": 3567.5,
    "F410M": 4082.1, "F444W": 4404.3,
}  # fmt: skip
"""Pivot wavelength in nm: HST ACS/WFC and WFC3/IR (instrument handbooks), JWST NIRCam (JWST user
documentation)."""


def wavelength_of(band: str) -> float:
    """Pivot wavelength of `band`, nm.

    Raises
    ------
    CutoutError
        When the band is not known.
    """
    try:
        return PIVOT_WAVELENGTHS[band.upper()]
    except KeyError:
        known = ", ".join(PIVOT_WAVELENGTHS)
        raise CutoutError(f"no pivot wavelength known for band '{band}'; known are {known}") from None
