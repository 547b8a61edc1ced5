"""Real galaxies as postage stamps: `Cutout`, its Sersic fit, and `CutoutSet`, read row by row."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import IntFlag
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import CutoutError

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Cutout", "CutoutSet", "Dropped", "FitFlag", "SersicFit"]


class FitFlag(IntFlag):
    """What is wrong with a Sersic fit; 0 is good."""

    NOT_CONVERGED = 1
    """The last step still changed chi2 by more than the tolerance."""
    AT_BOUND = 2
    """n, q, size or centre ended on the edge of the allowed box."""
    RUNAWAY_SIZE = 4
    """Less than 40 % of the model's light falls on usable pixels: most of it is invented."""
    LOW_SNR = 8
    """S/N below 10."""
    MASKED_CENTRE = 16
    """Pixels within a PSF's reach of the centre are masked."""
    TRUNCATED = 32
    """The stamp's usable pixels cover less than three half-light radii."""
    POOR_FIT = 64
    """chi2 per pixel above 3: structure a Sersic has not, an unmasked neighbour, or a wrong noise level."""
    FAILED = 128
    """No fit: the numbers are not finite."""
    UNRESOLVED = 256
    """Half-light radius below 0.3 of the PSF's: its n and q are not known."""
    OWN_SHAPE = 512
    """Centre, q and beta are this band's own: those its galaxy has in the other bands do not fit it."""


@dataclass(frozen=True)
class SersicFit:
    """A PSF-convolved Sersic profile fitted to a `Cutout`; ``*_error`` are one sigma.

    Parameters
    ----------
    dx, dy : float
        Centre from the stamp's true centre, arcsec, +x along columns and +y along rows.
    half_light_radius : float
        Circularised, sqrt(ab), arcsec.
    sersic_n : float
        Sersic index.
    q, beta : float
        Axis ratio b/a, and position angle of the major axis from +x towards +y in radians, in (-pi/2, pi/2].
    flux : float
        Total flux of the profile to infinity, in the image's units.
    sky : float
        Fitted constant, image units a pixel; 0 when it was not fitted.
    chi2 : float
        Per usable pixel, with the weights of the fit (noise and a model floor, see `docs/cutouts`).
    snr : float
        Matched-filter S/N of the model, noise correlation taken into account.
    flag : int
        Bits of `FitFlag`.
    """

    dx: float
    dy: float
    half_light_radius: float
    sersic_n: float
    q: float
    beta: float
    flux: float
    sky: float
    dx_error: float
    dy_error: float
    half_light_radius_error: float
    sersic_n_error: float
    q_error: float
    beta_error: float
    flux_error: float
    sky_error: float
    chi2: float
    snr: float
    flag: int

    @property
    def flags(self) -> FitFlag:
        """The flag's bits by name."""
        return FitFlag(self.flag)


