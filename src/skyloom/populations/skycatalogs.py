"""Galaxies of skyCatalogs' Parquet files: bulge, disk and knots become one Sersic profile.

Columns as in LSSTDESC/skyCatalogs, `parquet_schema_utils`: sizes are the half-light radii along the major and the
minor axis (arcsec), ellipticities are (1 - q) / (1 + q), fluxes are photons a second and cm^2 through the whole
system, magnified.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv

from skyloom.columns import PHYSICAL_RANGES
from skyloom.conditions import Conditions
from skyloom.errors import CatalogueError
from skyloom.populations.catalogue import Catalogue
from skyloom.populations.table_files import TableFile, open_table

__all__ = ["RUBIN_AREA", "is_skycatalogs", "one_sersic", "read_skycatalogs"]

RUBIN_AREA = 0.25 * math.pi * 649.0**2
"""Effective area of the Simonyi telescope, cm^2, of the 6.49 m that imSim uses."""
SHEAR = ("shear_1", "shear_2", "convergence")
NEEDED = ("galaxy_id", "ra", "dec", "redshift", *SHEAR, "size_disk_true", "size_bulge_true")
Column = NDArray[np.float64]


def is_skycatalogs(file: TableFile) -> bool:
    """Whether a file has the columns of skyCatalogs' galaxies."""
    return set(NEEDED) <= set(file.names)


def read_skycatalogs(path: Path, file: TableFile, sha256: str, *, band: str, exptime: float) -> Catalogue:
    """Read galaxies, with the fluxes of the same file or of ``galaxy_flux_*`` beside ``galaxy_*``.

    Bulge and disk (knots have the disk's size) are weighted by their light: ``*_magnorm`` (at 500 nm) where
    the file has them, the sum of ``sed_val_*`` elsewhere. Half-light radius and Sersic index are those of
    `one_sersic`; axis ratio and angle those of the mean ellipticity, weighted by light. Fluxes are divided by the
    magnification, which the catalogue gives apart.

    Raises
    ------
    CatalogueError
        For missing columns or values that cannot be.
    """
    if missing := [n for n in NEEDED if n not in file.names]:
        raise CatalogueError(f"catalogue '{path}' is none of skyCatalogs: it lacks {', '.join(missing)}")
    raw = file.read([n for n in file.names if n in _wanted(file.names)])
    plain = {n: _plain_column(path, n, v) for n, v in raw.items() if n != "galaxy_id"}
    ids = np.asarray(raw["galaxy_id"])
    kappa = plain["convergence"]
    g1, g2 = plain["shear_1"] / (1 - kappa), plain["shear_2"] / (1 - kappa)
    mu = 1 / ((1 - kappa) ** 2 - plain["shear_1"] ** 2 - plain["shear_2"] ** 2)
    bulge = _bulge_share(path, plain)
    shapes = {c: _component(plain, c) for c in ("bulge", "disk")}
    size, index = one_sersic(
        bulge, shapes["bulge"][0], shapes["disk"][0], plain.get("sersic_bulge", 4.0), plain.get("sersic_disk", 1.0)
    )
    e1, e2 = (bulge * shapes["bulge"][i] + (1 - bulge) * shapes["disk"][i] for i in (1, 2))
    e = np.hypot(e1, e2)
    conditions = Conditions(
        galaxy_id=ids,
        flux=_fluxes(path, file, ids, band) * RUBIN_AREA * exptime / mu,
        half_light_radius=size,
        sersic_n=np.clip(index, *PHYSICAL_RANGES["sersic_n"]),
        q=(1 - e) / (1 + e),
        beta=np.arctan2(-e2, -e1) / 2,  # skyCatalogs draws with both components reversed
        redshift=plain["redshift"],
    )
    return Catalogue(conditions, path, sha256, ra=plain["ra"], dec=plain["dec"], g1=g1, g2=g2, mu=mu)


def one_sersic(bulge: Any, bulge_size: Any, disk_size: Any, bulge_n: Any = 4.0, disk_n: Any = 1.0) -> tuple[Any, Any]:
    """Half-light radius and Sersic index of a bulge and a disk taken for one, as if both were round.

    The radius holds half of the light exactly; the index is the one whose r80 / r20, the concentration of
    Bershady et al. (2000), is that of the sum.

    Parameters
    ----------
    bulge : array_like, shape (N,)
        Share of the light, 0 to 1.
    bulge_size, disk_size : array_like, shape (N,)
        Half-light radii, arcsec.
    bulge_n, disk_n : array_like
        Sersic indices.

    Returns
    -------
    (half_light_radius, sersic_n) : ndarray, shape (N,)
    """
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (bulge, bulge_size, disk_size)))
    share, a, b = (np.atleast_1d(v) for v in arrays)
    na, nb = (np.broadcast_to(np.asarray(n, dtype=np.float64), share.shape) for n in (bulge_n, disk_n))
    ka, kb = gammaincinv(2 * na, 0.5), gammaincinv(2 * nb, 0.5)

    def radius(part: float) -> Column:
        low, high = np.log(np.minimum(a, b)) - 12.0, np.log(np.maximum(a, b)) + 5.0
        for _ in range(40):
            middle = (low + high) / 2
            r = np.exp(middle)
            light = share * gammainc(2 * na, ka * (r / a) ** (1 / na))
            light += (1 - share) * gammainc(2 * nb, kb * (r / b) ** (1 / nb))
            low, high = np.where(light < part, middle, low), np.where(light < part, high, middle)
        return np.exp((low + high) / 2)

    grid = np.linspace(0.3, 6.2, 237)
    ratio = (gammaincinv(2 * grid, 0.8) / gammaincinv(2 * grid, 0.2)) ** grid
    return radius(0.5), np.interp(radius(0.8) / radius(0.2), ratio, grid)


