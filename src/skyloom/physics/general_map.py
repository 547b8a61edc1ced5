"""Residuals under maps that are not lower triangular: after a lensing shear, or a rotated WCS.

Every map is (lower triangular) × (shear of rows) × (turn by 0 or 90 degrees), with a shear of at most 1. The
turn is exact. The shear is a Fourier phase ramp on each row, exact for wavenumbers up to the grid's Nyquist
frequency along x. Beyond, in a zone one period up or down, the grid's transform repeats while the shear does
not: there the rows take a phase of their own.
"""

from __future__ import annotations

import math

import torch

from skyloom.physics.kgrid import KGrid
from skyloom.physics.residual import residual_transform

__all__ = ["general_residual_transform", "turn_if_needed"]


def turn_if_needed(residual: torch.Tensor, jacobian: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn grids by 90 degrees where that makes the shear of `general_residual_transform` at most 1.

    Parameters
    ----------
    residual : Tensor, shape (B, G, G)
    jacobian : Tensor, shape (B, 2, 2)

    Returns
    -------
    residual, jacobian : Tensor
        The same profiles on the sky.
    """
    turn = (jacobian[:, 0, 1].abs() > jacobian[:, 0, 0].abs())[:, None, None]
    quarter = torch.stack([jacobian[:, :, 1], -jacobian[:, :, 0]], dim=-1)
    return torch.where(turn, torch.rot90(residual, 1, (-2, -1)), residual), torch.where(turn, quarter, jacobian)


def general_residual_transform(
    residual: torch.Tensor, jacobian: torch.Tensor, grid: KGrid, cycles_x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Discrete transform of residual grids under any maps, without the interpolation kernel.

    Parameters
    ----------
    residual : Tensor, shape (B, G, G)
        From `turn_if_needed`.
    jacobian : Tensor, shape (B, 2, 2)
        From `turn_if_needed`, arcsec per grid point.
    grid : KGrid
        Output wavenumbers.
    cycles_x : Tensor, shape (B, 2, size, size)
        The k'_x of each output wavenumber, cycles per grid point.

    Returns
    -------
    real, imaginary : Tensor, shape (B, 2, size, size)
    """
    shear = jacobian[:, 0, 1] / jacobian[:, 0, 0]
    corner = jacobian[:, 1, 1] - jacobian[:, 1, 0] * shear
    rows = [
        torch.stack([jacobian[:, 0, 0], torch.zeros_like(shear)], -1),
        torch.stack([jacobian[:, 1, 0], corner], -1),
    ]
    lower = torch.stack(rows, -2)
    sheared = _shear_rows(residual, shear)
    real, imag = residual_transform(sheared, lower, grid)
    zone = cycles_x.detach().round()
    if not bool(zone.any()):
        return real, imag
    y = _centred(residual, residual.shape[-2])
    angle = (2 * math.pi * shear)[:, None] * y
    # a real transform each of the cosine's and the sine's part of exp(-i 2 pi zone shear y)
    cos_real, cos_imag = residual_transform(sheared * angle.cos()[..., None], lower, grid)
    sin_real, sin_imag = residual_transform(sheared * angle.sin()[..., None], lower, grid)
    beyond = zone != 0
    keep = zone.abs() <= 1  # further out the kernel passes next to nothing
    real = torch.where(beyond, (cos_real + zone * sin_imag) * keep, real)
    imag = torch.where(beyond, (cos_imag - zone * sin_real) * keep, imag)
    return real, imag


def _shear_rows(residual: torch.Tensor, shear: torch.Tensor) -> torch.Tensor:
    """Shift each row by `shear` times its y in Fourier space, on rows padded to twice their width."""
    height, width = residual.shape[-2:]
    padded = torch.nn.functional.pad(residual, (width // 2, width - width // 2))
    recentre = 0.5 if width % 2 else 0.0  # the padding of an odd width moves the true centre
    frequency = 2 * math.pi * torch.fft.rfftfreq(2 * width, dtype=residual.dtype, device=residual.device)
    shift = shear[:, None] * _centred(residual, height) + recentre
    angle = shift[..., None] * frequency
    moved: torch.Tensor = torch.fft.rfft(padded) * torch.polar(torch.ones_like(angle), -angle)
    sheared: torch.Tensor = torch.fft.irfft(moved, n=2 * width)
    return sheared


def _centred(like: torch.Tensor, size: int) -> torch.Tensor:
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
