"""The light of the periodic copies of Sersic galaxies, to be taken out of an image.

A sampled Fourier plane shows a galaxy and its copies, one period apart. In the stamp the copies are far away:
smooth, and unchanged by the PSF. So we sum their analytic wings at Chebyshev nodes, interpolate to the pixels
and subtract. Copies beyond the nearest rings add a constant, the flux outside them per period.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from skyloom.physics.kgrid import KGrid
from skyloom.physics.sersic import sersic_b, sersic_enclosed_flux, sersic_ln_norm

__all__ = ["copies_light"]

_NODES = 8
_RINGS = 2
_ANGLES = 24


@lru_cache(maxsize=64)
def _to_pixels(stamp_size: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """Interpolation from the nodes in (-1, 1) to pixel centres, shape (stamp_size, nodes)."""
    nodes = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
    pixels = (2 * np.arange(stamp_size) + 1) / stamp_size - 1
    vander = np.polynomial.chebyshev.chebvander
    weights = vander(pixels, _NODES - 1) @ np.linalg.inv(vander(nodes, _NODES - 1))
    return torch.from_numpy(weights).to(dtype=dtype, device=device)


@lru_cache(maxsize=64)
def _places(period: float, half_width: float, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (P, 2) and the centres of the copies (M, 2), arcsec; x then y."""
    nodes = half_width * np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
    ring = np.arange(-_RINGS, _RINGS + 1)
    centres = period * np.stack(np.meshgrid(ring, ring), axis=-1).reshape(-1, 2)
    centres = np.delete(centres, len(centres) // 2, axis=0)
    points = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    as_tensor = [torch.from_numpy(a).to(dtype=dtype, device=device) for a in (points, centres)]
    return as_tensor[0], as_tensor[1]


def copies_light(
    n: torch.Tensor,
    jacobian: torch.Tensor,
    offset: torch.Tensor,
    grid: KGrid,
    *,
    pixel_scale: float,
    stamp_size: int,
) -> torch.Tensor:
    """Light of all periodic copies of unit-flux Sersic galaxies in a stamp.

    Parameters
    ----------
    n : Tensor, shape (B,)
        Sersic index.
    jacobian : Tensor, shape (B, 2, 2)
        Arcsec per half-light radius.
    offset : Tensor, shape (B, 2)
        Of the galaxy from the stamp's true centre, arcsec.
    grid : KGrid
        Gives the period.
    pixel_scale, stamp_size
        Arcsec, pixels.

    Returns
    -------
    Tensor, shape (B, stamp_size, stamp_size)
        Flux per pixel.
    """
    kind = (n.dtype, str(n.device))
    points, centres = _places(grid.period, stamp_size * pixel_scale / 2, *kind)
    determinant = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
    inverse = _adjugate(jacobian) / determinant[:, None, None]
    # J^-1 of points and of copies apart: two small products for one large
    here, there = points @ inverse.mT, (centres + offset[:, None]) @ inverse.mT
    x, y = (here[..., axis, None] - there[:, None, :, axis] for axis in (0, 1))
    b = sersic_b(n)[:, None, None]
    power = (0.5 / n)[:, None, None]
    ln_norm = sersic_ln_norm(n, b[:, 0, 0])[:, None, None]
    ln_r2 = torch.log(torch.addcmul(x * x, y, y).clamp_min(1e-30))
    light = torch.exp(ln_norm - b * torch.exp(ln_r2 * power)).sum(-1) / determinant.abs()[:, None]
    # flux inside the square of the rings, along directions in the canonical frame
    phi = torch.arange(_ANGLES, dtype=n.dtype, device=n.device) * (math.pi / _ANGLES)  # half a turn says all
    direction = torch.stack([phi.cos(), phi.sin()], dim=-1) @ jacobian.mT
    radius = (_RINGS + 0.5) * grid.period / direction.abs().amax(-1)
    outside = 1 - sersic_enclosed_flux(n, radius).mean(-1)
    light = light + outside[:, None] / grid.period**2
    matrix = _to_pixels(stamp_size, *kind) * pixel_scale
    return matrix @ light.reshape(-1, _NODES, _NODES) @ matrix.mT


def _adjugate(matrix: torch.Tensor) -> torch.Tensor:
    """Inverse times determinant of 2x2 matrices, without a call of LAPACK for each."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    return torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
