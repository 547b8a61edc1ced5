"""Residuals under maps that are not lower triangular: after a lensing shear, or a rotated WCS.

Every map is (lower triangular) × (shear of rows) × (turn by 0 or 90 degrees), with a shear of at most 1. The
turn is exact. The shear is a Fourier phase ramp on each row, exact for wavenumbers up to the grid's Nyquist
frequency along x. Beyond, in a zone one period up or down, the grid's transform repeats while the shear does
not: there the rows take a phase of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skyloom.physics.kgrid import KGrid
from skyloom.physics.residual import residual_transform

__all__ = ["GeneralResidual", "general_residual", "gentle_shear", "row_shear"]

_GENTLE = 0.25  # shear below which rows padded to half as much again hold all of a grid


@dataclass(frozen=True)
class GeneralResidual:
    """Residual grids made ready for their transforms under any maps.

    Parameters
    ----------
    values : Tensor, shape (B, G, W)
        Turned, and with their rows sheared.
    jacobian : Tensor, shape (B, 2, 2)
        Of the turned grids, arcsec per grid point.
    lower : Tensor, shape (B, 2, 2)
        Its lower-triangular factor.
    shear : Tensor, shape (B,), or None
        None where all maps are lower triangular as they are.
    """

    values: torch.Tensor
    jacobian: torch.Tensor
    lower: torch.Tensor
    shear: torch.Tensor | None

    def transform(self, grid: KGrid, cycles_x: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Discrete transform, without the interpolation kernel.

        Parameters
        ----------
        grid : KGrid
            Output wavenumbers.
        cycles_x : Tensor, shape (B, 2, size, size), or None
            The k'_x of each output wavenumber, cycles per grid point; None where nothing beyond the grid's Nyquist
            frequency counts.

        Returns
        -------
        real, imaginary : Tensor, shape (B, 2, size, size)
        """
        real, imag = residual_transform(self.values, self.lower, grid)
        if self.shear is None or cycles_x is None:
            return real, imag
        zone = cycles_x.detach().round()
        if not bool(zone.any()):
            return real, imag
        y = _centred(self.values, self.values.shape[-2])
        angle = (2 * math.pi * self.shear)[:, None] * y
        # a real transform each of the cosine's and the sine's part of exp(-i 2 pi zone shear y)
        cos_real, cos_imag = residual_transform(self.values * angle.cos()[..., None], self.lower, grid)
        sin_real, sin_imag = residual_transform(self.values * angle.sin()[..., None], self.lower, grid)
        beyond = zone != 0
        keep = zone.abs() <= 1  # further out the kernel passes next to nothing
        real = torch.where(beyond, (cos_real + zone * sin_imag) * keep, real)
        imag = torch.where(beyond, (cos_imag - zone * sin_real) * keep, imag)
        return real, imag


def row_shear(jacobian: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shear that maps ask of the rows of their grids, 0 to 1; shapes (N, 2, 2) and (N,)."""
    first = np.abs(jacobian[:, 0])
    return np.asarray(first.min(axis=1) / np.maximum(first.max(axis=1), 1e-300))


def gentle_shear(jacobian: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether that shear is small, shape (N,)."""
    return np.asarray(row_shear(jacobian) <= _GENTLE)


def general_residual(
    residual: torch.Tensor, jacobian: torch.Tensor, grid_scale: float, *, gentle: bool = False
) -> GeneralResidual:
    """Make residuals ready for their transforms.

    Parameters
    ----------
    residual : Tensor, shape (B, G, G)
    jacobian : Tensor, shape (B, 2, 2)
        Arcsec per canonical unit.
    grid_scale : float
        Canonical units per grid point.
    gentle : bool
        Whether all maps pass `gentle_shear`, which makes it cheaper.
    """
    if not jacobian.requires_grad and not bool(jacobian[:, 0, 1].any()):
        per_point = jacobian * grid_scale
        return GeneralResidual(residual, per_point, per_point, None)
    residual, jacobian = _turned(residual, jacobian * grid_scale)
    shear = jacobian[:, 0, 1] / jacobian[:, 0, 0]
    corner = jacobian[:, 1, 1] - jacobian[:, 1, 0] * shear
    rows = [
        torch.stack([jacobian[:, 0, 0], torch.zeros_like(shear)], -1),
        torch.stack([jacobian[:, 1, 0], corner], -1),
    ]
    return GeneralResidual(_shear_rows(residual, shear, gentle=gentle), jacobian, torch.stack(rows, -2), shear)


def _turned(residual: torch.Tensor, jacobian: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn grids by 90 degrees where that makes the shear at most 1."""
    turn = (jacobian[:, 0, 1].abs() > jacobian[:, 0, 0].abs())[:, None, None]
    if not bool(turn.any()):
        return residual, jacobian
    quarter = torch.stack([jacobian[:, :, 1], -jacobian[:, :, 0]], dim=-1)
    return torch.where(turn, torch.rot90(residual, 1, (-2, -1)), residual), torch.where(turn, quarter, jacobian)


def _shear_rows(residual: torch.Tensor, shear: torch.Tensor, *, gentle: bool) -> torch.Tensor:
    """Shift each row by `shear` times its y in Fourier space, on padded rows."""
    height, width = residual.shape[-2:]
    more = width // 2 if gentle else width
    left = more // 2
    padded = torch.nn.functional.pad(residual, (left, more - left))
    recentre = 0.5 if more % 2 else 0.0  # an odd padding moves the true centre
    count = (width + more) // 2 + 1
    shift = shear[:, None] * _centred(residual, height) + recentre
    step = shift[..., None] * (-2 * math.pi / (width + more))
    # orders 8 a + b come from those of 8 a and of b
    tens = step * torch.arange(0, count, 8, dtype=step.dtype, device=step.device)
    ones = step * torch.arange(8, dtype=step.dtype, device=step.device)
    tens, ones = (torch.complex(angle.cos(), angle.sin()) for angle in (tens, ones))
    phase = (tens[..., None] * ones[..., None, :]).flatten(2)[..., :count]
    moved: torch.Tensor = torch.fft.rfft(padded) * phase
    sheared: torch.Tensor = torch.fft.irfft(moved, n=width + more)
    return sheared


def _centred(like: torch.Tensor, size: int) -> torch.Tensor:
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
