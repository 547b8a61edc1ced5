"""Deferred stamps to pixels: grouped by what they share, drawn by `skyloom.draw`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.errors import RenderError
from skyloom.galsim_config.deferred import DeferredStamp
from skyloom.galsim_config.stamp_sizes import learned_stepk, stamp_sizes

__all__ = ["DrawnStamp", "draw_stamps"]

_MAX_GROUP_PIXELS = 2**23
_WCS_STEP = 2.0**-15
"""Relative step to which the elements of a varying Jacobian are rounded for the PSF (never for the galaxy)."""
_IDENTITY = np.eye(2)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnStamp:
    """Pixels, and the image coordinates of the lower left one."""

    obj_num: int
    xmin: int
    ymin: int
    pixels: NDArray[np.floating[Any]]

    @property
    def bounds(self) -> galsim.BoundsI:
        """In the image."""
        height, width = self.pixels.shape
        return galsim.BoundsI(self.xmin, self.xmin + width - 1, self.ymin, self.ymin + height - 1)


@dataclass(frozen=True, eq=False)
class _Arrays:
    """What `skyloom.draw` reads, in pixels rather than arcsec."""

    sersic_n: Floats
    jacobian: Floats
    offset: Floats
    amplitude: Floats
    residual: NDArray[np.float32] | None
    grid_scale: float

    def rows(self, rows: NDArray[np.int64]) -> _Arrays:
        return _Arrays(
            self.sersic_n[rows],
            self.jacobian[rows],
            self.offset[rows],
            self.amplitude[rows],
            None if self.residual is None else self.residual[rows],
            self.grid_scale,
        )


def draw_stamps(stamps: Sequence[DeferredStamp], image: galsim.Image, device: str) -> list[DrawnStamp | None]:
    """Draw stamps whose galaxies are decoded.

    A galaxy's pixels depend on nothing but itself: what it is drawn together with is of its own kind in
    everything that chooses a way of calculating.

    Parameters
    ----------
    stamps : sequence of DeferredStamp
    image : galsim.Image
        The stamps' own; one entirely off it is None, as GalSim skips it.
    device : str
        Torch's.
    """
    if not stamps:
        return []
    out: list[DrawnStamp | None] = [None] * len(stamps)
    grids: dict[Any, list[int]] = {}
    for i, stamp in enumerate(stamps):
        batch = stamp.galaxy.slot.batch
        assert batch is not None
        key = None if batch.residual is None else (batch.residual.shape[1], batch.grid_scale)
        grids.setdefault(key, []).append(i)
    for indices in grids.values():
        drawn = _draw_alike([stamps[i] for i in indices], image, device)
        for i, one in zip(indices, drawn, strict=True):
            out[i] = one
    return out


def _draw_alike(stamps: list[DeferredStamp], image: galsim.Image, device: str) -> list[DrawnStamp | None]:
    """Draw galaxies with residuals of one grid."""
    from skyloom.physics.draw import draw

    to_image = np.linalg.inv(np.array([_matrix(s.wcs) for s in stamps]))
    sky = _on_sky(stamps)
    sizes = _sizes(stamps, sky, to_image)
    corners = [(s.center.x - int(w) // 2, s.center.y - int(h) // 2) for s, (w, h) in zip(stamps, sizes, strict=True)]
    seen = _overlap(np.array(corners), sizes, image.bounds)
    square = _rounded_up(sizes.max(axis=1))
    # The crop's true centre lies half a pixel off the square's where one is even and the other odd.
    first = (square[:, None] - sizes) // 2
    centring = (square[:, None] - 1) / 2 - first - (sizes - 1) / 2
    offset = np.array([(s.offset.x, s.offset.y) for s in stamps]) - centring
    offset += np.einsum("nij,nj->ni", to_image, sky.offset)
    jacobian = to_image @ sky.jacobian
    jacobian[:, 0, 1][np.abs(jacobian[:, 0, 1]) < 1e-12 * np.abs(jacobian[:, 0, 0])] = 0.0
    arrays = _Arrays(sky.sersic_n, jacobian, offset, sky.amplitude, sky.residual, sky.grid_scale)
    psfs = _Psfs()
    groups: dict[Any, list[int]] = {}
    for i in np.flatnonzero(seen).tolist():
        psf = psfs.key(stamps[i])
        # a triangular Jacobian and no offset have faster ways of their own
        way = (jacobian[i, 0, 1] == 0, not offset[i].any())
        groups.setdefault((psf, stamps[i].pixel, int(square[i]), way), []).append(i)
    out: list[DrawnStamp | None] = [None] * len(stamps)
    for (psf, pixel, size, _), rows in groups.items():
        profile = psfs.in_image(psf)
        most = max(1, _MAX_GROUP_PIXELS // size**2)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            try:
                pixels = draw(
                    arrays.rows(np.array(part)), profile, pixel_scale=1.0, stamp_size=size, pixel=pixel, device=device
                )
            except RenderError:  # one of them is too large for our Fourier grids
                pixels = [_one(arrays, i, profile, size, pixel, device) for i in part]  # type: ignore[assignment]
            for i, square_pixels in zip(part, pixels, strict=True):
                (x, y), (w, h) = first[i], sizes[i]
                cut = stamps[i].draw_with_galsim() if square_pixels is None else square_pixels[y : y + h, x : x + w]
                out[i] = DrawnStamp(stamps[i].obj_num, *corners[i], cut)
    return out


def _one(arrays: _Arrays, row: int, psf: Any, size: int, pixel: bool, device: str) -> NDArray[np.float32] | None:
    from skyloom.physics.draw import draw

    try:
        one = arrays.rows(np.array([row]))
        return draw(one, psf, pixel_scale=1.0, stamp_size=size, pixel=pixel, device=device)[0]
    except RenderError:
        return None


@dataclass(frozen=True, eq=False)
class _Sky(_Arrays):
    """The same in arcsec."""

    maps: tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
    """Of the galaxy itself, and what GalSim does to it: matrix and shift each."""


def _on_sky(stamps: list[DeferredStamp]) -> _Sky:
    """Galaxies with all that GalSim's configuration does to them."""
    batches: dict[int, Any] = {}
    for stamp in stamps:
        batches.setdefault(id(stamp.galaxy.slot.batch), stamp.galaxy.slot.batch)
    starts = dict(zip(batches, np.cumsum([0, *(len(b) for b in batches.values())]), strict=False))
    rows = np.array([starts[id(s.galaxy.slot.batch)] + s.galaxy.slot.row for s in stamps])

    in_order = bool((rows == np.arange(len(rows))).all())

    def column(name: str) -> Any:
        values = [np.asarray(getattr(b, name)) for b in batches.values()]
        whole = values[0] if len(values) == 1 else np.concatenate(values)
        return whole if in_order and len(rows) == len(whole) else whole[rows]  # residuals are large

    head = next(iter(batches.values()))
    jacobian, offset, flux = column("jacobian"), column("offset"), column("flux")
    residual_flux = column("residual_flux")
    asked = [s.galaxy.asked_flux for s in stamps]
    flux = np.where([a is None for a in asked], flux, [0.0 if a is None else a for a in asked])
    matrix = np.array([_IDENTITY if s.matrix is None else s.matrix for s in stamps])
    shift = np.array([s.shift for s in stamps])
    flux = flux * np.array([s.brightness for s in stamps]) * np.abs(np.linalg.det(matrix))
    return _Sky(
        sersic_n=column("sersic_n"),
        jacobian=matrix @ jacobian,
        offset=np.einsum("nij,nj->ni", matrix, offset) + shift,
        amplitude=flux / (1.0 + residual_flux),
        residual=None if head.residual is None else column("residual"),
        grid_scale=head.grid_scale,
        maps=((jacobian, offset), (matrix, shift)),
    )


