"""Noise of detectors: from expected electrons to ADU.

Each function may overwrite the image it is given, so that a large field is in memory once; blocks of rows keep
temporaries small. The order in which numbers are drawn is that of the pixels, whatever the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import BadInputError

__all__ = ["add_ccd_noise", "add_gaussian_noise", "add_no_noise"]

_PIXELS_AT_ONCE = 2**20

Image = NDArray[np.float32]


def add_ccd_noise(image: Image, parameters: Mapping[str, float], rng: np.random.Generator) -> Image:
    """Photons' Poisson noise and Gaussian read noise, as `galsim.CCDNoise`.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        Expected electrons, sky included; overwritten. Where it is not positive there are no photons.
    parameters : mapping
        ``gain`` (e-/ADU), ``read_noise`` (e-).
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        ADU.
    """
    gain, read_noise = _positive(parameters, "gain"), _known(parameters, "read_noise")
    for rows in _blocks(image):
        expected = rows.astype(np.float64)
        counts = np.minimum(expected, 0.0)
        counts += rng.poisson(np.maximum(expected, 0.0))
        if read_noise:
            counts += rng.normal(0.0, read_noise, rows.shape)
        rows[:] = counts / gain
    return image


def add_gaussian_noise(image: Image, parameters: Mapping[str, float], rng: np.random.Generator) -> Image:
    """White noise, the same in all pixels.

    Parameters
    ----------
    image
        As `add_ccd_noise`.
    parameters : mapping
        ``gain`` (e-/ADU); ``sigma`` (e-), by default the noise of sky and read-out, ``sky`` (e-/pixel) and
        ``read_noise`` (e-).
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        ADU.
    """
    gain = _positive(parameters, "gain")
    if "sigma" in parameters:
        sigma = _known(parameters, "sigma")
    else:
        sigma = float(np.hypot(np.sqrt(_known(parameters, "sky")), _known(parameters, "read_noise")))
    for rows in _blocks(image):
        rows[:] = (rows + rng.normal(0.0, sigma, rows.shape)) / gain
    return image


def add_no_noise(image: Image, parameters: Mapping[str, float], rng: np.random.Generator) -> Image:
    """Expected ADU: electrons over ``gain`` (e-/ADU)."""
    image /= np.float32(_positive(parameters, "gain"))
    return image


def _blocks(image: Image) -> Iterator[Image]:
    height = max(1, _PIXELS_AT_ONCE // max(image.shape[1], 1))
    return (image[first : first + height] for first in range(0, len(image), height))


def _known(parameters: Mapping[str, float], name: str) -> float:
    value = float(parameters.get(name, 0.0))
    if not 0 <= value < np.inf:
        raise BadInputError(f"noise: {name} must be a number from 0, not {value:g}")
    return value


def _positive(parameters: Mapping[str, float], name: str) -> float:
    value = float(parameters.get(name, 1.0))
    if not 0 < value < np.inf:
        raise BadInputError(f"noise: {name} must be positive, not {value:g}")
    return value
