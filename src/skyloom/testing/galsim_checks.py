"""GalSim's own style of checks on one galaxy; `CHECKS` lists them with their limits."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from galsim.utilities import check_all_diff, check_pickle
from numpy.typing import NDArray

from skyloom.galaxy import LearnedGalaxy
from skyloom.residual_grid import interpolate
from skyloom.testing.half_light import measured_half_light_radius

__all__ = ["CHECKS", "Check"]

_PHOTONS = 100_000
_STAMP = 32


@dataclass(frozen=True)
class Check:
    """What is measured, and the largest deviation allowed."""

    measure: Callable[[LearnedGalaxy], float]
    limit: float
    what: str


def pickle_and_repr(galaxy: LearnedGalaxy) -> float:
    """GalSim's `check_pickle` (copies, pickle, hash, repr) on the galaxy, also within other objects."""
    others = (galaxy.shear(g1=0.1, g2=-0.2), galsim.Convolve(galaxy, galsim.Gaussian(sigma=0.1)))
    with contextlib.redirect_stdout(io.StringIO()):
        for obj in (galaxy, galaxy.withGSParams(folding_threshold=1e-3), *others):
            check_pickle(obj)
    same = eval(repr(galaxy), {"galsim": galsim})
    image, again = (obj.drawImage(nx=8, ny=8, scale=0.2, method="sb") for obj in (galaxy, same))
    return float(np.abs(image.array - again.array).max() / image.array.max())


def all_different(galaxy: LearnedGalaxy) -> float:
    """Galaxies that differ in anything are different, and hash differently."""
    others: list[Any] = [galaxy, galaxy.withFlux(galaxy.flux * 2), galaxy.withGSParams(maxk_threshold=1e-4)]
    others += [galaxy.shift(0.1, 0.0), galaxy.dilate(1.1)]
    check_all_diff(others)
    return 0.0


def gsparams(galaxy: LearnedGalaxy) -> float:
    """The same GSParams give the same object; tighter ones reach finer and farther."""
    assert galaxy.withGSParams(galaxy.gsparams) is galaxy
    tight = galaxy.withGSParams(folding_threshold=1e-4, maxk_threshold=1e-4)
    assert tight.stepk <= galaxy.stepk
    assert tight.maxk > galaxy.maxk
    assert galaxy.shear(g1=0.1).withGSParams(tight.gsparams).original.gsparams == tight.gsparams
    return abs(tight.flux / galaxy.flux - 1)


def flux(galaxy: LearnedGalaxy) -> float:
    """The flux at k = 0, before and after GalSim's transformations, is the flux attribute."""
    lensed = galaxy.lens(0.1, -0.05, 1.2)
    seen: list[Any] = [galaxy.kValue(0, 0) / galaxy.flux, lensed.kValue(0, 0) / (1.2 * galaxy.flux)]
    seen += [galaxy.withFlux(7.0).kValue(0, 0) / 7, galaxy.withScaledFlux(3).kValue(0, 0) / (3 * galaxy.flux)]
    seen += [(galaxy.positive_flux - galaxy.negative_flux) / galaxy.flux]
    return float(max(abs(value - 1) for value in seen))


def x_values(galaxy: LearnedGalaxy) -> float:
    """Pixels drawn in real space against xValue, relative; also transformed, and in a sum."""
    size = galaxy.half_light_radius
    worst = 0.0
    for obj in (*_transformed(galaxy), galaxy + galsim.Gaussian(sigma=size, flux=galaxy.flux)):
        image = obj.drawImage(nx=_STAMP, ny=_STAMP, scale=size / 5, method="sb", dtype=float)
        for x, y in _some_pixels():
            value = obj.xValue(image.wcs.toWorld(galsim.PositionI(x, y) - image.true_center))
            worst = max(worst, abs(image(x, y) / value - 1))
    return worst


