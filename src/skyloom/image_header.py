"""Words of the FITS headers of simulated images, for both drivers."""

from __future__ import annotations

from typing import Any

import galsim

__all__ = ["OBSERVING_WORDS", "galaxy_words", "version_words"]

OBSERVING_WORDS: dict[str, tuple[str, type, str]] = {
    "zero_point": ("ZEROPNT", float, "[mag(AB)] gives one electron over the exposure"),
    "gain": ("GAIN", float, "[e-/ADU]"),
    "exptime": ("EXPTIME", float, "[s]"),
    "psf_fwhm": ("PSFFWHM", float, "[arcsec]"),
    "sky_level": ("SKYLEVEL", float, "[ADU/arcsec2] sky in the noise"),
    "read_noise": ("RDNOISE", float, "[e-]"),
    "wavelength": ("WAVELEN", float, "[nm] observed"),
    "filter": ("FILTER", str, ""),
    "telescope": ("TELESCOP", str, ""),
    "instrument": ("INSTRUME", str, ""),
}
"""Keyword, type and comment by our name."""

Words = dict[str, tuple[Any, str]]


def version_words() -> Words:
    """Of the packages that decide the pixels."""
    from skyloom import __version__

    return {"SKYLOOM": (__version__, "version"), "GALSIM": (galsim.__version__, "version")}


def galaxy_words(model: str, weights_sha256: str, seed: int, out_of_range: str) -> Words:
    """Where the galaxies come from."""
    return {
        "MODEL": (model, "generator of the galaxies"),
        "WEIGHTS": (weights_sha256, ""),  # a SHA-256 leaves no room for a comment
        "GALSEED": (seed if seed < 1 << 63 else str(seed), "seed of the galaxies"),
        "OUTRANGE": (out_of_range, "policy outside the range of the model"),
    }
