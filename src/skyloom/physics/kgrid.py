"""The Fourier grid on which images are formed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

__all__ = ["KGrid", "pixel_waves"]


@dataclass(frozen=True)
class KGrid:
    """Wavenumbers ``0, dk, ... (size - 1) dk`` along each axis, with ``dk = 2 pi / period``.

    A real image needs half of the Fourier plane. We keep two quadrants, k_x of either sign and k_y >= 0: arrays
    on a grid have the shape (..., 2, size, size) = (sign of k_x, k_y, abs(k_x)). The grid knows nothing of pixels:
    it reaches as far as the PSF transmits, so light beyond the pixels' Nyquist frequency is aliased into the image
    as a detector aliases it.

    Parameters
    ----------
    period : float
        Side of the square whose copies tile the plane, arcsec.
    size : int
        Wavenumbers along an axis.
    """

    period: float
    size: int

    @property
    def spacing(self) -> float:
        """Distance between wavenumbers, radians per arcsec."""
        return 2 * math.pi / self.period

    def wavenumbers(self, like: torch.Tensor) -> torch.Tensor:
        """The wavenumbers along an axis, shape (size,), radians per arcsec, in the type and place of `like`."""
        return self.spacing * torch.arange(self.size, dtype=like.dtype, device=like.device)


@lru_cache(maxsize=64)
def pixel_waves(grid: KGrid, pixel_scale: float, stamp_size: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """Matrix that takes wavenumbers to pixels, shape (stamp_size, 2 size): [w cos(k x) | w sin(k x)].

    x runs over the pixel centres of a stamp about its true centre, whether its size is even or odd. The weight w
    is 1/2 for k = 0, which both signs of k share, and includes dk / sqrt(2) / pi and the pixel's width: two such
    matrices are the inverse transform in flux per pixel.
    """
    x = pixel_scale * (torch.arange(stamp_size, dtype=torch.float64) - (stamp_size - 1) / 2)
    k = grid.wavenumbers(x)
    weight = torch.full_like(k, grid.spacing * pixel_scale / (math.sqrt(2) * math.pi))
    weight[0] /= 2
    angle = x[:, None] * k
    return torch.cat([weight * angle.cos(), weight * angle.sin()], dim=1).to(dtype=dtype, device=device)
