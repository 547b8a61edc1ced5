"""Samples as fitted galaxies are: with nothing left in f that their own Sersic fit would have taken.

The maps of real galaxies stand on Sersic fits to their images, so that no change of flux, size, index, centre or
shape would explain them better. A sampled map need not keep to that; a fit to such a galaxy would then find another
size and index than were asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.frame import COLUMNS, R0, node_radii
from skyloom.physics.sersic import sersic_b, sersic_surface_brightness

__all__ = ["orthogonal_to_sersic"]

_INNER, _OUTER = (0.2, 0.4), (4.3, 3.5)  # half-light radii between which the correction sets in, and ends
_DEEPEST = -0.95


def orthogonal_to_sersic(f: Tensor, sersic_n: Tensor) -> Tensor:
    """Take out of the residual R = S (exp f - 1) the derivatives of S by what a fit finds.

    These are flux, size, index, centre and shape. Pixels count as in a fit to a bright image whose model is trusted to
    a share of its light: equally within a half-light radius, by S^2 far outside.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    sersic_n : Tensor, shape (B,)

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        Its weighted products with the derivatives vanish, but where light would have become negative.
    """
    r, n = node_radii().to(f), sersic_n[:, None]
    light = sersic_surface_brightness(n, r)
    window = _smooth(r, *_INNER) * _smooth(r, *_OUTER)
    weight = window * r * (r + R0) / (1 + (sersic_surface_brightness(n, torch.ones_like(r[:1])) / light) ** 2)
    size = sersic_b(n) / n * r ** (1 / n)  # -d ln S / d ln r
    index = torch.log(sersic_surface_brightness(1.02 * n, r) / light)
    radial = torch.stack([torch.ones_like(light), size, index], 1)
    phi = ((torch.arange(COLUMNS, device=f.device) + 0.5) / COLUMNS * 2 - 1) * torch.pi
    waves = torch.stack([torch.cos(phi), torch.sin(phi), torch.cos(2 * phi), torch.sin(2 * phi)]).to(f)

    g = torch.expm1(f)
    weighted = radial * weight[:, None]
    normal = (weighted * window) @ radial.mT
    found = torch.linalg.solve(normal, weighted @ g.mean(2)[..., None])
    taken = (found * radial).sum(1)[..., None]
    sides = torch.stack([size / r, size / r, size, size], 1)  # by the centre and by the shape
    power = (weight[:, None] * sides * (g @ waves.T).mT / COLUMNS).sum(2)
    norm = (weight[:, None] * sides**2 * window).sum(2) / 2
    taken = taken + torch.einsum("bkr,kc->brc", (power / norm)[..., None] * sides, waves)
    return torch.log1p((g - taken * window[:, None]).clamp(min=_DEEPEST))


def _smooth(r: Tensor, start: float, end: float) -> Tensor:
    """0 before `start`, 1 after `end`, a cubic between."""
    t = ((r - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)
