"""Galaxies with a made-up residual: exact in flux and size, without a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from skyloom.frames import profile_jacobian
from skyloom.normalise import dilation, sersic_profile
from skyloom.profiles import ProfileBatch
from skyloom.rng import galaxy_rng

__all__ = ["RANGES", "synthetic_batch"]

RANGES: dict[str, tuple[float, float]] = {
    "flux": (1e3, 1e5),
    "half_light_radius": (0.05, 3.0),
    "sersic_n": (0.5, 6.0),
    "q": (0.2, 1.0),
    "beta": (-np.pi / 2, np.pi / 2),
}
"""Ranges of the synthetic galaxies: electrons, arcsec, -, -, radians."""

_SMOOTHING = 0.35  # half-light radii: about the width of an arm
_CENTRE = (0.15, 0.5)  # the field rises from 0 to its full strength between these radii
_EDGE = (3.0, 4.0)  # and falls to 0 between these


def synthetic_batch(
    n: int,
    seed: int = 0,
    *,
    strength: float = 0.5,
    grid_size: int = 96,
    grid_scale: float = 9 / 96,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> ProfileBatch:
    """`n` galaxies whose residual is S (exp f - 1), f being a smooth random field.

    Parameters
    ----------
    n : int
        How many; galaxy ids count from 0.
    seed : int
        Of the fields and numbers; a galaxy depends on its id and the seed alone.
    strength : float
        Root mean square of f.
    grid_size : int
        G.
    grid_scale : float
        Half-light radii per grid point.
    ranges : mapping of str to (float, float), optional
        In place of those of `RANGES`; flux and size are drawn evenly in the logarithm.

    Returns
    -------
    ProfileBatch
        Of exact flux and half-light radius.
    """
    limits = {**RANGES, **(ranges or {})}
    values = {name: np.empty(n) for name in limits}
    residual = np.empty((n, grid_size, grid_size), dtype=np.float32)
    for i in range(n):
        rng = galaxy_rng(seed, i, "synthetic")
        for name, (low, high) in limits.items():
            even = rng.uniform()
            spaced = name in ("flux", "half_light_radius")
            values[name][i] = low * (high / low) ** even if spaced else low + (high - low) * even
        residual[i] = _residual(rng, values["sersic_n"][i], strength, grid_size, grid_scale)
    size = dilation(residual, grid_scale, values["sersic_n"])
    jacobian = profile_jacobian(values["half_light_radius"] / size, values["q"], values["beta"])
    return ProfileBatch(
        galaxy_id=np.arange(n, dtype=np.int64),
        jacobian=jacobian,
        residual=residual,
        grid_scale=grid_scale,
        generator="synthetic",
        seed=seed,
        **values,  # type: ignore[arg-type]
    )


def _residual(
    rng: np.random.Generator, sersic_n: float, strength: float, size: int, scale: float
) -> NDArray[np.float64]:
    axis = (np.arange(size) - (size - 1) / 2) * scale
    r = np.hypot(axis[:, None], axis)
    field = gaussian_filter(rng.standard_normal((size, size)), _SMOOTHING / scale, mode="wrap")
    field *= strength / field.std() * _rise(r, *_CENTRE) * (1 - _rise(r, *_EDGE))
    return np.asarray(sersic_profile(r, sersic_n) * np.expm1(field))


def _rise(r: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """From 0 at `low` to 1 at `high`, with two continuous derivatives."""
    t = np.clip((r - low) / (high - low), 0.0, 1.0)
    return t**3 * (10 - 15 * t + 6 * t * t)
