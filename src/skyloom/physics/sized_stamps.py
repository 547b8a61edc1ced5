"""Drawing galaxies on stamps of many sizes through many PSFs: grouped by what they share.

A galaxy's pixels depend on nothing but itself: what it is drawn together with is of its own kind in everything
that chooses a way of calculating.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.errors import BadInputError, RenderError

__all__ = ["PixelArrays", "check_device", "draw_sized", "seen_under", "snap_triangular"]

_MAX_GROUP_PIXELS = 2**23
_WCS_STEP = 2.0**-15
"""Relative step to which the elements of a varying Jacobian are rounded for the PSF (never for the galaxy)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PixelArrays:
    """What `skyloom.draw` reads of N galaxies, in pixels rather than arcsec; `offset` is from a stamp's true centre."""

    sersic_n: Floats
    jacobian: Floats
    offset: Floats
    amplitude: Floats
    residual: NDArray[np.float32] | None
    grid_scale: float

    def rows(self, rows: NDArray[np.int64]) -> PixelArrays:
        """Some of them."""
        return PixelArrays(
            self.sersic_n[rows],
            self.jacobian[rows],
            self.offset[rows],
            self.amplitude[rows],
            None if self.residual is None else self.residual[rows],
            self.grid_scale,
        )


def snap_triangular(jacobian: Floats) -> Floats:
    """The same with 0 for an upper right element that is rounding's: triangular ones have a faster way. In place."""
    jacobian[:, 0, 1][np.abs(jacobian[:, 0, 1]) < 1e-12 * np.abs(jacobian[:, 0, 0])] = 0.0
    return jacobian


def check_device(device: str, key: str = "device", error: type[BadInputError] = BadInputError) -> None:
    """Raise for a device that torch cannot use here.

    Parameters
    ----------
    device : str
        Torch's; ``cpu`` does not need torch to be known.
    key : str
        What the user calls it.
    error : type
        Of what is raised.
    """
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as exc:
        raise error(f"{key}: torch cannot use '{device}' here: {exc}") from exc


def draw_sized(
    arrays: PixelArrays,
    sizes: NDArray[np.int64],
    views: Sequence[tuple[Hashable, bool] | None],
    profile_of: Callable[[Any], galsim.GSObject],
    device: str = "cpu",
) -> list[NDArray[np.float32] | None]:
    """Draw galaxies, each on a stamp of its own size.

    Parameters
    ----------
    arrays : PixelArrays
        N galaxies with residuals of one grid.
    sizes : ndarray of int, shape (N, 2)
        Width and height of each stamp, pixels.
    views : sequence of (key, bool) or None
        Key of the PSF and whether the pixel is convolved with; None for a galaxy that is not to be drawn.
    profile_of : callable
        PSF of a key, in pixels.
    device : str
        Torch's.

    Returns
    -------
    list of ndarray, shape (height, width), or None
        None also for a galaxy that is too large for our Fourier grids.
    """
    square = _rounded_up(sizes.max(axis=1))
    # The crop's true centre lies half a pixel off the square's where one is even and the other odd.
    first = (square[:, None] - sizes) // 2
    offset = arrays.offset - ((square[:, None] - 1) / 2 - first - (sizes - 1) / 2)
    moved = PixelArrays(
        arrays.sersic_n, arrays.jacobian, offset, arrays.amplitude, arrays.residual, arrays.grid_scale
    )  # fmt: skip
    groups: dict[Any, list[int]] = {}
    for i, view in enumerate(views):
        if view is not None:
            # a triangular Jacobian and no offset have faster ways of their own
            way = (arrays.jacobian[i, 0, 1] == 0, not offset[i].any())
            groups.setdefault((view, int(square[i]), way), []).append(i)
    out: list[NDArray[np.float32] | None] = [None] * len(views)
    for ((key, pixel), size, _), rows in groups.items():
        profile = profile_of(key)
        most = max(1, _MAX_GROUP_PIXELS // size**2)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            for i, pixels in zip(part, _drawn(moved, part, profile, size, pixel, device), strict=True):
                if pixels is not None:
                    (x, y), (w, h) = first[i], sizes[i]
                    out[i] = pixels[y : y + h, x : x + w]
    return out


def seen_under(matrix: Floats, psf: galsim.GSObject) -> Floats:
    """A varying WCS's Jacobian for the PSF, rounded so that neighbours share one.

    Parameters
    ----------
    matrix : ndarray, shape (2, 2)
        Arcsec per pixel; its rotation is left out where that changes nothing.
    psf : galsim.GSObject
    """
    if psf.is_axisymmetric:
        _, stretch, vt = np.linalg.svd(matrix)
        matrix = vt.T @ np.diag(stretch) @ vt
    unit = 2.0 ** np.round(np.log2(np.sqrt(abs(np.linalg.det(matrix))))) * _WCS_STEP
    return np.asarray(np.round(matrix / unit) * unit)


def _drawn(
    arrays: PixelArrays, rows: list[int], psf: Any, size: int, pixel: bool, device: str
) -> Sequence[NDArray[np.float32] | None]:
    from skyloom.physics.draw import draw

    try:
        one = arrays.rows(np.array(rows))
        return list(draw(one, psf, pixel_scale=1.0, stamp_size=size, pixel=pixel, device=device))
    except RenderError:  # one of them is too large for our Fourier grids
        if len(rows) == 1:
            return [None]
        return [_drawn(arrays, [i], psf, size, pixel, device)[0] for i in rows]


def _rounded_up(size: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next of few sizes, so that stamps can be drawn together; at most half as large again."""
    step = np.maximum(16, 2 ** (np.ceil(np.log2(size)).astype(np.int64) - 2))
    return np.asarray(-(-size // step) * step)
