"""What inclination does to a disc: dust lanes, round bulges and boxy isophotes, the darker near side.

The frame deprojects the sky's ellipse to a circle. A disc seen edge on is as thick there as it is long, and what is
round on the sky, as a bulge is, stands upright: y on the disc is y on the sky over q.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.simulate_fields import PHI, RADII, random_field, uniform
from skyloom.generators.cvae.simulate_parameters import Parameters

__all__ = ["edge_on_stars", "screen"]


def edge_on_stars(p: Parameters) -> Tensor:
    """Logarithm of what the stars of an edge-on disc have more than a Sersic ellipse: bulge, thin disc, warp."""
    b = len(p.q)
    q = p.q[:, None, None].clamp(0.06, 0.6)
    x, y = RADII * torch.cos(PHI), RADII * torch.sin(PHI)
    y = y - uniform(b, -0.08, 0.08) * x * x.abs()  # a warp bends the ends to opposite sides
    size = uniform(b, 0.15, 0.4)
    height = (size / q.sqrt()).clamp(max=1.1)  # between as flat as the disc and round on the sky
    bulge = uniform(b, 0.1, 1.3) * torch.exp(-torch.sqrt((x / size) ** 2 + (y / height) ** 2 + 0.05) * 1.3)
    thin = uniform(b, 0.0, 0.7) * torch.exp(-0.5 * (y / uniform(b, 0.2, 0.35)) ** 2)
    return (bulge + thin * torch.sigmoid((uniform(b, 1.2, 2.6) - x.abs()) / 0.2)) * p.disc[:, None, None]


def screen(p: Parameters) -> Tensor:
    """Optical depth at 0.55 micron of the dust in an inclined disc, shape (B, ROWS, COLUMNS).

    Edge on, a lane along the plane, a little off where the disc is a few degrees from edge on and patchy; less
    inclined, the side nearer to us is darker, in arcs before the bulge.
    """
    b = len(p.q)
    side = torch.where(torch.rand(b, 1, 1) < 0.5, -1.0, 1.0)
    x, y = RADII * torch.cos(PHI), side * RADII * torch.sin(PHI)
    inclined = p.q[:, None, None]
    half = uniform(b, 0.8, 1.8)
    offset = uniform(b, 0.0, 0.35) * torch.sqrt((1 - (x / half) ** 2).clamp(min=0))
    thickness = torch.maximum(uniform(b, 0.18, 0.3), 0.1 * RADII)  # the map knows no narrower ones far out
    patches = torch.exp(0.35 * random_field(torch.full((b,), 6.0), torch.full((b,), 6.0)))
    lane = torch.exp(-0.5 * ((y - offset) / thickness) ** 2) * torch.sigmoid((half - x.abs()) / 0.2) * patches
    edge_on = (1 - p.face_on)[:, None, None] * (torch.rand(b, 1, 1) < 0.7) * uniform(b, 0.4, 1.5)
    radius = uniform(b, 0.4, 1.0)
    arc = torch.exp(-0.5 * ((RADII - radius) / 0.25) ** 2) * torch.sigmoid(3.0 * y / RADII.clamp(min=0.1))
    between = torch.exp(-0.5 * ((inclined - 0.42) / 0.12) ** 2) * (torch.rand(b, 1, 1) < 0.6) * uniform(b, 0.1, 0.7)
    return (edge_on * lane + between * arc * patches) * p.disc[:, None, None]
