"""One linear fit of a Sersic's parameters to the residual that a map makes."""

from collections.abc import Callable

import torch

from skyloom.generators.cvae.frame import COLUMNS, without_cusp
from skyloom.generators.cvae.projection import fit_weight, sersic_derivatives
from skyloom.generators.cvae.simulate_fields import RADII
from skyloom.physics.sersic import sersic_surface_brightness


def refit(
    f: torch.Tensor, n: torch.Tensor, weights: Callable[[torch.Tensor], torch.Tensor] = fit_weight
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a fit to f (B, ROWS, COLUMNS) explains, the residual over the Sersic, and weights; each (B, nodes)."""
    blunt, sharp = (sersic_surface_brightness(n[:, None, None], r) for r in (without_cusp(RADII), RADII))
    light = (torch.expm1(f) * blunt / sharp).flatten(1)
    basis = sersic_derivatives(n).flatten(2)
    weight = weights(n)[..., None].expand(-1, -1, COLUMNS).flatten(1)
    weighted = basis * weight[:, None]
    normal = weighted @ basis.mT
    normal = normal + 1e-6 * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(basis.shape[1])
    found = torch.linalg.solve(normal, weighted @ light[..., None])
    return (found.mT @ basis)[:, 0], light, weight
