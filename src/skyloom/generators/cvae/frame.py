"""The network's frame: the face-on disc in log-polar coordinates (u, phi).

``u = ln((r + r0) / r0) / ln((r_max + r0) / r0)`` in [0, 1) and phi from the major axis, so that a logarithmic spiral
is a straight stripe, a turn is a shift along phi, and a convolution that is circular in phi treats all turns alike.
Row k, column l of a map stand at ``u = (k + 1/2) / ROWS`` and ``phi = 2 pi (l + 1/2) / COLUMNS - pi``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "COLUMNS",
    "CORE",
    "R0",
    "ROWS",
    "R_MAX",
    "map_coordinates",
    "node_radii",
    "nodes",
    "outer_edge",
    "sample_map",
    "turned_maps",
    "without_cusp",
]

ROWS, COLUMNS = 32, 64
R_MAX = 4.5
"""Outer radius of the map, half-light radii."""
R0 = 0.3
"""Below this radius the radial spacing turns from logarithmic to even, half-light radii."""
CORE = 0.2
"""Radius within which the residual has no cusp, half-light radii; the grid's pixels are 0.09."""
_SPAN = math.log1p(R_MAX / R0)


def node_radii(rows: int = ROWS) -> Tensor:
    """Radii of a map's rows in half-light radii, shape (rows,)."""
    u = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    return (R0 * torch.expm1(u * _SPAN)).float()


def nodes(rows: int = ROWS, columns: int = COLUMNS) -> Tensor:
    """Positions of a map's nodes in the disc, half-light radii; shape (rows, columns, 2)."""
    phi = (torch.arange(columns, dtype=torch.float64) + 0.5) / columns * 2 * math.pi - math.pi
    r = node_radii(rows).double()[:, None]
    return torch.stack([r * torch.cos(phi), r * torch.sin(phi)], -1).float()


def outer_edge(r: Tensor) -> Tensor:
    """The factor, 1 to 0, with which f ends at the outer edge; r in half-light radii."""
    return torch.sigmoid((3.5 - r) / 0.25)


def without_cusp(r: Tensor) -> Tensor:
    """The radius at which the residual takes the Sersic, ``sqrt(r^2 + CORE^2)``, half-light radii.

    The residual must be smooth where the Sersic has its cusp; and as it is less than the Sersic there, it cannot make
    the galaxy negative.
    """
    return torch.hypot(r, torch.full_like(r, CORE))


def map_coordinates(points: Tensor) -> Tensor:
    """Where points of the disc lie on a map of `ROWS` x `COLUMNS` nodes, as `sample_map` takes them.

    Parameters
    ----------
    points : Tensor, shape (..., 2)
        Cartesian positions in half-light radii.

    Returns
    -------
    Tensor, shape (..., 2)
        Column and row of the padded map, scaled to [-1, 1] over its pixels' outer edges.
    """
    x, y = points[..., 0], points[..., 1]
    u = torch.log1p(torch.sqrt(x * x + y * y + 1e-12) / R0) / _SPAN
    column = (torch.atan2(y, x) + math.pi) * (COLUMNS / (2 * math.pi)) + 1.5
    row = u * ROWS + 1.5
    return torch.stack([(2 * column + 1) / (COLUMNS + 4) - 1, (2 * row + 1) / (ROWS + 2) - 1], -1)


def sample_map(values: Tensor, coordinates: Tensor) -> Tensor:
    """Evaluate maps at points of the disc, with bicubic interpolation.

    Parameters
    ----------
    values : Tensor, shape (B, ROWS, COLUMNS)
        Maps on the nodes.
    coordinates : Tensor, shape (B, H, W, 2)
        Of `map_coordinates`; beyond `R_MAX` the outermost row is continued.

    Returns
    -------
    Tensor, shape (B, H, W)

    Notes
    -----
    Columns are continued around the circle; inside the first row lie the first two seen from the other side of the
    centre, that is turned by pi.
    """
    across = torch.roll(values[:, :2], COLUMNS // 2, 2).flip(1)
    padded = torch.cat([across, values], 1)
    padded = torch.cat([padded[..., -2:], padded, padded[..., :2]], -1)[:, None]
    return F.grid_sample(padded, coordinates, mode="bicubic", padding_mode="border", align_corners=False)[:, 0]


def turned_maps(f: Tensor, angle: Tensor) -> Tensor:
    """Maps turned by an angle each: f'(phi) = f(phi - angle), exact for what the columns can hold.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    angle : Tensor, shape (B,)
        Radians.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
    """
    columns = f.shape[2]
    orders = torch.arange(columns // 2 + 1)
    phase = torch.polar(torch.ones(1), -(angle[:, None] * orders))
    return torch.fft.irfft(torch.fft.rfft(f, dim=2) * phase[:, None, :], n=columns, dim=2)
