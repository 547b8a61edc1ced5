"""FITS files written one image at a time, and the header cards that say where galaxies come from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom import __version__
from skyloom.export.settings import ExportSettings
from skyloom.profiles import ProfileBatch

__all__ = ["ImageStream", "Provenance", "galaxy_cards", "provenance_of", "with_cards", "write_table"]

Provenance = Mapping[str, tuple[Any, str]]
"""Header cards: keyword to (value, comment)."""

_BLOCK = 2880  # bytes; the FITS standard, section 3.1


def provenance_of(batch: ProfileBatch, settings: ExportSettings) -> Provenance:
    """What made a batch's galaxies, and how they were drawn."""
    return {
        "MODEL": (batch.generator, "generator of the galaxies"),
        "WSHA256": (batch.weights_sha256, ""),  # of the weights; with its 64 characters the card is full
        "SEED": (str(batch.seed), "of the galaxies' latents"),  # text: up to 128 bits
        "SKYLOOM": (__version__, "version"),
        "GALSIM": (galsim.__version__, "version"),
        "PIXSCALE": (settings.pixel_scale, "arcsec"),
        "PSFFWHM": (settings.psf_fwhm, "arcsec, Gaussian"),
        "ZEROPT": (settings.zero_point, "AB mag of one unit of flux"),
        "BAND": (settings.band, "named in the catalogue"),
    }


def galaxy_cards(batch: ProfileBatch, i: int) -> Provenance:
    """Which galaxy of the batch a stamp is of."""
    return {
        "GALID": (int(batch.galaxy_id[i]), "galaxy_id"),
        "DRAWN": (str(batch.drawn_from[i]), "learned, clipped or parametric"),
    }


class ImageStream:
    """A FITS file of many images, written one by one: memory doesn't grow with their number.

    The primary HDU has no image. To be closed.

    Parameters
    ----------
    path : pathlib.Path
        A new file.
    cards : mapping
        Of the primary header.
    """

    def __init__(self, path: Path, cards: Provenance) -> None:
        from astropy.io import fits

        self._file = path.open("xb")
        self.path = path
        self.images = 0
        self._write(with_cards(fits.PrimaryHDU(), cards).header, b"")

    def append(self, image: NDArray[np.float32], cards: Provenance) -> int:
        """Write one more image; returns its HDU's number."""
        from astropy.io import fits

        header = with_cards(fits.ImageHDU(image), cards).header
        self._write(header, image.astype(">f4").tobytes())
        self.images += 1
        return self.images

    def close(self) -> None:
        """Nothing is written after; twice is once."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _write(self, header: Any, data: bytes) -> None:
        self._file.write(header.tostring().encode("ascii"))
        self._file.write(data + bytes(-len(data) % _BLOCK))


def write_table(path: Path, columns: Mapping[str, NDArray[Any]], cards: Provenance) -> None:
    """Write a binary table, with `cards` in its header and the primary one.

    Parameters
    ----------
    path : pathlib.Path
    columns : mapping of str to ndarray
        In order; text as ``U`` arrays.
    cards : mapping
    """
    from astropy.io import fits
    from astropy.table import Table

    table = with_cards(fits.BinTableHDU(Table(dict(columns))), cards)
    fits.HDUList([with_cards(fits.PrimaryHDU(), cards), table]).writeto(path)


def with_cards(hdu: Any, cards: Provenance) -> Any:
    """The HDU, with `cards` added to its header."""
    for keyword, value in cards.items():
        hdu.header[keyword] = value if value[1] else value[0]
    return hdu
