"""`Field`: an image, its truth and how it was made; written as one FITS file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.files import whole_file
from skyloom.image_header import OBSERVING_WORDS, galaxy_words, version_words
from skyloom.render.field.observing import Observing

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Field"]


@dataclass(frozen=True, eq=False)
class Field:
    """A simulated field.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        ADU; rows run along +y.
    truth : astropy.table.Table
        A row an object whose stamp lies on the image, in the catalogue's order, with units. ``x``, ``y`` are pixels,
        the first is 1. ``flux`` (electrons over the exposure), ``half_light_radius``, ``q`` and ``beta`` are those
        before lensing, ``lensed_flux`` and its like those drawn; ``stamp_x``, ``stamp_y`` the pixel under the lower
        left corner of the stamp. What is not known is NaN.
    provenance : mapping
        How it was made: ``config_sha256`` of all that decides the pixels, ``seed``, ``models`` (weights' SHA-256 by
        name), ``stages`` (who may change profiles, lensed, gave the PSF and added noise), ``catalogue``, ``psf``,
        ``psf_sha256`` (of the PSFs themselves), ``noise``, ``versions``, ...
    wcs : galsim.BaseWCS
    observing : Observing
        The survey's numbers, as used.
    """

    image: NDArray[np.float32]
    truth: Table
    provenance: Mapping[str, Any]
    wcs: galsim.BaseWCS
    observing: Observing

    def to_galsim(self) -> galsim.ImageF:
        """The image for GalSim, with its WCS; it shares the pixels."""
        return galsim.ImageF(self.image, xmin=1, ymin=1, wcs=self.wcs)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write image and truth as one FITS file, which appears under its name when it is whole.

        Parameters
        ----------
        path : path
            A file there is replaced. The header of the image has the WCS and the words that `skyloom render` writes;
            the extension ``TRUTH`` is the table.

        Returns
        -------
        pathlib.Path
        """
        from astropy.io import fits

        path = Path(path)
        hdus = fits.HDUList()
        galsim.fits.write(self.to_galsim(), hdu_list=hdus)
        for word, value in self._words().items():
            hdus[0].header[word] = value
        table = fits.table_to_hdu(_storable(self.truth))
        table.name = "TRUTH"
        hdus.append(table)
        with whole_file(path) as temporary:
            hdus.writeto(temporary, overwrite=True)
        return path

    def _words(self) -> dict[str, Any]:
        made, seen = self.provenance, self.observing
        words: dict[str, Any] = {}
        numbers = {
            "zero_point": seen.exposure_zero_point, "gain": seen.gain, "exptime": seen.exptime,
            "sky_level": seen.sky_level, "read_noise": seen.read_noise, "wavelength": seen.wavelength,
        }  # fmt: skip
        for name, value in numbers.items():
            if value is not None:
                word, _, comment = OBSERVING_WORDS[name]
                words[word] = (value, comment)
        if seen.name:
            words["SURVEY"] = (seen.name, "observing conditions")
        words |= version_words()
        for model, weights in list(made["models"].items())[:1]:
            words |= galaxy_words(model, weights, made["seed"], made["out_of_range"])
        words["SEED"] = (made["seed"] if made["seed"] < 1 << 63 else str(made["seed"]), "of the field")
        words["PSF"] = (str(made["psf"])[:60], "")
        words["NOISE"] = (made["noise"], "noise model")
        words["CONFHASH"] = (made["config_sha256"], "")
        return words


def _storable(table: Table) -> Table:
    """The same without the unit electron, which astropy cannot write into FITS nor read from there."""
    out = table.copy(copy_data=False)
    for column in out.itercols():
        if str(column.unit) == "electron":
            column.unit = None
    return out
