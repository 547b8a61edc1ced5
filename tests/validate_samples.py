"""Made-up cutouts for the tests of the validation: a Sersic times a structure in its face-on disc."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import galsim
import numpy as np
from astropy.table import Table

from skyloom.stamps import Cutout, SersicFit
from skyloom.validate.measure_flags import Tool
from skyloom.validate.measure_frame import prepare

SCALE = 0.06
Structure = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (r, phi) -> fraction of the Sersic


def make_cutout(
    galaxy_id: int = 0,
    *,
    n: float = 1.0,
    half_light_radius: float = 0.5,
    q: float = 0.7,
    beta: float = 0.4,
    flux: float = 2000.0,
    size: int = 96,
    sigma: float = 0.0,
    psf_fwhm: float = 0.12,
    dx: float = 0.01,
    dy: float = -0.015,
    structure: Structure | None = None,
    profile: galsim.GSObject | None = None,
    snr: float = 200.0,
) -> Cutout:
    """One galaxy with the fit that it was drawn from; `sigma` of white noise, `variance` never 0."""
    psf = galsim.Gaussian(fwhm=psf_fwhm)
    kernel = psf.drawImage(nx=25, ny=25, scale=SCALE, method="no_pixel", dtype=np.float32).array
    kernel = kernel / kernel.sum()
    if profile is None:
        profile = galsim.Sersic(n, half_light_radius=half_light_radius, flux=flux).shear(
            q=q, beta=beta * galsim.radians
        )
    galaxy = galsim.Convolve(profile.shift(dx, dy), psf)
    image = galaxy.drawImage(nx=size, ny=size, scale=SCALE, method="no_pixel", dtype=float).array
    errors = (0.01, 0.01, 0.02, 0.05, 0.02, 0.05, 0.01 * flux, 0.0)
    fit = SersicFit(dx, dy, half_light_radius, n, q, beta, flux, 0.0, *errors, chi2=1.0, snr=snr, flag=0)
    noise = np.random.default_rng(galaxy_id).normal(0.0, 1.0, image.shape) * sigma
    cutout = Cutout(
        image=image.astype(np.float32),
        variance=np.full((size, size), max(sigma, 1e-6) ** 2, np.float32),
        mask=np.ones((size, size), dtype=bool),
        psf=kernel.astype(np.float32),
        pixel_scale=SCALE,
        zero_point=25.0,
        band="F814W",
        wavelength=805.0,
        galaxy_id=galaxy_id,
        group="0",
        source="made up",
        fit=fit,
    )
    if structure is not None:
        frame = prepare(cutout)
        major, minor = frame.disc
        image = image + frame.model * structure(np.hypot(major, minor), np.arctan2(minor, major))
    return replace(cutout, image=(image + noise).astype(np.float32))


def measured(cutouts: Iterable[Cutout], tools: Iterable[Tool]) -> Table:
    """Only these tools' columns: statmorph takes a third of a second a galaxy."""
    tools = list(tools)
    rows = []
    for cutout in cutouts:
        frame = prepare(cutout)
        row: dict[str, float | str] = {"galaxy_id": cutout.galaxy_id, "band": cutout.band}
        for tool in tools:
            values, flag = tool.run(frame)
            row |= {**dict.fromkeys(tool.columns, np.nan), **values, f"flag_{tool.name}": int(flag)}
        rows.append(row)
    return Table(rows)


def spiral(m: int = 2, pitch: float = 4.0, strength: float = 0.4, turn: float = 0.0) -> Structure:
    """Logarithmic arms within three half-light radii."""

    def structure(r: np.ndarray, phi: np.ndarray) -> np.ndarray:
        return strength * window(r) * np.cos(m * (phi - turn) + pitch * np.log(np.maximum(r, 1e-3)))

    return structure


def window(r: np.ndarray) -> np.ndarray:
    """0 at the centre and beyond three half-light radii."""
    return np.clip(r / 0.5, 0, 1) ** 2 * np.clip((3.4 - r) / 0.6, 0, 1)
