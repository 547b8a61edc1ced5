"""How samples are drawn from decoded maps: as strong as real galaxies, without what a Sersic fit would take.

A decoder that has learned from blurred and noisy stamps draws less than is there, and a prior that has learned from its
latents less again, and less variety of it: what is missing is a gain that grows with a sample's own strength
(`skyloom.generators.cvae.structure_gain`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skyloom.generators.cvae.frame import R0, node_radii, without_cusp
from skyloom.generators.cvae.projection import unabsorbed
from skyloom.generators.cvae.structure_scale import scaled_maps
from skyloom.physics.sersic import sersic_surface_brightness

__all__ = ["drawn_maps", "gain_at", "strength_of"]

_R = node_radii()
_FAINT = 0.05  # surface brightness, of flux 1 and half-light radius 1
_FADES, _OUTSKIRTS, _END = 2.0, 3.0, 4.4  # half-light radii
_DARKEST, _DARKEST_CORE, _CORE = 1.3, 0.5, 0.35  # -f in a galaxy's body and at its centre, and where that turns
_LIFTED = ((_R - 1.2) / (2.2 - 1.2)).clamp(0, 1)  # half-light radii between which that limit is lifted
_DARKEST_AT = (_DARKEST_CORE + (_DARKEST - _DARKEST_CORE) * (_R / _CORE).clamp(max=1)) * (3 / _DARKEST) ** _LIFTED
_BRIGHTEST = 2.0  # of f
_INNER = _R[_R < 0.45]  # where the mean profile does not fall inwards
_TYPICAL = 0.35  # strength for which the gain is that of the table
_STRONGER = 2.0  # by which a sample's strength changes the gain at most, either way
_DISC = sersic_surface_brightness(torch.ones(1, 1), _R)[0] * _R * (_R + R0) * (_R < 2.5)


def drawn_maps(f: tuple[Tensor, Tensor], sersic_n: Tensor, scale: Tensor, gain: Tensor) -> Tensor:
    """Maps as samples show them.

    Parameters
    ----------
    f : tuple of two Tensors, shape (B, ROWS, COLUMNS)
        Of `Decoder.maps`.
    sersic_n, scale : Tensor, shape (B,)
        `scale` as `scaled_maps` takes it.
    gain : Tensor, shape (B,)
        By which f is multiplied where the galaxy is bright; where it is faint stamps told little, and f stays.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        In the galaxy's own half-light radii, without what a Sersic fit would absorb.
    """
    light = sersic_surface_brightness(sersic_n[:, None], _R)
    strength = (1 + (gain[:, None] - 1) * light / (light + _FAINT))[:, :, None]
    own, reference = (strength * scaled_maps(one, scale) for one in f)
    return _fading(_without_pit(_limited(unabsorbed(own, sersic_n, reference)), sersic_n))


def _limited(f: Tensor) -> Tensor:
    """Maps of which nothing in the galaxy's body is darker than a quarter of the Sersic, or brighter than 7 times.

    A gain deepens what is dark as it brightens what is bright. Of well seen galaxies all but one node in a hundred are
    above -1.1 between 0.15 and 1 half-light radii, in their posterior means (docs/models.md); further out galaxies
    do end, and next to the nucleus a dark spot is the decoder's more often than a galaxy's. Where the projection makes
    up for a ring by a nucleus, one more than some e^2 times the Sersic is a spike that pixels of the grid cannot hold:
    the light beside it was negative.
    """
    limit = _DARKEST_AT[:, None]
    bright = f / (1 + (f.clamp(min=0) / _BRIGHTEST) ** 4) ** 0.25
    return torch.where(f < 0, limit * torch.tanh(f / limit), bright)


def _without_pit(f: Tensor, sersic_n: Tensor) -> Tensor:
    """Maps whose mean profile hardly falls towards the centre on the rows of `_INNER`: in samples by 1 % at most.

    A core that is flatter than the Sersic is told by f < 0 there, which leaves the Sersic's cusp alone: a bright point
    in a dark ring. The mean is that of f: light's own is that of knots, and filled to it a core is a disc with an edge.
    """
    inner, outer = f.split([len(_INNER), len(_R) - len(_INNER)], 1)
    blunt = sersic_surface_brightness(sersic_n[:, None], without_cusp(_INNER))
    light = sersic_surface_brightness(sersic_n[:, None], _INNER) + blunt * torch.expm1(inner.mean(2))
    filled = light.flip(1).cummax(1).values.flip(1) - light
    return torch.cat([torch.log(torch.exp(inner) + (filled / blunt)[:, :, None]), outer], 1)


def _fading(f: Tensor) -> Tensor:
    """Maps that fade from `_FADES` on, more slowly than the decoder lets them end: no edge shows in a galaxy's wings.

    Galaxies that end stay dark outside: where the mean over phi is negative f fades so slowly that no ring of the
    Sersic's light comes back.
    """
    left = 0.5 + 0.5 * torch.cos(torch.pi * ((_R - _FADES) / (_END - _FADES)).clamp(0, 1))
    ring = f.mean(2)
    outside = _R > _OUTSKIRTS
    last = int((~outside).sum()) - 1
    held = ring[:, last : last + 1] * ((_END - _R) / (_END - _R[last])).clamp(min=0)
    faded = torch.where((ring < 0) & ~outside, ring, ring * left)
    kept = torch.where(outside, torch.minimum(faded, held), faded)
    return left[:, None] * (f - ring[:, :, None]) + kept[:, :, None]


def strength_of(reference: Tensor) -> Tensor:
    """Root mean square of maps (B, ROWS, COLUMNS) about their mean, where an exponential disc has its light; (B,).

    Of the map at the wavelength that stands for all bands, whatever the Sersic index in one: a galaxy is as strong in
    every band.
    """
    weight = (_DISC / (_DISC.sum() * reference.shape[2]))[:, None]
    middle = (reference * weight).sum((1, 2), keepdim=True)
    return ((reference - middle).square() * weight).sum((1, 2)).sqrt()


def gain_at(table: Tensor, sersic_n: Tensor, strength: Tensor) -> Tensor:
    """The gain of samples (B,), of their Sersic indices and strengths.

    A row (n, g, b) of the table says that a sample of strength A is drawn g (A / 0.35)^(b - 1) times as strong as
    decoded, at most twice and at least half of g. Between the rows g and b are interpolated, logarithms in n and g;
    beyond them they are constant.
    """
    at, gain, power = (column.double().numpy() for column in (table[:, 0].log(), table[:, 1].log(), table[:, 2]))
    n = np.log(sersic_n.double().numpy())
    typical, steepness = np.interp(n, at, gain), np.interp(n, at, power)
    relative = np.log(np.maximum(strength.double().numpy(), 1e-6) / _TYPICAL)
    stretch = np.clip((steepness - 1) * relative, -np.log(_STRONGER), np.log(_STRONGER))
    return torch.from_numpy(np.exp(typical + stretch)).to(sersic_n)
