"""Writer of FITS stamps and the instance catalogue that names them, as phoSim defined it and imSim reads it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyloom.export.drawing import draw_stamps
from skyloom.export.fits_stream import galaxy_cards, provenance_of, with_cards
from skyloom.export.settings import ExportSettings
from skyloom.profiles import ProfileBatch

__all__ = ["INSTANCE_CATALOGUE", "SED_FILE", "InstanceWriter"]

INSTANCE_CATALOGUE = "instance_catalog.txt"
SED_FILE = "flat_fnu.sed"
"""A spectrum of constant F_nu: with it an object has the same AB magnitude in every band."""

_FOLDER_OF = 1000  # stamps in one folder
_SED_RANGE = (5.0, 12000.0)  # nm at rest: seen from 300 to 1100 nm at any redshift below 50
_SED_STEP = 1.003  # so fine that GalSim's straight lines between the points are good to 2e-6
_NORMALISED_IN = (498.5, 501.5)  # nm
_FINE_STEP = 0.002
"""imSim normalises an SED in a band from 499 to 501 nm. GalSim integrates on the points of both tables, that band's
three and the SED's: with an SED of 1 nm steps the magnitude is wrong by 0.24, with these points by less than 1e-4."""


class InstanceWriter:
    """Writes galaxies, batch by batch, as stamps and lines of an instance catalogue.

    A line has: object, id, ra, dec (degrees), magnitude, SED file, redshift, gamma1, gamma2, kappa, two offsets
    that imSim doesn't read, stamp, pixel scale (arcsec), angle, internal and galactic dust.

    imSim scales a stamp to the line's magnitude, so the line says the magnitude of the stamp's own light, which
    lacks the faint wings outside. It normalises the SED at 500 nm *at rest* and keeps photons per nm when it
    redshifts: the flat spectrum at z is brighter by 2.5 log10(1 + z), which the line takes back.

    Parameters
    ----------
    folder : pathlib.Path
        Exists; its files are not replaced.
    settings : ExportSettings
    """

    def __init__(self, folder: Path, settings: ExportSettings) -> None:
        self._folder, self._settings = folder, settings
        self._file = (folder / INSTANCE_CATALOGUE).open("x", encoding="ascii", newline="\n")
        self._count = 0
        _write_sed(folder / SED_FILE)

    def add(self, batch: ProfileBatch, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> list[int]:
        """Write more galaxies.

        Parameters
        ----------
        batch : ProfileBatch
            N galaxies.
        ra, dec : ndarray, shape (N,)
            Degrees.

        Returns
        -------
        list of int
            Rows of the galaxies that are left out, for they cannot be drawn.

        Raises
        ------
        BadInputError
            As `skyloom.export.drawing.draw_stamps`.
        """
        from astropy.io import fits

        settings = self._settings
        cards = provenance_of(batch, settings)
        if not self._count:
            for keyword in ("MODEL", "WSHA256", "SEED", "SKYLOOM"):
                self._file.write(f"# {keyword} {_plain(cards[keyword][0])}\n")
        left_out: list[int] = []
        for i, stamp in enumerate(draw_stamps(batch, settings, sharpened=True)):
            if stamp is None:
                left_out.append(i)
                continue
            name = Path("stamps", f"{self._count // _FOLDER_OF:04d}", f"{batch.galaxy_id[i]}.fits")
            redshift = 0.0 if batch.redshift is None else float(np.nan_to_num(batch.redshift[i]))
            mag = settings.zero_point - 2.5 * np.log10(float(stamp.sum(dtype=np.float64)))
            magnitude = {"STAMPMAG": (float(mag), "AB mag of the stamp's light")}
            hdu = with_cards(fits.PrimaryHDU(stamp), {**cards, **galaxy_cards(batch, i), **magnitude})
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            hdu.writeto(self._folder / name)
            self._file.write(
                f"object {batch.galaxy_id[i]} {ra[i]:.9f} {dec[i]:.9f} {mag + 2.5 * np.log10(1 + redshift):.8f} "
                f"{SED_FILE} {redshift:.8f} 0 0 0 0 0 {name.as_posix()} {settings.pixel_scale!r} 0 none none\n"
            )
            self._count += 1
        return left_out

    def finish(self) -> None:
        """End the catalogue."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Close the catalogue's file."""
        self._file.close()


def _plain(value: object) -> str:
    """One ASCII word, for imSim splits lines at spaces."""
    return "_".join(str(value).encode("ascii", "replace").decode().split()) or "-"


def _write_sed(path: Path) -> None:
    low, high = _SED_RANGE
    coarse = np.geomspace(low, high, int(np.log(high / low) / np.log(_SED_STEP)) + 1)
    wavelength = np.union1d(coarse, np.arange(*_NORMALISED_IN, _FINE_STEP).round(6))
    lines = [f"{w:.8e} {(500.0 / w) ** 2:.8e}\n" for w in wavelength]
    path.write_text("# nm, F_lambda in arbitrary units; F_nu is constant\n" + "".join(lines), encoding="ascii")