def _sizes(stamps: list[DeferredStamp], sky: _Sky, to_image: Floats) -> NDArray[np.int64]:
    """Width and height of each stamp, those that GalSim chooses included."""
    sizes = np.array([s.size or (0, 0) for s in stamps], dtype=np.int64)
    free = np.flatnonzero(sizes[:, 0] == 0)
    if not free.size:
        return sizes
    width = 0.0 if sky.residual is None else sky.residual.shape[1] * sky.grid_scale
    stepk = np.empty(len(free))
    kinds: dict[Any, list[int]] = {}
    for j, i in enumerate(free):
        kinds.setdefault(stamps[i].galaxy.gsparams, []).append(j)
    for gsparams, part in kinds.items():
        stepk[part] = learned_stepk(sky.sersic_n[free[part]], width, gsparams)
    psf_stepk: dict[int, float] = {}
    for psf in (stamps[i].psf for i in free):
        if id(psf) not in psf_stepk:
            psf_stepk[id(psf)] = psf.stepk
    image_shift = np.array([(stamps[i].offset.x - 0.5, stamps[i].offset.y - 0.5) for i in free])
    for pixel in (True, False):
        part = [j for j, i in enumerate(free) if stamps[i].pixel is pixel]
        if not part:
            continue
        rows = free[part]
        chosen, sure = stamp_sizes(
            stepk[part],
            [(matrix[rows], shift[rows]) for matrix, shift in sky.maps],
            np.array([psf_stepk[id(stamps[i].psf)] for i in rows]),
            to_image[rows],
            image_shift[part],
            pixel=pixel,
        )
        for k in np.flatnonzero(~sure):
            chosen[k] = stamps[rows[k]].galsim_size()
        sizes[rows] = chosen[:, None]
    return sizes