@dataclass(frozen=True, eq=False)
class Cutout:
    """One real galaxy in one band.

    Parameters
    ----------
    image : ndarray of float32, shape (S, S)
        Flux a pixel, background subtracted, rows along +y; `zero_point` is the AB magnitude of one unit.
    variance : ndarray of float32, shape (S, S)
        Of the noise alone (sky, and photons of the source where known), calibrated to the scatter of the
        stamp's own pixels: what one pixel varies by, correlated with its neighbours by `noise_correlation`.
    mask : ndarray of bool, shape (S, S)
        True where the pixel can be used: on the chip, not a neighbour's, not padding.
    psf : ndarray of float32, shape (P, P), P odd
        EFFECTIVE PSF, the pixel response included, at `pixel_scale`, of sum 1, centred at its true centre.
    pixel_scale : float
        Arcsec.
    zero_point : float
        AB magnitude of one unit of summed image.
    band : str
        Filter.
    wavelength : float
        Pivot wavelength, nm.
    galaxy_id : int
        One id a galaxy and source, the same in all its bands.
    group : str
        Galaxies whose stamps may share sky share a group: split training from testing by it.
    source : str
        The data set.
    redshift : float
        NaN: not known.
    thresholded : bool
        Only pixels above an isophote were kept (mask): the wings are missing, not zero.
    noise_correlation : float
        Mean correlation of the noise of adjacent pixels.
    centre_x, centre_y : float
        The stamp's true centre in a frame that all bands of the galaxy share, arcsec. NaN: not known.
    fit : SersicFit or None
        None: not measured.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.bool_]
    psf: NDArray[np.float32]
    pixel_scale: float
    zero_point: float
    band: str
    wavelength: float
    galaxy_id: int
    group: str
    source: str
    redshift: float = float("nan")
    thresholded: bool = False
    noise_correlation: float = 0.0
    centre_x: float = float("nan")
    centre_y: float = float("nan")
    fit: SersicFit | None = None


@dataclass(frozen=True)
class Dropped:
    """A galaxy of a source that gave no cutout, and why: nothing is lost in silence.

    Parameters
    ----------
    galaxy : str
        What names it in its source.
    reason : str
        A short phrase, the same for all galaxies dropped for it.
    """

    galaxy: str
    reason: str


FIT_COLUMNS = tuple(f.name for f in fields(SersicFit))
SCALAR_COLUMNS = tuple(f.name for f in fields(Cutout) if f.name not in ("image", "variance", "mask", "psf", "fit"))


class CutoutSet(Sequence[Cutout]):
    """The cutouts of one HDF5 file, or some of them, read one by one when asked for.

    The file is opened in each process that reads (an open HDF5 file does not survive a fork), so a set can be
    pickled and handed to workers. Make one with `skyloom.read_cutouts`.

    Parameters
    ----------
    path : Path
        A checked file of `skyloom.cutouts.hdf5`.
    columns : mapping of str to ndarray, shape (N,)
        All scalar columns of the file's rows.
    rows : ndarray of int, optional
        Which rows, in which order; all when left out.
    """

    def __init__(self, path: Path, columns: dict[str, NDArray[Any]], rows: NDArray[np.intp] | None = None) -> None:
        self.path = Path(path)
        self._columns = columns
        self._rows = np.arange(len(columns["galaxy_id"])) if rows is None else rows
        self._file: Any = None
        self._pid = -1
        self._identity = _identity(self.path)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<CutoutSet of {len(self)} cutouts in {self.path}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_pid": -1}

    @property
    def table(self) -> Table:
        """All scalar columns, one row a cutout; a fit's begin with ``fit_`` (``fit_flag`` -1: no fit)."""
        from astropy.table import Table

        return Table({name: values[self._rows] for name, values in self._columns.items()})

    def column(self, name: str) -> NDArray[Any]:
        """One scalar column, shape (N,)."""
        if name not in self._columns:
            raise CutoutError(f"{self.path}: no column '{name}'; there are {', '.join(self._columns)}")
        return self._columns[name][self._rows]

    def subset(self, rows: Any) -> CutoutSet:
        """The cutouts of a slice, mask or integer array, as a set on the same file."""
        out = CutoutSet(self.path, self._columns, self._rows[rows])
        out._identity = self._identity
        return out

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Cutout: ...
    @overload
    def __getitem__(self, index: slice) -> CutoutSet: ...
    def __getitem__(self, index: Any) -> Cutout | CutoutSet:
        if isinstance(index, slice):
            return self.subset(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"cutout {index} of {len(self)}")
        return self._read(int(self._rows[index]))

    def __iter__(self) -> Iterator[Cutout]:
        return (self._read(int(row)) for row in self._rows)

    def _read(self, row: int) -> Cutout:
        if self._file is None or self._pid != os.getpid():
            import h5py

            if _identity(self.path) != self._identity:
                raise CutoutError(f"{self.path}: the file has been replaced since its cutouts were listed")
            self._file, self._pid = h5py.File(self.path, "r"), os.getpid()
        try:
            pixels = {name: self._file[name][row] for name in ("image", "variance", "mask", "psf")}
        except (OSError, KeyError) as exc:
            raise CutoutError(f"{self.path}: cutout {row} cannot be read: {exc}") from exc
        pixels["mask"] = pixels["mask"].astype(bool)
        scalars = {name: self._columns[name][row].item() for name in SCALAR_COLUMNS}
        fit = {name: self._columns[f"fit_{name}"][row].item() for name in FIT_COLUMNS}
        return Cutout(**pixels, **scalars, fit=SersicFit(**fit) if fit["flag"] >= 0 else None)


def _identity(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced: rows listed from one must not be read from another."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise CutoutError(f"{path}: no such file") from None
    return found.st_ino, found.st_size, found.st_mtime_ns
