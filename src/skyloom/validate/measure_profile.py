"""Surface brightness in elliptical annuli of the fit, and flux and half-light radius of the growth curve."""

from __future__ import annotations

import numpy as np
import sep
from numpy.typing import NDArray

from skyloom.validate.measure_flags import Measured, MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame

__all__ = ["GROWTH", "GROWTH_EDGE", "PROFILE", "PROFILE_NODES", "measure_growth", "measure_profile"]

PROFILE_NODES: tuple[float, ...] = tuple(float(r) for r in np.geomspace(0.1, 4.5, 12))
"""Radii of the profile, half-light radii of the fit."""

GROWTH_EDGE = 4.5
"""Outermost aperture of the growth curve, half-light radii of the fit."""

MIN_COVERED = 0.5
"""Share of an annulus that must be usable."""

_STEPS = 91


def measure_profile(frame: Frame) -> Measured:
    """Measure the mean surface brightness in twelve elliptical annuli.

    In units of the fit's flux per squared half-light radius. The annuli meet half-way (in ln r) between
    the nodes; areas are exact. An annulus less than half usable is NaN.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
    """
    if frame.fit is None:
        return {}, MeasureFlag.NO_FIT
    step = np.sqrt(PROFILE_NODES[1] / PROFILE_NODES[0])
    edges = np.array([PROFILE_NODES[0] / step, *(r * step for r in PROFILE_NODES)])
    total = np.diff(_within(frame, frame.image, edges))
    area = np.diff(_within(frame, frame.mask.astype(float), edges))
    whole = np.pi * np.diff(edges**2) * frame.half_light_radius**2
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(area > MIN_COVERED * whole, total / area, np.nan)
    if np.isnan(mean).sum() > len(mean) // 2:
        return {}, MeasureFlag.FEW_PIXELS
    unit = frame.fit.flux / frame.half_light_radius**2
    flag = MeasureFlag.SUSPECT if np.isnan(mean).any() else MeasureFlag(0)
    return {name: float(value) for name, value in zip(PROFILE.columns, mean / unit, strict=True)}, flag


def measure_growth(frame: Frame) -> Measured:
    """Measure the flux within 4.5 half-light radii of the fit, and the radius that holds half of it.

    The apertures are ellipses of the fit, the radius circularised; PSF included. Masked pixels take the value
    of the fit's model. Where the ellipse leaves the stamp its flux is that within the stamp, and suspect.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
    """
    if frame.fit is None:
        return {}, MeasureFlag.NO_FIT
    radii = np.linspace(0.0, GROWTH_EDGE, _STEPS)[1:]
    filled = np.where(frame.mask, frame.image, frame.model)
    curve = np.concatenate([[0.0], _within(frame, filled, radii)])
    area = _within(frame, np.ones_like(filled), radii[-1:])[0]
    flux = float(curve[-1])
    if not flux > 0:
        return {}, MeasureFlag.FAILED
    radii = np.concatenate([[0.0], radii])
    first = int(np.argmax(curve >= flux / 2))  # the first crossing: noise makes the outer curve wander
    share = (flux / 2 - curve[first - 1]) / (curve[first] - curve[first - 1])
    radius = radii[first - 1] + share * (radii[first] - radii[first - 1])
    outside = area < 0.9 * np.pi * (GROWTH_EDGE * frame.half_light_radius) ** 2
    hidden = (~frame.mask & (frame.radius < 1.0)).sum() > 0.2 * (frame.radius < 1.0).sum()
    return {
        "growth_flux": flux,
        "growth_mag": frame.cutout.zero_point - 2.5 * float(np.log10(flux)),
        "growth_half_light_radius": float(radius) * frame.fit.half_light_radius,
    }, MeasureFlag.SUSPECT if outside or hidden else MeasureFlag(0)


def _within(frame: Frame, image: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of an image within the fit's ellipses (radii in half-light radii), exact at the pixels they cut."""
    fit = frame.fit
    assert fit is not None
    x, y = (np.full(len(radii), v) for v in frame.centre)
    size, root = frame.half_light_radius, np.sqrt(fit.q)
    theta = float(np.clip(fit.beta, -np.pi / 2, np.pi / 2))
    data = np.ascontiguousarray(image, dtype=np.float64)
    total, _, _ = sep.sum_ellipse(data, x, y, size / root, size * root, theta, r=radii, subpix=0)
    return np.asarray(total, dtype=np.float64)


PROFILE = Tool("profile", {f"profile_{i:02d}": "" for i in range(len(PROFILE_NODES))}, measure_profile)
GROWTH = Tool(
    "growth",
    {"growth_flux": "", "growth_mag": "mag", "growth_half_light_radius": "arcsec"},
    measure_growth,
)
