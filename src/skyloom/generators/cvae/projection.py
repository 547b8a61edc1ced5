"""Structure without what a Sersic fit would absorb."""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.frame import R0, R_MAX, outer_edge, without_cusp
from skyloom.generators.cvae.simulate_fields import PHI, RADII
from skyloom.physics.sersic import sersic_b, sersic_surface_brightness

__all__ = ["faintness_taper", "fit_weight", "sersic_derivatives", "unabsorbed", "without_sersic"]

_STEPS = 3


def sersic_derivatives(sersic_n: Tensor) -> Tensor:
    """Derivatives of ln S by flux, index, size, shape (2) and centre (2), on the nodes.

    Returns
    -------
    Tensor, shape (B, 7, ROWS, COLUMNS)
        Each of root mean square 1, those by the centre softened at the cusp.
    """
    n = sersic_n[:, None, None]
    around = RADII + 0 * PHI

    def ln_s(index: Tensor) -> Tensor:
        return torch.log(sersic_surface_brightness(index, around + 1e-3) + 1e-12)

    size = sersic_b(n) / n * around ** (1 / n)  # -d ln S / d ln r, up to a constant
    slope = size / (around + 0.15)
    cos, sin = torch.cos(PHI), torch.sin(PHI)
    cos2, sin2 = torch.cos(2 * PHI), torch.sin(2 * PHI)
    columns = [
        torch.ones_like(size),
        ln_s(n * 1.02) - ln_s(n),
        size,
        size * cos2,
        size * sin2,
        slope * cos,
        slope * sin,
    ]
    basis = torch.stack(columns, 1)
    return basis / (basis.square().mean((2, 3), keepdim=True).sqrt() + 1e-6)


def fit_weight(sersic_n: Tensor) -> Tensor:
    """Weight of a node in a fit to the image, S^2 / (S + sky) times its area; shape (B, ROWS, COLUMNS)."""
    light = sersic_surface_brightness(sersic_n[:, None, None], RADII + 0 * PHI)
    return light**2 / (light + 0.02) * RADII * (RADII + R0) * (RADII < 0.8 * R_MAX)


def faintness_taper(sersic_n: Tensor) -> Tensor:
    """1 in the galaxy, 0 where the Sersic is faint and near the map's edge; shape (B, ROWS, COLUMNS).

    Out there f means nothing and would only cost a network capacity.
    """
    light = sersic_surface_brightness(sersic_n[:, None, None], RADII + 0 * PHI)
    return light / (light + 0.002) * outer_edge(RADII)


def unabsorbed(f: Tensor, sersic_n: Tensor) -> Tensor:
    """Project out of f what a fit of flux, size, index, axis ratio, angle and centre would take.

    The fit is to the light: a few Gauss-Newton steps towards parameters at which the derivatives of S are orthogonal
    to the residual S' (exp f - 1), S' the Sersic without its cusp, with the weights of `fit_weight`. What is subtracted
    is tapered (`faintness_taper`).

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    sersic_n : Tensor, shape (B,)

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        Within +-3.
    """
    shape, around = f.shape, RADII + 0 * PHI
    n = sersic_n[:, None, None]
    blunt = sersic_surface_brightness(n, without_cusp(around)) / sersic_surface_brightness(n, around)
    basis = sersic_derivatives(sersic_n).flatten(2)
    weighted = basis * fit_weight(sersic_n).flatten(1)[:, None]
    tapered = basis * faintness_taper(sersic_n).flatten(1)[:, None]
    blunt, f = blunt.flatten(1), f.flatten(1)
    small = 1e-5 * torch.eye(basis.shape[1])
    for _ in range(_STEPS):
        growth = torch.exp(f) * blunt
        normal = (weighted * growth[:, None]) @ tapered.mT
        normal = normal + small * normal.diagonal(dim1=1, dim2=2).abs().mean(1)[:, None, None]
        wanted = weighted @ (growth - blunt)[:, :, None]
        f = f - (torch.linalg.solve(normal, wanted).mT @ tapered)[:, 0].clamp(-1.5, 1.5)
    return f.view(shape).clamp(-3, 3)


def without_sersic(f: Tensor, sersic_n: Tensor) -> Tensor:
    """Simulated structure without what a Sersic fit would take: `unabsorbed`, of f tapered as what is subtracted is.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    sersic_n : Tensor, shape (B,)

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        Within +-3.
    """
    return unabsorbed(2.2 * torch.tanh(f / 2.2) * faintness_taper(sersic_n), sersic_n)
