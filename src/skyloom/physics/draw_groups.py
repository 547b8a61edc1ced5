"""Galaxies that are drawn in the same way, a few at a time: their Fourier grids, and the light of their copies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skyloom.physics.draw_arrays import Level, draw_levels
from skyloom.physics.kgrid import KGrid
from skyloom.physics.psf import Psf, psf_otf
from skyloom.physics.windows import Window
from skyloom.physics.wings import copies_light

__all__ = ["CopiesLight", "Group", "Kind", "Part", "View", "draw_group", "fourier_parts"]

_GALAXIES_AT_ONCE = 32
_COPIES_AT_ONCE = 64
_MULTIPLE = 4
_GRID_POINTS_AT_ONCE = 8 * 2 * 128 * 128  # some MB of temporaries, to stay in the processor's caches


@dataclass(frozen=True)
class Group:
    """Arrays of all galaxies, and what draws them."""

    residual: NDArray[np.float32] | None
    grid_scale: float
    sersic_n: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    offset: NDArray[np.float64]
    amplitude: NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """Type and place of the calculation."""

    dtype: torch.dtype
    device: torch.device

    def tensor(self, values: NDArray[np.floating]) -> torch.Tensor:
        """An array as a tensor of this kind."""
        return torch.from_numpy(values).to(dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class Part:
    """A Fourier grid, what galaxies are seen through on it, and pixels of the stamp."""

    grid: KGrid
    otf: NDArray[np.complex128] | NDArray[np.float64]
    stamp_size: int


@dataclass(frozen=True)
class View:
    """What galaxies of one plan are seen through."""

    parts: tuple[Part, ...]
    pixel_scale: float
    zones: bool
    gentle: bool


def fourier_parts(
    psf: Psf, samples: int, core: int, end: float, pixel_scale: float, stamp_size: int, pixel: bool
) -> tuple[Part, ...]:
    """The whole stamp on one Fourier grid; or on a coarse one, and its middle on a fine one."""
    if not core:
        grid = psf.grid(samples, end)
        return (Part(grid, psf_otf(psf, grid, pixel_scale=pixel_scale, pixel=pixel), stamp_size),)
    window = Window.for_half_period(core * psf.step / 2)
    smooth = psf.smoothed(window)
    coarse = smooth.grid(math.ceil(samples * psf.step / smooth.step) | 1)
    fine = psf.grid(core, end)
    size = int(fine.period / pixel_scale)
    size -= (stamp_size - size) % 2
    return (
        Part(coarse, psf_otf(smooth, coarse, pixel_scale=pixel_scale, pixel=pixel), stamp_size),
        Part(fine, psf_otf(psf, fine, pixel_scale=pixel_scale, pixel=pixel, without=window), size),
    )


def draw_group(group: Group, rows: NDArray[np.int64], view: View, kind: Kind, out: NDArray[np.float32]) -> None:
    """Draw the galaxies of `rows`, which share a plan, into `out`."""
    levels = []
    for part in view.parts:
        dtype = kind.dtype.to_complex() if np.iscomplexobj(part.otf) else kind.dtype
        otf = torch.from_numpy(part.otf).to(dtype=dtype, device=kind.device)
        levels.append(Level(otf, part.grid, part.stamp_size))
    largest = max(part.grid.size for part in view.parts)
    most = max(1, min(_GALAXIES_AT_ONCE, _GRID_POINTS_AT_ONCE // (2 * largest**2)))
    if most > _MULTIPLE:
        most -= most % _MULTIPLE
    for chunk, full in _chunks(rows, most):
        offset = group.offset[full]
        images = draw_levels(
            None if group.residual is None else kind.tensor(group.residual[full]),
            group.grid_scale,
            kind.tensor(group.sersic_n[full]),
            kind.tensor(group.jacobian[full]),
            kind.tensor(offset) if offset.any() else None,
            kind.tensor(group.amplitude[full]),
            levels,
            pixel_scale=view.pixel_scale,
            zones=view.zones,
            gentle=view.gentle,
        )
        out[chunk] = images[: len(chunk)].to(torch.float32).cpu().numpy()


class CopiesLight:
    """Galaxies whose periodic copies are seen, by what these depend on: cheap for each, but not for few at a time."""

    def __init__(self) -> None:
        self._rows: dict[tuple[float, float, int], list[NDArray[np.int64]]] = {}
        self._grids: dict[float, KGrid] = {}

    def add(self, part: Part, rows: NDArray[np.int64]) -> None:
        """Take down galaxies drawn on a grid."""
        if len(rows):
            through = float(part.otf[0, 0, 0].real)
            self._grids[part.grid.period] = part.grid
            self._rows.setdefault((part.grid.period, through, part.stamp_size), []).append(rows)

    def subtract(self, group: Group, pixel_scale: float, kind: Kind, out: NDArray[np.float32]) -> None:
        """Take their light out of `out`."""
        for (period, through, stamp_size), rows in self._rows.items():
            for chunk, full in _chunks(np.sort(np.concatenate(rows)), _COPIES_AT_ONCE):
                copies = copies_light(
                    kind.tensor(group.sersic_n[full]),
                    kind.tensor(group.jacobian[full]),
                    kind.tensor(group.offset[full]),
                    self._grids[period],
                    pixel_scale=pixel_scale,
                    stamp_size=stamp_size,
                )
                copies = copies * (through * kind.tensor(group.amplitude[full]))[:, None, None]
                out[chunk] -= copies[: len(chunk)].to(torch.float32).cpu().numpy()


def _chunks(rows: NDArray[np.int64], most: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Parts of at most `most` galaxies, each as it is and filled up by repetition to a multiple of four.

    Other batch sizes give other last bits, so that a galaxy would depend on its neighbours.
    """
    for first in range(0, len(rows), most):
        chunk = rows[first : first + most]
        yield chunk, np.resize(chunk, min(most, -(-len(chunk) // _MULTIPLE) * _MULTIPLE))
