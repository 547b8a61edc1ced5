"""Numbers measured on real galaxies, to validate against where no cutouts are at hand.

A reference is an ECSV table of one row a galaxy: the measurements of `skyloom.validate.measure`, and what is
needed to simulate a counterpart seen alike (`cutout_*`): zero point, pixel scale, noise and its correlation, the
box of usable pixels, and a Moffat profile that stands for the effective PSF. It holds no pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import galsim
import numpy as np
from astropy.table import Table

from skyloom.errors import BadInputError
from skyloom.stamps import Cutout, SersicFit
from skyloom.validate.measure import count_flags
from skyloom.validate.report_data import Sample
from skyloom.validate.sample import Screening, SetAside, fit_fault, name_of

__all__ = ["COLUMNS", "Reference", "list_references", "load_reference", "reference_row"]

PSF_SIZE = 61
CAUTION = (
    "The real galaxies are a table of numbers. Counterparts are seen through a Moffat profile, uniform noise and"
    " a rectangular mask in place of each cutout's own, so small differences may come from those: judge with"
    " cutouts (--real) where you have them."
)

COLUMNS: dict[str, str] = {
    "cutout_pixel_scale": "arcsec a pixel",
    "cutout_zero_point": "AB magnitude of one unit",
    "cutout_redshift": "",
    "cutout_noise": "median rms of a pixel, image units",
    "cutout_noise_correlation": "of adjacent pixels",
    "cutout_size": "pixels along a side",
    "cutout_x0": "first usable column",
    "cutout_x1": "column after the last usable one",
    "cutout_y0": "first usable row",
    "cutout_y1": "row after the last usable one",
    "cutout_sky": "fitted constant, image units a pixel",
    "cutout_fit_flag": "bits of FitFlag",
    "cutout_psf_fwhm": "arcsec, of the Moffat profile with the pixel in it",
    "cutout_psf_beta": "of the Moffat profile",
    "cutout_psf_g1": "shear of the Moffat profile",
    "cutout_psf_g2": "shear of the Moffat profile",
}
"""What a reference table has beside the measurements, and what it means."""


@dataclass(frozen=True)
class Reference:
    """A reference table.

    Parameters
    ----------
    name : str
    table : Table
    blanks : sequence of Cutout
        One a row, with conditions, PSF, noise and mask, the image being zero.
    """

    name: str
    table: Table
    blanks: Sequence[Cutout]

    @property
    def caution(self) -> str:
        """What to hold against a validation by numbers alone."""
        return CAUTION

    def select(
        self, keep: Callable[[Cutout], tuple[str, str] | None], limit: int | None
    ) -> tuple[list[int], Screening]:
        """Rows whose conditions can be asked for, as `skyloom.validate.sample.select` chooses cutouts."""
        screening, rows = Screening(), []
        for i, blank in enumerate(self.blanks):
            screening.read += 1
            fault = fit_fault(blank.fit) or keep(blank)
            if fault is None:
                rows.append(i)
            else:
                screening.set_aside.append(SetAside(name_of(blank), *fault))
            if len(rows) == limit:
                break
        screening.kept = len(rows)
        return rows, screening

    def sample(self, rows: Sequence[int], screening: Screening) -> Sample:
        """The measurements of some rows as the real sample."""
        table = self.table[list(rows)]
        table["real_row"] = np.arange(len(table))
        return Sample(
            "real",
            "real",
            table,
            set_aside=screening.set_aside,
            read=screening.read,
            failed=count_flags(table),
            notes=dict(screening.notes),
        )


def list_references() -> list[str]:
    """Names of the tables that come with the package."""
    folder = resources.files("skyloom.validate") / "references"
    return sorted(p.name.removesuffix(".ecsv") for p in folder.iterdir() if p.name.endswith(".ecsv"))


def load_reference(name: str) -> Reference:
    """Read a reference by name, or from the path of an ECSV file.

    Raises
    ------
    BadInputError
        When there is none of that name, or the file lacks a column.
    """
    if name.endswith(".ecsv"):
        path = Path(name)
        if not path.is_file():
            raise BadInputError(f"reference '{name}': no such file")
    elif name in list_references():
        path = Path(str(resources.files("skyloom.validate") / "references" / f"{name}.ecsv"))
    else:
        there = ", ".join(list_references()) or "none"
        raise BadInputError(f"there is no reference '{name}'; there are: {there}")
    try:
        table = Table.read(path, format="ascii.ecsv")
    except (ValueError, OSError) as exc:
        raise BadInputError(f"reference '{path}' cannot be read: {exc}") from exc
    needed = [
        *COLUMNS,
        "galaxy_id",
        "band",
        "source",
        "group",
        "wavelength",
        "fit_flux",
        "fit_half_light_radius",
    ]
    missing = [column for column in needed if column not in table.colnames]
    if missing:
        raise BadInputError(f"reference '{path}' lacks the columns {', '.join(missing)}")
    if not len(table):
        raise BadInputError(f"reference '{path}' has no rows")
    for column in table.colnames:  # numbers that were not measured are empty fields
        if table[column].dtype.kind == "f":
            table[column] = np.ma.filled(np.ma.asarray(table[column]), np.nan)
    return Reference(name, table, [_blank(row) for row in table])


def reference_row(cutout: Cutout) -> dict[str, Any]:
    """The `COLUMNS` of one cutout."""
    usable = cutout.mask
    rows, columns = np.flatnonzero(usable.any(axis=1)), np.flatnonzero(usable.any(axis=0))
    return {
        "cutout_pixel_scale": cutout.pixel_scale,
        "cutout_zero_point": cutout.zero_point,
        "cutout_redshift": cutout.redshift,
        "cutout_noise": float(np.sqrt(np.median(cutout.variance[usable]))),
        "cutout_noise_correlation": cutout.noise_correlation,
        "cutout_size": cutout.image.shape[0],
        "cutout_x0": int(columns[0]),
        "cutout_x1": int(columns[-1]) + 1,
        "cutout_y0": int(rows[0]),
        "cutout_y1": int(rows[-1]) + 1,
        "cutout_sky": cutout.fit.sky if cutout.fit else 0.0,
        "cutout_fit_flag": cutout.fit.flag if cutout.fit else -1,
        **_psf_numbers(cutout),
    }


def _psf_numbers(cutout: Cutout) -> dict[str, float]:
    """The Moffat profile nearest to an effective PSF in least squares."""
    from scipy.optimize import least_squares

    data = np.asarray(cutout.psf, dtype=np.float64)
    scale, size = cutout.pixel_scale, data.shape[0]

    def image(p: np.ndarray) -> np.ndarray:
        profile = galsim.Moffat(beta=p[1], fwhm=p[0] * scale).shear(g1=p[2], g2=p[3])
        return profile.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=np.float64).array

    # the core counts most, as it does for what is seen through it
    found = least_squares(
        lambda p: (image(p) - data).ravel(),
        [3.0, 3.0, 0.0, 0.0],
        bounds=([0.8, 1.2, -0.4, -0.4], [20.0, 8.0, 0.4, 0.4]),
        diff_step=1e-4,
    )
    fwhm, beta, g1, g2 = found.x
    return {
        "cutout_psf_fwhm": float(fwhm * scale),
        "cutout_psf_beta": float(beta),
        "cutout_psf_g1": float(g1),
        "cutout_psf_g2": float(g2),
    }


def _blank(row: Mapping[str, Any]) -> Cutout:
    size, scale = int(row["cutout_size"]), float(row["cutout_pixel_scale"])
    moffat = galsim.Moffat(beta=float(row["cutout_psf_beta"]), fwhm=float(row["cutout_psf_fwhm"]))
    sheared = moffat.shear(g1=float(row["cutout_psf_g1"]), g2=float(row["cutout_psf_g2"]))
    psf = sheared.drawImage(nx=PSF_SIZE, ny=PSF_SIZE, scale=scale, method="no_pixel", dtype=np.float64).array
    mask = np.zeros((size, size), dtype=bool)
    mask[int(row["cutout_y0"]) : int(row["cutout_y1"]), int(row["cutout_x0"]) : int(row["cutout_x1"])] = True
    nan = float("nan")
    fit = SersicFit(
        **{name: float(row[f"fit_{name}"]) for name in ("dx", "dy", "half_light_radius", "sersic_n", "q", "beta")},
        flux=float(row["fit_flux"]),
        sky=float(row["cutout_sky"]),
        **{f"{name}_error": nan for name in ("dx", "dy", "half_light_radius", "sersic_n", "q", "beta", "flux", "sky")},
        chi2=float(row["fit_chi2"]),
        snr=float(row["fit_snr"]),
        flag=int(row["cutout_fit_flag"]),
    )
    return Cutout(
        image=np.zeros((size, size), np.float32),
        variance=np.full((size, size), float(row["cutout_noise"]) ** 2, np.float32),
        mask=mask,
        psf=(psf / psf.sum()).astype(np.float32),
        pixel_scale=scale,
        zero_point=float(row["cutout_zero_point"]),
        band=str(row["band"]),
        wavelength=float(row["wavelength"]),
        galaxy_id=int(row["galaxy_id"]),
        group=str(row["group"]),
        source=str(row["source"]),
        redshift=float(row["cutout_redshift"]),
        noise_correlation=float(row["cutout_noise_correlation"]),
        fit=fit,
    )
