"""A catalogue of galaxies into one image with Python alone: conditions, profiles, stamps, sum."""

from __future__ import annotations

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom import Conditions, ProfileBatch, draw
from skyloom.physics.stamp_sizes import learned_stepk, stamp_sizes
from skyloom.profiles import Generator

__all__ = ["draw_catalogue", "random_catalogue"]

BATCH = 1024


def random_catalogue(count: int, size: int, seed: int) -> tuple[Conditions, NDArray[np.float64]]:
    """The galaxies of `fields.py`, and their places (x, y) in an image of `size` pixels, the first of which is 0."""
    rng = np.random.default_rng(seed)
    conditions = Conditions(
        mag=rng.uniform(20.5, 24, count), zero_point=33.6, half_light_radius=rng.uniform(0.2, 0.6, count),
        sersic_n=rng.uniform(0.7, 3.0, count), q=rng.uniform(0.4, 1, count), beta=rng.uniform(0, np.pi, count),
    )  # fmt: skip
    return conditions, rng.uniform(0, size - 1, (count, 2))


def draw_catalogue(
    generator: Generator,
    conditions: Conditions,
    places: NDArray[np.float64],
    psf: galsim.GSObject,
    image: NDArray[np.float32],
    *,
    pixel_scale: float,
    shear: galsim.Shear,
) -> None:
    """Add all galaxies to an image, on stamps of the sizes GalSim would choose.

    Parameters
    ----------
    generator : Generator
    conditions : Conditions
    places : ndarray, shape (N, 2)
        x, y in pixels.
    psf : galsim.GSObject
    image : ndarray of float32
        Rows along y.
    pixel_scale : float
        Arcsec.
    shear : galsim.Shear
        Of all galaxies.
    """
    for first in range(0, len(conditions), BATCH):
        batch = generator.sample(conditions[first : first + BATCH], seed=1, out_of_range="clip")
        where = places[first : first + BATCH]
        pixel = np.floor(where).astype(np.int64)
        sheared = shear.getMatrix() @ batch.jacobian
        sizes = _sizes(batch, shear, psf, pixel_scale, where - pixel)
        step = np.maximum(16, 2 ** (np.ceil(np.log2(sizes)).astype(np.int64) - 2))
        sizes = -(-sizes // step) * step  # few sizes, so that many are drawn together
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            # a stamp of even size has its centre half a pixel above its pixel number size / 2 - 1
            stamps = draw(
                _placed(batch[rows], sheared[rows], (where - pixel - 0.5)[rows] * pixel_scale), psf,
                pixel_scale=pixel_scale, stamp_size=int(size),
            )  # fmt: skip
            for stamp, corner in zip(stamps, pixel[rows] - (size // 2 - 1), strict=True):
                _add(image, stamp, int(corner[0]), int(corner[1]))


def _placed(batch: ProfileBatch, jacobian: NDArray[np.float64], offset: NDArray[np.float64]) -> ProfileBatch:
    from dataclasses import replace

    return replace(batch, jacobian=jacobian, offset=offset)


def _sizes(
    batch: ProfileBatch, shear: galsim.Shear, psf: galsim.GSObject, pixel_scale: float, fraction: NDArray[np.float64]
) -> NDArray[np.int64]:
    count, grid = len(batch), 0 if batch.residual is None else batch.residual.shape[1]
    still = np.zeros((count, 2))
    maps = [(batch.jacobian, batch.offset), (np.broadcast_to(shear.getMatrix(), (count, 2, 2)), still)]
    to_image = np.broadcast_to(np.eye(2) / pixel_scale, (count, 2, 2))
    stepk = learned_stepk(batch.sersic_n, grid * batch.grid_scale, galsim.GSParams())
    return stamp_sizes(stepk, maps, np.full(count, psf.stepk), to_image, fraction - 0.5, pixel=True)[0]


def _add(image: NDArray[np.float32], stamp: NDArray[np.float32], x: int, y: int) -> None:
    height, width = image.shape
    size = len(stamp)
    left, low, right, high = max(x, 0), max(y, 0), min(x + size, width), min(y + size, height)
    if left < right and low < high:
        image[low:high, left:right] += stamp[low - y : high - y, left - x : right - x]