def k_values(galaxy: LearnedGalaxy) -> float:
    """Pixels drawn in k space against kValue, in units of the flux; also transformed, and convolved."""
    worst = 0.0
    for obj in (
        *_transformed(galaxy),
        galsim.Convolve(galaxy, galsim.Gaussian(sigma=galaxy.half_light_radius)),
    ):
        image = obj.drawKImage(nx=_STAMP, ny=_STAMP, scale=1 / galaxy.half_light_radius)
        for x, y in _some_pixels():
            x, y = x - _STAMP // 2 - 1, y - _STAMP // 2 - 1
            value = obj.kValue(x * image.scale, y * image.scale)
            worst = max(worst, abs(image(x, y) - value) / obj.flux)
    return worst


def k_definition(galaxy: LearnedGalaxy) -> float:
    """Values of kValue against the definition, Sersic and a direct Fourier sum, in units of the flux."""
    sersic = galsim.Sersic(galaxy.sersic_n, half_light_radius=1.0)
    residual, scale = _residual(galaxy)
    axis = (np.arange(len(residual)) - (len(residual) - 1) / 2) * scale
    total = 1 + residual.sum() * scale**2
    worst = 0.0
    for kx, ky in np.random.default_rng(1).normal(scale=5, size=(50, 2)):
        k = np.linalg.solve(galaxy.jacobian.T, (kx, ky))
        wave_x, wave_y = np.exp(-1j * kx * axis), np.exp(-1j * ky * axis)
        kernel = galsim.Quintic().kval(np.array([kx, ky]) * scale).prod()
        learned = wave_y @ residual @ wave_x * scale**2 * kernel
        phase = np.exp(-1j * (k[0] * galaxy.offset.x + k[1] * galaxy.offset.y))
        wanted = (sersic.kValue(kx, ky) + learned) / total * phase
        worst = max(worst, abs(galaxy.kValue(*k) / galaxy.flux - wanted))
    return worst


def x_definition(galaxy: LearnedGalaxy) -> float:
    """Values of xValue against the definition, Sersic and interpolated residual, relative."""
    sersic = galsim.Sersic(galaxy.sersic_n, half_light_radius=1.0)
    points = np.random.default_rng(2).normal(scale=1.5, size=(50, 2))
    residual, scale = _residual(galaxy)
    learned = interpolate(residual, scale, *points.T)
    total = 1 + residual.sum() * scale**2
    norm = galaxy.flux / total / abs(np.linalg.det(galaxy.jacobian))
    worst = 0.0
    for point, value in zip(points, learned, strict=True):
        wanted = (sersic.xValue(*point) + value) * norm
        worst = max(worst, abs(galaxy.xValue(*(galaxy.jacobian @ point + _offset(galaxy))) / wanted - 1))
    return worst


def turned(galaxy: LearnedGalaxy) -> float:
    """GalSim's rotate and shift against a galaxy made turned and shifted, in units of the flux."""
    angle = 0.7 * galsim.radians
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    values = {**galaxy._arguments(), "jacobian": turn @ galaxy.jacobian, "beta": galaxy.beta + angle}
    values["offset"] = turn @ _offset(galaxy) + np.array([0.1, -0.2])
    made, by_galsim = LearnedGalaxy(**values), galaxy.rotate(angle).shift(0.1, -0.2)
    ks = np.random.default_rng(3).normal(scale=3 / galaxy.half_light_radius, size=(20, 2))
    return max(abs(made.kValue(*k) - by_galsim.kValue(*k)) / galaxy.flux for k in ks)


