"""The Fourier transform of residual grids, on the wavenumbers of an image.

A residual is the sum of its grid points, each a quintic interpolation kernel (Bernstein & Gruen 2014, PASP
126, 287). Its transform at an output wavenumber k is the discrete transform at k' = J^T k, times the kernel's
transform there. With J lower triangular k'_y depends on k_y alone, and the sum separates:

    sum_x1 e^(-i j11 k_x x1) e^(-i j21 k_y x1) [ sum_x2 e^(-i j22 k_y x2) R(x2, x1) ]

two real matrix products with a phase between them. Even and odd parts along both axes halve the cosines and
sines.
"""

from __future__ import annotations

import math
from functools import lru_cache

import galsim
import numpy as np
import torch

from skyloom.physics.kgrid import KGrid
from skyloom.physics.tables import look_up

__all__ = ["kernel_transform", "residual_transform"]

_KERNEL_STEPS, _KERNEL_END = 4096, 2.5  # beyond 2.5 cycles a grid point the kernel passes less than 2e-4


@lru_cache(maxsize=4)
def _kernel_row(dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's transform on a fine grid, shape (1, steps), and its differences."""
    cycles = np.linspace(0.0, _KERNEL_END, _KERNEL_STEPS)
    row = np.asarray(galsim.Quintic().kval(2 * np.pi * cycles))
    row[-1] = 0.0
    tensor = torch.from_numpy(row)[None]
    return tensor.to(dtype=dtype, device=device), tensor.diff().to(dtype=dtype, device=device)


def kernel_transform(k: torch.Tensor) -> torch.Tensor:
    """Transform of the quintic interpolation kernel along one axis.

    Parameters
    ----------
    k : Tensor, shape (B, ...)
        Radians per grid point.

    Returns
    -------
    Tensor, shape (B, ...)
        1 at k = 0.
    """
    row, slopes = (t.expand(k.shape[0], -1) for t in _kernel_row(k.dtype, str(k.device)))
    return look_up(row, k.abs() * ((_KERNEL_STEPS - 1) / (2 * math.pi * _KERNEL_END)), slopes)


def residual_transform(
    residual: torch.Tensor, jacobian: torch.Tensor, grid: KGrid
) -> tuple[torch.Tensor, torch.Tensor]:
    """Discrete transform of residual grids under lower-triangular maps, without the interpolation kernel.

    Parameters
    ----------
    residual : Tensor, shape (B, H, W)
        Rows along +y, about the grid's true centre.
    jacobian : Tensor, shape (B, 2, 2)
        Arcsec per grid point; its upper right element is not looked at.
    grid : KGrid
        Output wavenumbers.

    Returns
    -------
    real, imaginary : Tensor, shape (B, 2, size, size)
        On `grid`.
    """
    even_y, odd_y = _parts(residual, -2)
    even_y, odd_y = (torch.cat(_parts(part, -1), dim=-1) for part in (even_y, odd_y))
    half = even_y.shape[-1] // 2
    y = _half_axis(residual, residual.shape[-2])
    x = _half_axis(residual, residual.shape[-1])
    cos_y, sin_y = _waves(jacobian[:, 1, 1], grid, y)
    # (cos | sin of y) @ (parts even | odd in x): p_cos - i p_sin is even in x, m_cos - i m_sin odd
    by_cos, by_sin = torch.bmm(cos_y, even_y), torch.bmm(sin_y, odd_y)
    p_cos, m_cos = by_cos[..., :half], by_cos[..., half:]
    p_sin, m_sin = by_sin[..., :half], by_sin[..., half:]
    c, s = _waves(jacobian[:, 1, 0], grid, x)
    even = torch.cat([p_cos * c - m_sin * s, -(p_sin * c) - m_cos * s], dim=1)  # real above imaginary
    odd = torch.cat([m_cos * c - p_sin * s, -(m_sin * c) - p_cos * s], dim=1)
    cos_x, sin_x = _waves(jacobian[:, 0, 0], grid, x)
    c_real, c_imag = torch.bmm(even, cos_x.mT).chunk(2, dim=1)
    s_real, s_imag = torch.bmm(odd, sin_x.mT).chunk(2, dim=1)
    real = torch.stack([c_real + s_imag, c_real - s_imag], dim=1)
    imaginary = torch.stack([c_imag - s_real, c_imag + s_real], dim=1)
    return real, imaginary


def _parts(grid: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Even and odd part along an axis, for coordinates >= 0 (the even part's centre counted once)."""
    size = grid.shape[axis]
    half = (size + 1) // 2
    upper = grid.narrow(axis, size - half, half)
    lower = grid.narrow(axis, 0, half).flip(axis)
    even = upper + lower
    if size % 2:
        weight = torch.ones(half, dtype=grid.dtype, device=grid.device)
        weight[0] = 0.5
        even = even * (weight if axis == -1 else weight[:, None])
    return even, upper - lower


def _half_axis(like: torch.Tensor, size: int) -> torch.Tensor:
    half = (size + 1) // 2
    return torch.arange(size - half, size, dtype=like.dtype, device=like.device) - (size - 1) / 2


def _waves(stretch: torch.Tensor, grid: KGrid, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of ``stretch k x`` over the grid's k, each of shape (B, size, size of x).

    Wavenumbers 8 a + b come from those of 8 a and of b: a quarter of the sines.
    """
    step = grid.spacing * stretch[:, None] * x
    fine = step[:, None] * torch.arange(8, dtype=x.dtype, device=x.device)[:, None]
    coarse = step[:, None] * torch.arange(0, grid.size, 8, dtype=x.dtype, device=x.device)[:, None]
    c_a, s_a = coarse.cos()[:, :, None], coarse.sin()[:, :, None]
    c_b, s_b = fine.cos()[:, None], fine.sin()[:, None]
    cosine = torch.addcmul(c_a * c_b, s_a, s_b, value=-1).flatten(1, 2)
    sine = torch.addcmul(s_a * c_b, c_a, s_b).flatten(1, 2)
    return cosine[:, : grid.size], sine[:, : grid.size]
