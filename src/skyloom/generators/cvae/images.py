"""Images of latents through the instruments of stamps."""

from __future__ import annotations

from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, observe, residual_grid
from skyloom.generators.cvae.net import Decoder

__all__ = ["model_images", "model_residuals"]


def model_residuals(
    decoder: Decoder, stamps: Stamps, index: Tensor, z: Tensor, y: Tensor, jitter: Jitter | None = None
) -> Tensor:
    """Residual grids of latents in the frames of stamps, shape (B, G, G)."""
    points = grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index])
    return residual_grid(decoder(z, y), GridGeometry.of(points, jitter), stamps.sersic_n[index])


def model_images(
    decoder: Decoder, stamps: Stamps, index: Tensor, z: Tensor, y: Tensor, jitter: Jitter | None = None
) -> Tensor:
    """Images of latents through the stamps' instruments, shape (B, S, S)."""
    return observe(model_residuals(decoder, stamps, index, z, y, jitter), stamps, index)