def photons(galaxy: LearnedGalaxy) -> float:
    """Photon image against the FFT's, in standard deviations: of chi^2, and of the residual's strength.

    Also: every photon has the same positive flux, and they add up to the galaxy's.
    """
    rng = galsim.BaseDeviate(galaxy.galaxy_id or 1)
    shot = galaxy.shoot(_PHOTONS, rng)
    assert np.allclose(shot.flux, galaxy.flux / _PHOTONS, rtol=1e-12, atol=0)
    assert galaxy.negative_flux == 0
    tight = galsim.GSParams(folding_threshold=1e-3, maxk_threshold=1e-4, maximum_fft_size=16384)
    psf = galsim.Gaussian(sigma=galaxy.half_light_radius / 3)
    stamp: dict[str, Any] = {
        "nx": _STAMP,
        "ny": _STAMP,
        "scale": galaxy.half_light_radius / 3,
        "dtype": float,
    }
    scene = galsim.Convolve(galaxy, psf).withFlux(_PHOTONS)
    model = scene.withGSParams(tight).drawImage(**stamp).array
    image = scene.drawImage(**stamp, method="phot", n_photons=_PHOTONS, rng=rng).array
    bright = model > 10
    variance = model * (1 - model / _PHOTONS)
    excess = ((image - model) ** 2 / variance)[bright].mean() - 1
    deviations = abs(excess) * np.sqrt(bright.sum() / 2)
    # chi^2 is spread over all pixels; a residual too weak or too strong shows in its own pattern.
    plain = LearnedGalaxy(**{**galaxy._arguments(), "residual": None})
    sersic = galsim.Convolve(plain, psf).withFlux(_PHOTONS).withGSParams(tight).drawImage(**stamp).array
    pattern = ((model - sersic) / variance)[bright]
    if pattern.any():
        spread = np.sqrt((pattern**2 * variance[bright]).sum())
        deviations = max(deviations, abs((pattern * (image - model)[bright]).sum()) / spread)
    return float(deviations)


def half_light_radius(galaxy: LearnedGalaxy) -> float:
    """Half-light radius of the drawn image, without PSF and in elliptical apertures, against the request."""
    return abs(measured_half_light_radius(galaxy) / galaxy.half_light_radius - 1)


def centroid(galaxy: LearnedGalaxy) -> float:
    """Centroid attribute against the slope of the phase at k = 0, in half-light radii."""
    step = 1e-3 / galaxy.half_light_radius
    slope = [-np.angle(galaxy.kValue(*k) / galaxy.flux) / step for k in ((step, 0.0), (0.0, step))]
    return float(np.hypot(galaxy.centroid.x - slope[0], galaxy.centroid.y - slope[1]) / galaxy.half_light_radius)


CHECKS: dict[str, Check] = {
    "pickle_and_repr": Check(pickle_and_repr, 0.0, "check_pickle, eval(repr(galaxy)) == galaxy; of the image's peak"),
    "all_different": Check(all_different, 0.0, "check_all_diff"),
    "gsparams": Check(gsparams, 0.0, "flux under other GSParams, relative"),
    "flux": Check(flux, 1e-10, "flux at k = 0, relative"),
    "x_values": Check(x_values, 1e-5, "drawn pixels against xValue, relative"),
    "k_values": Check(k_values, 1e-5, "drawn k pixels against kValue, of the flux"),
    "x_definition": Check(x_definition, 1e-5, "xValue against Sersic + residual, relative"),
    "k_definition": Check(k_definition, 1e-5, "kValue against Sersic + residual, of the flux"),
    "turned": Check(turned, 1e-10, "rotate and shift against a turned galaxy, of the flux"),
    "photons": Check(photons, 5.0, "photon image against FFT image, standard deviations"),
    "half_light_radius": Check(half_light_radius, 0.02, "measured on the image, relative"),
    "centroid": Check(centroid, 1e-3, "against the phase of kValue, half-light radii"),
}
"""Every check, with the largest deviation allowed and its unit."""


def _residual(galaxy: LearnedGalaxy) -> tuple[NDArray[np.float64], float]:
    if galaxy.residual is None:
        return np.zeros((2, 2)), 1.0
    return galaxy.residual.astype(np.float64), galaxy.grid_scale


def _offset(galaxy: LearnedGalaxy) -> NDArray[np.float64]:
    return np.array([galaxy.offset.x, galaxy.offset.y])


def _transformed(galaxy: LearnedGalaxy) -> tuple[galsim.GSObject, ...]:
    size = galaxy.half_light_radius
    return (
        galaxy,
        galaxy.shear(g1=0.2, g2=-0.1).shift(0.3 * size, -0.2 * size),
        galaxy.lens(-0.1, 0.05, 1.3),
        galaxy.rotate(40 * galsim.degrees).dilate(1.4),
        galaxy.transform(0.9, 0.2, -0.3, -1.1),
    )


def _some_pixels() -> Iterable[tuple[int, int]]:
    return ((x, y) for x in range(1, _STAMP + 1, 3) for y in range(1, _STAMP + 1, 5))