def _wanted(names: tuple[str, ...]) -> set[str]:
    parts = {f"{a}_{c}{b}" for c in ("bulge", "disk") for a, b in (("size", "_true"), ("size_minor", "_true"))}
    parts |= {f"ellipticity_{i}_{c}_true" for c in ("bulge", "disk") for i in (1, 2)}
    magnorm = {f"{c}_magnorm" for c in ("bulge", "disk", "knots")}
    light = magnorm if {"bulge_magnorm", "disk_magnorm"} <= set(names) else {
        f"sed_val_{c}" for c in ("bulge", "disk", "knots")
    }  # fmt: skip
    return {*NEEDED, *parts, *light, "sersic_bulge", "sersic_disk"}


def _plain_column(path: Path, name: str, values: Any) -> Column:
    out = np.asarray(np.ma.filled(np.ma.asanyarray(values).astype(np.float64), np.nan))
    if "magnorm" in name or name.startswith("sed_val"):  # no light: infinite, or no number
        return out
    if not np.isfinite(out).all():
        row = int(np.argmin(np.isfinite(out)))
        raise CatalogueError(f"catalogue '{path}': column '{name}', row {row}: {float(out[row])!r} is no number")
    return out


def _bulge_share(path: Path, plain: dict[str, Column]) -> Column:
    """Share of the bulge in the light, (N,)."""
    light = {}
    for c in ("bulge", "disk", "knots"):
        if f"{c}_magnorm" in plain:
            magnorm = np.where(np.isfinite(plain[f"{c}_magnorm"]), plain[f"{c}_magnorm"], np.inf)
            light[c] = 10 ** (-0.4 * magnorm)
        elif f"sed_val_{c}" in plain:
            light[c] = np.nan_to_num(plain[f"sed_val_{c}"])
    if not {"bulge", "disk"} <= set(light):
        raise CatalogueError(f"catalogue '{path}' has neither bulge_magnorm, disk_magnorm nor sed_val_bulge, _disk")
    total = sum(light.values())
    dark = ~(np.asarray(total) > 0)
    if dark.any():
        raise CatalogueError(f"catalogue '{path}', row {int(np.argmax(dark))}: neither bulge nor disk has light")
    return np.asarray(light["bulge"] / total)


def _component(plain: dict[str, Column], name: str) -> tuple[Column, Column, Column]:
    """Circularised half-light radius (arcsec) and both ellipticities of a component."""
    major = plain[f"size_{name}_true"]
    zero = np.zeros_like(major)
    e1, e2 = (plain.get(f"ellipticity_{i}_{name}_true", zero) for i in (1, 2))
    e = np.hypot(e1, e2)
    minor = plain.get(f"size_minor_{name}_true", major * (1 - e) / (1 + e))
    return np.sqrt(np.maximum(major * minor, 1e-12)), e1, e2


def _fluxes(path: Path, file: TableFile, ids: NDArray[np.int64], band: str) -> Column:
    """Photons a second and cm^2, in the order of `ids`."""
    name = f"lsst_flux_{band}"
    if name in file.names:
        return _plain_column(path, name, file.read([name])[name])
    beside = path.with_name(path.name.replace("galaxy_", "galaxy_flux_", 1))
    if beside == path or not beside.is_file():
        raise CatalogueError(
            f"catalogue '{path}' has no column '{name}', and there is no file '{beside.name}' beside it"
        )
    other = open_table(beside)
    if name not in other.names:
        raise CatalogueError(f"catalogue '{beside}' has no column '{name}'; it has {', '.join(other.names)}")
    found = other.read(["galaxy_id", name])
    order = np.argsort(np.asarray(found["galaxy_id"]), kind="stable")
    theirs = np.asarray(found["galaxy_id"])[order]
    place = np.minimum(np.searchsorted(theirs, ids), len(theirs) - 1)
    if (absent := theirs[place] != ids).any():
        raise CatalogueError(f"catalogue '{beside}' has no flux of galaxy {ids[int(np.argmax(absent))]}")
    return _plain_column(beside, name, found[name])[order][place]