def _overlap(corners: NDArray[np.int64], sizes: NDArray[np.int64], bounds: galsim.BoundsI) -> NDArray[np.bool_]:
    low, high = corners, corners + sizes - 1
    inside: NDArray[np.bool_] = (low[:, 0] <= bounds.xmax) & (high[:, 0] >= bounds.xmin)
    return inside & (low[:, 1] <= bounds.ymax) & (high[:, 1] >= bounds.ymin)


def _rounded_up(size: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next of few sizes, so that stamps can be drawn together; at most half as large again."""
    step = np.maximum(16, 2 ** (np.ceil(np.log2(size)).astype(np.int64) - 2))
    return np.asarray(-(-size // step) * step)


def _matrix(wcs: Any) -> Floats:
    return np.asarray(wcs.jacobian().getMatrix(), dtype=np.float64)


class _Psfs:
    """The distinct PSFs, each in its image plane."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[galsim.GSObject, int]] = {}
        self._numbers: dict[galsim.GSObject, int] = {}
        self._profiles: list[galsim.GSObject] = []

    def key(self, stamp: DeferredStamp) -> tuple[int, tuple[float, ...]]:
        """Number of the PSF, and the Jacobian it is seen under."""
        if id(stamp.psf) not in self._kept:
            number = self._numbers.setdefault(stamp.psf, len(self._numbers))
            if number == len(self._profiles):
                self._profiles.append(stamp.psf)
            self._kept[id(stamp.psf)] = (stamp.psf, number)
        psf, number = self._kept[id(stamp.psf)]
        matrix = _matrix(stamp.wcs)
        if not stamp.uniform_wcs:
            matrix = _seen_under(matrix, psf)
        return number, tuple(matrix.ravel().tolist())

    def in_image(self, key: tuple[int, tuple[float, ...]]) -> galsim.GSObject:
        """The profile in pixels."""
        return galsim.JacobianWCS(*key[1]).toImage(self._profiles[key[0]])


def _seen_under(matrix: Floats, psf: galsim.GSObject) -> Floats:
    """The Jacobian, rounded so that neighbours share one; less its rotation where that changes nothing."""
    if psf.is_axisymmetric:
        _, stretch, vt = np.linalg.svd(matrix)
        matrix = vt.T @ np.diag(stretch) @ vt
    unit = 2.0 ** np.round(np.log2(np.sqrt(abs(np.linalg.det(matrix))))) * _WCS_STEP
    return np.asarray(np.round(matrix / unit) * unit)
