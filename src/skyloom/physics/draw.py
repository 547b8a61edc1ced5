"""Drawing batches of profiles through any GalSim PSF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import galsim
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from skyloom.errors import BadInputError, RenderError
from skyloom.physics.bandwidth import EARLY_END
from skyloom.physics.draw_groups import CopiesLight, Group, Kind, View, draw_group, fourier_parts
from skyloom.physics.general_map import gentle_shear
from skyloom.physics.plan import plan_samples
from skyloom.physics.psf import prepared
from skyloom.physics.tables import SERSIC_N_RANGE

__all__ = ["Drawable", "draw"]

MAX_STAMP_SIZE = 8192
MAX_PIXELS = 2**31
"""Pixels of one call's result: 8 GiB."""


class Drawable(Protocol):
    """What `draw` reads of a `skyloom.ProfileBatch`."""

    @property
    def grid_scale(self) -> float: ...  # noqa: D102
    @property
    def residual(self) -> NDArray[np.float32] | None: ...  # noqa: D102
    @property
    def sersic_n(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def jacobian(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def offset(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def amplitude(self) -> NDArray[np.float64]: ...  # noqa: D102


def draw(
    batch: Drawable,
    psf: galsim.GSObject | Sequence[galsim.GSObject],
    *,
    pixel_scale: float | None = None,
    stamp_size: int,
    wcs_jacobian: ArrayLike | None = None,
    pixel: bool = True,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> NDArray[np.float32]:
    """Draw galaxies as a telescope sees them, without noise.

    The PSF's flux multiplies the image, as in `galsim.Convolve`.

    Parameters
    ----------
    batch : ProfileBatch
        N galaxies.
    psf : galsim.GSObject or sequence of N of them
        In arcsec, without the pixel's response unless `pixel` is False.
    pixel_scale : float
        Arcsec per pixel. Give this or `wcs_jacobian`.
    stamp_size : int
        Pixels along a side, even or odd. A galaxy stands at its stamp's true centre plus its offset.
    wcs_jacobian : array_like, shape (2, 2), optional
        ``[[dudx, dudy], [dvdx, dvdy]]`` in arcsec per pixel, as `galsim.JacobianWCS`.
    pixel : bool
        Convolve with the square pixel.
    dtype : torch.dtype
        float32 or float64, of the calculation.
    device : str or torch.device
        Where to calculate.

    Returns
    -------
    ndarray of float32, shape (N, stamp_size, stamp_size)
        Flux per pixel, in the batch's units.

    Raises
    ------
    BadInputError
        For numbers that cannot be drawn.
    RenderError
        For a galaxy that needs too large a Fourier grid.

    Examples
    --------
    >>> stamps = skyloom.draw(batch, galsim.Gaussian(fwhm=0.7), pixel_scale=0.2, stamp_size=32)
    """
    wcs, scale = _check_wcs(pixel_scale, wcs_jacobian)
    count = _check_batch(batch, stamp_size)
    psfs = _check_psfs(psf, count)
    out = np.zeros((count, stamp_size, stamp_size), dtype=np.float32)
    n = np.asarray(batch.sersic_n, dtype=np.float64)
    jacobian, offset = np.asarray(batch.jacobian, np.float64), np.asarray(batch.offset, np.float64)
    amplitude = np.asarray(batch.amplitude, dtype=np.float64)
    if wcs is not None:  # to pixels, where the pixel is a unit square
        psfs = {wcs.toImage(p): rows for p, rows in psfs.items()}
        inverse = wcs.inverse().getMatrix()
        jacobian, offset = inverse @ jacobian, offset @ inverse.T
    kind = Kind(dtype, torch.device(device))
    with torch.inference_mode():
        for profile, rows in psfs.items():
            one = prepared(profile)
            residual = batch.residual  # whose copies cost
            if residual is not None and len(psfs) > 1:
                residual = residual[rows]
            plan = plan_samples(
                one, pixel_scale=scale, stamp_size=stamp_size, sersic_n=n[rows], jacobian=jacobian[rows],
                offset=offset[rows], residual=residual, grid_scale=batch.grid_scale,
            )  # fmt: skip
            galaxies = Group(batch.residual, batch.grid_scale, n, jacobian, offset, amplitude)
            kinds = np.stack([plan.samples, plan.core, plan.early, plan.zones, gentle_shear(jacobian[rows])])
            light = CopiesLight()
            for way in np.unique(kinds, axis=1).T:
                samples, core, early, zones, gentle = way.tolist()
                chosen = (kinds == way[:, None]).all(axis=0)
                end = EARLY_END * one.maxk if early else math.inf
                parts = fourier_parts(one, samples, core, end, scale, stamp_size, pixel)
                view = View(parts, scale, bool(zones), bool(gentle))
                draw_group(galaxies, rows[chosen], view, kind, out)
                light.add(view.parts[0], rows[chosen & plan.copies_seen])
            light.subtract(galaxies, scale, kind, out)
    finite = np.isfinite(out).all(axis=(1, 2))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise RenderError(f"galaxy {row} of the batch was drawn with values that are not finite")
    return out


def _check_wcs(pixel_scale: float | None, wcs_jacobian: ArrayLike | None) -> tuple[galsim.JacobianWCS | None, float]:
    if (pixel_scale is None) == (wcs_jacobian is None):
        raise BadInputError("give either pixel_scale (arcsec per pixel) or wcs_jacobian, not both")
    if wcs_jacobian is None:
        try:
            scale = float(pixel_scale)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise BadInputError(f"pixel_scale must be a number of arcsec, not {pixel_scale!r}") from None
        if not 0 < scale < np.inf:
            raise BadInputError(f"pixel_scale must be positive and finite, not {scale} arcsec")
        return None, scale
    matrix = np.asarray(wcs_jacobian, dtype=np.float64)
    if matrix.shape != (2, 2) or not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        raise BadInputError(
            f"wcs_jacobian must be an invertible 2 x 2 matrix of arcsec per pixel, not {matrix.tolist()}"
        )
    return galsim.JacobianWCS(*matrix.ravel()), 1.0


def _check_batch(batch: Drawable, stamp_size: int) -> int:
    if isinstance(stamp_size, bool) or not isinstance(stamp_size, (int, np.integer)):
        raise BadInputError(f"stamp_size must be a whole number of pixels, not {stamp_size!r}")
    count = len(batch.sersic_n)
    if not 1 <= stamp_size <= MAX_STAMP_SIZE:
        raise BadInputError(f"stamp_size must lie in 1 to {MAX_STAMP_SIZE} pixels, not {stamp_size}")
    if count * int(stamp_size) ** 2 > MAX_PIXELS:
        raise BadInputError(
            f"{count} stamps of {stamp_size} x {stamp_size} pixels are more than {MAX_PIXELS} pixels: "
            "draw fewer at once"
        )
    for name in ("sersic_n", "jacobian", "offset", "amplitude", "residual"):
        values = getattr(batch, name)
        if values is not None and not np.isfinite(values).all():
            bad = ~np.isfinite(np.reshape(values, (count, -1))).all(axis=1)
            raise BadInputError(f"galaxy {int(np.flatnonzero(bad)[0])} of the batch: {name} is not finite")
    outside = (batch.sersic_n < SERSIC_N_RANGE[0]) | (batch.sersic_n > SERSIC_N_RANGE[1])
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise BadInputError(
            f"galaxy {row} of the batch: sersic_n {batch.sersic_n[row]:.4g} is outside "
            f"{SERSIC_N_RANGE[0]} to {SERSIC_N_RANGE[1]}"
        )
    flat = np.linalg.det(batch.jacobian) == 0
    if flat.any():
        raise BadInputError(f"galaxy {int(np.flatnonzero(flat)[0])} of the batch: jacobian is singular")
    return count


def _check_psfs(
    psf: galsim.GSObject | Sequence[galsim.GSObject], count: int
) -> dict[galsim.GSObject, NDArray[np.int64]]:
    """Each distinct PSF and its galaxies."""
    if isinstance(psf, galsim.GSObject):
        return {psf: np.arange(count)}
    if not isinstance(psf, Sequence) or not all(isinstance(p, galsim.GSObject) for p in psf):
        raise BadInputError(f"psf must be a galsim.GSObject or a sequence of them, not {type(psf).__name__}")
    if len(psf) != count:
        raise BadInputError(f"{len(psf)} PSFs for {count} galaxies: give one PSF, or one a galaxy")
    rows: dict[galsim.GSObject, list[int]] = {}
    for i, p in enumerate(psf):
        rows.setdefault(p, []).append(i)
    return {p: np.array(r) for p, r in rows.items()}
