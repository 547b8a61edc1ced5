"""Writer of GalSim's RealGalaxyCatalog format (Mandelbaum et al. 2012, MNRAS 420, 1518)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.export.companion import parametric_columns, selection_columns
from skyloom.export.drawing import draw_stamps, psf_stamp
from skyloom.export.fits_stream import ImageStream, Provenance, galaxy_cards, provenance_of, write_table
from skyloom.export.settings import ExportSettings
from skyloom.profiles import ProfileBatch
from skyloom.rng import galaxy_rng

__all__ = ["CATALOGUE", "RealGalaxyWriter"]

CATALOGUE = "real_galaxy_catalog.fits"
"""Name of the table to open."""

_PSF_FILE = "real_galaxy_PSF_images.fits"
_QUIET = 1e-6  # of the peak: the noise named for a stamp without noise
_PURPOSE = "export-noise"


class RealGalaxyWriter:
    """Writes galaxies, batch by batch, as a RealGalaxyCatalog.

    Parameters
    ----------
    folder : pathlib.Path
        Exists; its files are not replaced.
    settings : ExportSettings
    files_of : int
        Most stamps in one FITS file.
    """

    def __init__(self, folder: Path, settings: ExportSettings, *, files_of: int = 1000) -> None:
        self._folder, self._settings, self._files_of = folder, settings, files_of
        self._stream: ImageStream | None = None
        self._files = 0
        self._cards: Provenance = {}
        self._rows: list[dict[str, NDArray[Any]]] = []
        self._fits: list[dict[str, NDArray[Any]]] = []

    def add(self, batch: ProfileBatch, ra: NDArray[np.float64] | None = None, dec: Any = None) -> list[int]:
        """Write the stamps of more galaxies.

        Parameters
        ----------
        batch : ProfileBatch
            N galaxies.
        ra, dec : ndarray, shape (N,), optional
            Degrees, for the catalogue's columns.

        Returns
        -------
        list of int
            Rows of the galaxies that are left out, for they cannot be drawn.

        Raises
        ------
        BadInputError
            As `skyloom.export.drawing.draw_stamps`.
        """
        settings = self._settings
        self._cards = provenance_of(batch, settings)
        count = len(batch)
        rows: dict[str, Any] = {name: np.zeros(count) for name in ("peak", "square", "variance", "stamp_flux")}
        rows |= {"size": np.zeros(count, np.int64), "hdu": np.zeros(count, np.int64), "file": []}
        kept: list[int] = []
        for i, stamp in enumerate(draw_stamps(batch, settings)):
            if stamp is None:
                continue
            kept.append(i)
            rows["size"][i], rows["peak"][i] = len(stamp), stamp.max()
            rows["square"][i] = np.square(stamp, dtype=np.float64).sum()
            rows["variance"][i] = settings.noise_variance or (_QUIET * rows["peak"][i]) ** 2
            if settings.noise_variance is not None:
                rng = galaxy_rng(batch.seed, int(batch.galaxy_id[i]), _PURPOSE)
                noise = rng.standard_normal(stamp.shape, dtype=np.float32)
                stamp = stamp + noise * np.float32(settings.noise_variance**0.5)
            rows["stamp_flux"][i] = stamp.sum(dtype=np.float64)
            stream = self._next_stream()
            rows["hdu"][i] = stream.append(stamp, galaxy_cards(batch, i))
            rows["file"].append(stream.path.name)
        if kept:
            drawn = np.array(kept)
            files = np.array(rows.pop("file"))
            rows |= {"ident": batch.galaxy_id} | ({"ra": ra, "dec": dec} if ra is not None else {})
            rows = {name: values[drawn] for name, values in rows.items()} | {"file": files}
            self._rows.append(rows)
            self._fits.append(parametric_columns(batch[drawn], rows["size"], settings))
        return sorted(set(range(count)) - set(kept))

    def finish(self) -> None:
        """Write the PSF and the tables; the catalogue last."""
        self.close()
        psf = ImageStream(self._folder / _PSF_FILE, self._cards)
        psf_hdu = psf.append(psf_stamp(self._settings), {})
        psf.close()
        stem = CATALOGUE.removesuffix(".fits")
        rows, fitted = _joined(self._rows), _joined(self._fits)
        write_table(self._folder / f"{stem}_fits.fits", fitted, self._cards)
        write_table(self._folder / f"{stem}_selection.fits", selection_columns(rows, self._settings), self._cards)
        count = len(rows["ident"])
        columns = {"ident": rows["ident"]}
        columns |= {name: rows[name] for name in ("ra", "dec") if name in rows}
        columns |= {
            "mag": fitted["mag_auto"],
            "band": np.full(count, self._settings.band),
            "weight": np.ones(count),
            "gal_filename": rows["file"],
            "PSF_filename": np.full(count, _PSF_FILE),
            "gal_hdu": rows["hdu"],
            "PSF_hdu": np.full(count, psf_hdu),
            "pixel_scale": np.full(count, self._settings.pixel_scale),
            "noise_mean": np.zeros(count),
            "noise_variance": rows["variance"],
            "stamp_flux": rows["stamp_flux"],
        }
        write_table(self._folder / CATALOGUE, columns, self._cards)

    def close(self) -> None:
        """Close what is open; without `finish` there is no catalogue."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _next_stream(self) -> ImageStream:
        if self._stream is not None and self._stream.images >= self._files_of:
            self.close()
        if self._stream is None:
            self._stream = ImageStream(self._folder / f"real_galaxy_images_{self._files:04d}.fits", self._cards)
            self._files += 1
        return self._stream


def _joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
