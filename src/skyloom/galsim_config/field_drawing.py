"""Deferred stamps to pixels: grouped by what they share, drawn by `skyloom.draw`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.galsim_config.deferred import DeferredStamp
from skyloom.physics.sized_stamps import PixelArrays, draw_sized, seen_under, snap_triangular
from skyloom.physics.stamp_sizes import learned_stepk, stamp_sizes

__all__ = ["DrawnStamp", "draw_stamps"]

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
    to_image = np.linalg.inv(np.array([_matrix(s.wcs) for s in stamps]))
    sky = _on_sky(stamps)
    sizes = _sizes(stamps, sky, to_image)
    corners = [(s.center.x - int(w) // 2, s.center.y - int(h) // 2) for s, (w, h) in zip(stamps, sizes, strict=True)]
    seen = _overlap(np.array(corners), sizes, image.bounds)
    offset = np.array([(s.offset.x, s.offset.y) for s in stamps]) + np.einsum("nij,nj->ni", to_image, sky.offset)
    arrays = PixelArrays(
        sky.sersic_n, snap_triangular(to_image @ sky.jacobian), offset, sky.amplitude, sky.residual, sky.grid_scale
    )  # fmt: skip
    psfs = _Psfs()
    views = [(psfs.key(stamp), stamp.pixel) if seen[i] else None for i, stamp in enumerate(stamps)]
    drawn = draw_sized(arrays, sizes, views, psfs.in_image, device)
    return [
        DrawnStamp(stamps[i].obj_num, *corners[i], stamps[i].draw_with_galsim() if pixels is None else pixels)
        if seen[i] else None
        for i, pixels in enumerate(drawn)
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Sky(PixelArrays):
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
            matrix = seen_under(matrix, psf)
        return number, tuple(matrix.ravel().tolist())

    def in_image(self, key: tuple[int, tuple[float, ...]]) -> galsim.GSObject:
        """The profile in pixels."""
        return galsim.JacobianWCS(*key[1]).toImage(self._profiles[key[0]])
