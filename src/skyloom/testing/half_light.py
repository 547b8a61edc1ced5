"""Half-light radius as an observer would measure it, on drawn pixels."""

from __future__ import annotations

import galsim
import numpy as np

__all__ = ["measured_half_light_radius"]

_PIXELS = 256
_LEVELS = 4
_ZOOM = 8  # of each level against the one before: the innermost pixels are 2e-5 of the half-light radius


def measured_half_light_radius(galaxy: galsim.GSObject) -> float:
    """Circularised radius of the ellipse that holds half of a galaxy's flux, without a PSF.

    The galaxy is drawn in real space, its centre again and again at a finer scale so that no cusp is lost,
    and the pixels are added up in the order of their elliptical radius.

    Parameters
    ----------
    galaxy : skyloom.LearnedGalaxy
        Its q, beta and offset define the ellipses.

    Returns
    -------
    float
        Arcsec.
    """
    centred = galaxy.shift(-galaxy.offset)
    major = galaxy.half_light_radius / np.sqrt(galaxy.q)
    c, s = np.cos(galaxy.beta.rad), np.sin(galaxy.beta.rad)
    radii, light = [], []
    for level in range(_LEVELS):
        scale = 3 * major / _PIXELS / _ZOOM**level
        image = centred.drawImage(nx=_PIXELS, ny=_PIXELS, scale=scale, method="no_pixel", dtype=float)
        axis = (np.arange(_PIXELS) - (_PIXELS - 1) / 2) * scale
        x, y = axis, axis[:, None]
        along, across = (x * c + y * s) * np.sqrt(galaxy.q), (y * c - x * s) / np.sqrt(galaxy.q)
        edge = 3 * major / 2 / _ZOOM ** (level + 1)
        outside = (np.maximum(np.abs(x), np.abs(y)) > edge) | (level == _LEVELS - 1)
        radii.append(np.hypot(along, across)[outside])
        light.append(image.array[outside])
    order = np.argsort(np.concatenate(radii))
    enclosed = np.cumsum(np.concatenate(light)[order])
    return float(np.interp(galaxy.flux / 2, enclosed, np.concatenate(radii)[order]))
