"""Galaxies to pixels: where each stamp lies, and stamps in the order in which they are added.

Sums of float32 depend on their order, so it is the galaxies' rank alone, whatever they were drawn together with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.conditions import Conditions
from skyloom.errors import RenderError
from skyloom.physics.huge_fft import raise_on_huge_fft
from skyloom.physics.sized_stamps import PixelArrays, draw_sized, snap_triangular
from skyloom.physics.stamp_sizes import learned_stepk, stamp_sizes
from skyloom.profiles import ProfileBatch
from skyloom.render.field.psf_cells import Key, PsfCells

__all__ = ["MAX_STAMP_SIZE", "Part", "View", "drawn_stamps", "may_be_seen", "prepare"]

_logger = logging.getLogger(__name__)

MAX_STAMP_SIZE = 8192
_WINDOW_PIXELS = 2**23  # of stamps that wait for their turn
_GRID_REACH = 8.0  # canonical units; half of a residual's grid, and more
_LEAST_STAMP = 64
_MARGIN = 2.0  # of a first guess of how far a galaxy reaches

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class View:
    """What all galaxies of an image are seen through."""

    wcs: galsim.BaseWCS
    size: tuple[int, int]
    psfs: PsfCells
    stamp_size: int | None
    """Pixels; None: as GalSim chooses for each galaxy."""
    device: str


@dataclass(frozen=True, eq=False)
class Part:
    """Galaxies of one kind, ready to be drawn.

    Parameters
    ----------
    rank : ndarray of int, shape (N,)
        In the order in which stamps are added.
    rows : ndarray of int, shape (N,)
        In the catalogue.
    batch : ProfileBatch
        Lensed.
    arrays : PixelArrays
    sizes, corners : ndarray of int, shape (N, 2)
        Width and height of the stamps, and the image's pixel under their lower left one.
    keys : list
        Of the PSFs.
    shifts, matrices : ndarray, shapes (N, 2) and (N, 2, 2)
        Of the places from the stamps' true centres in pixels, and the WCS there, for GalSim.
    seen : ndarray of bool, shape (N,)
        Whether any of the stamp lies on the image; of one that has to be cut, what is left of it.
    """

    rank: Integers
    rows: Integers
    batch: ProfileBatch
    arrays: PixelArrays
    sizes: Integers
    corners: Integers
    keys: list[Key]
    shifts: Floats
    matrices: Floats
    seen: NDArray[np.bool_]


def prepare(
    rank: Integers, rows: Integers, source: ProfileBatch, lensed: ProfileBatch, x: Floats, y: Floats, view: View
) -> Part:
    """Place galaxies and choose their stamps.

    Parameters
    ----------
    rank, rows : ndarray of int, shape (N,)
        As for `Part`.
    source, lensed : ProfileBatch
        N galaxies before and after lensing.
    x, y : ndarray, shape (N,)
        Pixels, the first is 1.
    view : View
    """
    matrices = _local_matrices(view.wcs, x, y)
    cells = view.psfs.cells(x, y)
    keys = view.psfs.keys(cells, matrices, view.wcs._isUniform)
    to_image = np.asarray(np.linalg.inv(matrices), dtype=np.float64)
    if view.stamp_size is None:
        sizes = _good_sizes(source, lensed, x, y, to_image, keys, view)
    else:
        sizes = np.full((len(rows), 2), view.stamp_size, dtype=np.int64)
    # The nominal centre of an even stamp is half a pixel above its true one.
    nominal = np.stack([x, y], axis=1) + np.where(sizes % 2 == 0, 0.5, 0.0)
    centre = np.floor(nominal + 0.5)
    corners = centre.astype(np.int64) - sizes // 2
    arrays = PixelArrays(
        lensed.sersic_n,
        snap_triangular(to_image @ lensed.jacobian),
        nominal - centre + np.einsum("nij,nj->ni", to_image, lensed.offset),
        lensed.amplitude,
        lensed.residual,
        lensed.grid_scale,
    )
    seen = _on_image(corners, sizes, view.size)
    return Part(rank, rows, lensed, arrays, sizes, corners, keys, nominal - centre, matrices, seen)


def drawn_stamps(parts: Sequence[Part], view: View) -> Iterator[tuple[Part, int, NDArray[np.float32]]]:
    """Stamps of all that is seen, in the order of their rank: part, place in it, pixels.

    What has to be cut, and then lies off the image, is not handed on; its part says that it is not seen.
    Only as many as have a bounded number of pixels are drawn before the first of them is handed on.
    """
    order = sorted(
        (rank, p, i) for p, part in enumerate(parts) for i, rank in enumerate(part.rank.tolist()) if part.seen[i]
    )
    window: list[tuple[int, int]] = []
    pixels = 0
    for _, p, i in order:
        area = int(parts[p].sizes[i].prod())
        if window and pixels + area > _WINDOW_PIXELS:
            yield from _draw_window(parts, window, view)
            window, pixels = [], 0
        window.append((p, i))
        pixels += area
    if window:
        yield from _draw_window(parts, window, view)


def may_be_seen(
    conditions: Conditions, stretch: Floats, x: Floats, y: Floats, pixel_scale: float, view: View
) -> NDArray[np.bool_]:
    """Whether an object may have light on the image, before its profile is made; shape (N,).

    Parameters
    ----------
    conditions : Conditions
    stretch : ndarray, shape (N,)
        Largest factor by which lensing makes it longer.
    x, y : ndarray, shape (N,)
        Pixels; NaN for an object without a place, which is not seen.
    pixel_scale : float
        arcsec.
    view : View
    """
    nx, ny = view.size
    distance = np.maximum.reduce([0.5 - x, x - nx - 0.5, 0.5 - y, y - ny - 0.5])
    seen = distance <= 0
    away = np.flatnonzero(distance > 0)
    if view.stamp_size is not None:
        seen[away] = distance[away] <= view.stamp_size / 2 + 1
        return seen
    chosen = conditions[away]
    canonical = np.maximum(np.pi / learned_stepk(chosen.sersic_n, 0.0, galsim.GSParams()), _GRID_REACH)
    galaxy = _MARGIN * canonical * stretch[away] * chosen.half_light_radius / np.sqrt(chosen.q)
    numbers = [view.psfs.number(cell) for cell in view.psfs.cells(x[away], y[away]).tolist()]
    psf = np.pi / np.array([view.psfs.profiles[number].stepk for number in numbers])
    seen[away] = distance[away] <= _MARGIN * np.hypot(galaxy, psf.reshape(len(away))) / pixel_scale + _MARGIN
    return seen


def _draw_window(
    parts: Sequence[Part], window: list[tuple[int, int]], view: View
) -> Iterator[tuple[Part, int, NDArray[np.float32]]]:
    drawn: dict[tuple[int, int], NDArray[np.float32]] = {}
    for p in dict(window):
        part, places = parts[p], np.array([i for q, i in window if q == p])
        views = [(part.keys[i], True) for i in places]
        stamps = draw_sized(part.arrays.rows(places), part.sizes[places], views, view.psfs.in_image, view.device)
        for i, stamp in zip(places.tolist(), stamps, strict=True):
            drawn[p, i] = _draw_large(part, i, view) if stamp is None else stamp
    for p, i in window:
        if parts[p].seen[i]:
            yield parts[p], i, drawn[p, i]


def _draw_large(part: Part, i: int, view: View) -> NDArray[np.float32]:
    """A galaxy that is too large for our Fourier grids: on a smaller stamp where the size is ours to choose.

    GalSim chooses stamps of thousands of pixels for the wings of a few concentrated galaxies, and then needs
    gigabytes for each. `part` is told of the new size, and whether it is still seen.
    """
    if view.stamp_size is None:
        one, asked = np.array([i]), int(part.sizes[i, 0])
        size = asked // 4 * 2
        while size >= _LEAST_STAMP:
            sizes = np.full((1, 2), size, dtype=np.int64)
            stamp = draw_sized(part.arrays.rows(one), sizes, [(part.keys[i], True)], view.psfs.in_image, view.device)[0]
            if stamp is not None:
                _logger.warning(
                    "galaxy %d: its stamp of %d pixels is cut to %d, which our Fourier grids hold",
                    part.batch.galaxy_id[i], asked, size,
                )  # fmt: skip
                part.corners[i] += (asked - size) // 2
                part.sizes[i] = size
                part.seen[i] = _on_image(part.corners[one], part.sizes[one], view.size)[0]
                return stamp
            size = size // 4 * 2
    return _draw_with_galsim(part, i, view)


def _draw_with_galsim(part: Part, i: int, view: View) -> NDArray[np.float32]:
    """The stamp as GalSim alone draws it."""
    width, height = part.sizes[i].tolist()
    profile = galsim.Convolve(part.batch[i], view.psfs.profiles[part.keys[i][0]])
    wcs = galsim.JacobianWCS(*part.matrices[i].ravel())
    offset = galsim.PositionD(*part.shifts[i])
    try:
        with raise_on_huge_fft():
            image = profile.drawImage(nx=width, ny=height, wcs=wcs, offset=offset, dtype=np.float32)
    except galsim.GalSimError as exc:
        galaxy = int(part.batch.galaxy_id[i])
        error = RenderError(
            f"row {part.rows[i]} (galaxy {galaxy}, half-light radius {part.batch.half_light_radius[i]:.4g} arcsec) "
            f"cannot be drawn on {width} x {height} pixels: {' '.join(str(exc).split())}"
        )
        error.galaxy_id = galaxy
        raise error from exc
    return np.asarray(image.array)


def _good_sizes(
    source: ProfileBatch, lensed: ProfileBatch, x: Floats, y: Floats, to_image: Floats, keys: list[Key], view: View
) -> Integers:
    """The sizes that GalSim chooses, cut where the whole image is covered already."""
    width = 0.0 if source.residual is None else source.residual.shape[1] * source.grid_scale
    lens = lensed.jacobian @ np.linalg.inv(source.jacobian)
    shift = lensed.offset - np.einsum("nij,nj->ni", lens, source.offset)
    psf_stepk = np.array([view.psfs.profiles[number].stepk for number, _ in keys]).reshape(len(x))
    place = np.stack([x, y], axis=1)
    chosen, _ = stamp_sizes(
        learned_stepk(source.sersic_n, width, galsim.GSParams()),
        [(source.jacobian, source.offset), (lens, shift)],
        psf_stepk,
        to_image,
        place - np.floor(place + 1),  # of the profile from the pixel to the upper right of the true centre
        pixel=True,
    )
    farthest = np.maximum(np.abs(place - 0.5), np.abs(np.array(view.size) + 0.5 - place)).max(axis=1)
    sizes = np.minimum(chosen, 2 * np.ceil(farthest).astype(np.int64) + 2)
    for i in np.flatnonzero(sizes > MAX_STAMP_SIZE):
        _logger.warning(
            "galaxy %d: its stamp of %d pixels is cut to %d", source.galaxy_id[i], sizes[i], MAX_STAMP_SIZE
        )  # fmt: skip
    return np.repeat(np.minimum(sizes, MAX_STAMP_SIZE)[:, None], 2, axis=1)


def _on_image(corners: Integers, sizes: Integers, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether stamps have any pixel on the image, shape (N,)."""
    return np.asarray(np.all((corners <= size) & (corners + sizes > 1), axis=1))


def _local_matrices(wcs: galsim.BaseWCS, x: Floats, y: Floats) -> Floats:
    """Arcsec per pixel at each place, shape (N, 2, 2)."""
    if wcs._isUniform:
        return np.tile(wcs.jacobian().getMatrix(), (len(x), 1, 1))
    places = (galsim.PositionD(*place) for place in zip(x.tolist(), y.tolist(), strict=True))
    return np.array([wcs.local(image_pos=place).jacobian().getMatrix() for place in places]).reshape(len(x), 2, 2)
