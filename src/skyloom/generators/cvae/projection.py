"""Structure without what a Sersic fit would absorb."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skyloom.generators.cvae.frame import R0, R_MAX, node_radii, outer_edge, without_cusp
from skyloom.generators.cvae.simulate_fields import PHI
from skyloom.physics.sersic import sersic_b, sersic_surface_brightness

__all__ = ["faintness_taper", "fit_weight", "sersic_derivatives", "sky_weight", "unabsorbed", "without_sersic"]

_STEPS = 3
_R = node_radii()
_AREA = _R * (_R + R0) * (_R < 0.8 * R_MAX)  # of a node, up to a constant; none near the map's edge
_SKY = 0.05  # surface brightness, of flux 1 and half-light radius 1, as below
_BRIGHT = 0.05  # surface brightness above which a share of the light is the error of a bright galaxy's fit
_FAINT = 0.002  # surface brightness, of flux 1 and half-light radius 1, below which structure fades
_ANGULAR = torch.cat(
    [torch.ones_like(PHI).expand(3, -1), *(part(m * PHI) for m in (2, 1) for part in (torch.cos, torch.sin))]
)
"""How the seven derivatives change with phi, shape (7, COLUMNS): flux, index, size, shape (2), centre (2)."""
_OF_A_BAND = slice(0, 3)
"""Of the derivatives, those by what each band of a galaxy has for itself."""


def sersic_derivatives(sersic_n: Tensor) -> Tensor:
    """Derivatives of ln S by flux, index, size, shape (2) and centre (2), on the nodes.

    Returns
    -------
    Tensor, shape (B, 7, ROWS, COLUMNS)
        Each of root mean square 1, those by the centre softened at the cusp.
    """
    return _radial(sersic_n)[..., None] * _ANGULAR[:, None]


def _radial(sersic_n: Tensor) -> Tensor:
    """The derivatives' radial parts, shape (B, 7, ROWS)."""
    n, r = sersic_n[:, None], _R

    def ln_s(index: Tensor) -> Tensor:
        return torch.log(sersic_surface_brightness(index, r + 1e-3) + 1e-12)

    size = sersic_b(n) / n * r ** (1 / n)  # -d ln S / d ln r, up to a constant
    slope = size / (r + 0.15)
    radial = torch.stack([torch.ones_like(size), ln_s(n * 1.02) - ln_s(n), size, size, size, slope, slope], 1)
    square = radial.square().mean(2) * _ANGULAR.square().mean(1)
    return radial / (square.sqrt() + 1e-6)[..., None]


def fit_weight(sersic_n: Tensor) -> Tensor:
    """Weight of the rows in a fit to the image of a bright galaxy: S'^2 / (S'^2 + s^2) times a node's area.

    S' is the Sersic without its cusp, as a PSF blurs it. A fit allows for a share of the light itself, 3 % here
    (`skyloom.cutouts.fit_start.MODEL_FLOOR`), so that where the light outshines the noise thirtyfold all of it counts
    alike. s is where that ends, in half-light units, for the galaxies that structure was learned from
    (docs/structure.md).

    Parameters
    ----------
    sersic_n : Tensor, shape (B,)

    Returns
    -------
    Tensor, shape (B, ROWS)
    """
    light = _blunt(sersic_n)
    return light**2 / (light**2 + _BRIGHT**2) * _AREA


def sky_weight(sersic_n: Tensor) -> Tensor:
    """Weight of the rows in a fit to light on a bright sky: S'^2 / (S' + sky) times a node's area.

    The sky is about as bright as an exponential disc at its half-light radius. Takes and gives what `fit_weight` does.
    """
    light = _blunt(sersic_n)
    return light**2 / (light + _SKY) * _AREA


def _blunt(sersic_n: Tensor) -> Tensor:
    return sersic_surface_brightness(sersic_n[:, None], without_cusp(_R))


def faintness_taper(sersic_n: Tensor) -> Tensor:
    """1 in the galaxy, 0 where the Sersic is faint and near the map's edge; shape (B, ROWS).

    Out there f means nothing and would only cost a network capacity.
    """
    light = sersic_surface_brightness(sersic_n[:, None], _R)
    return light / (light + _FAINT) * outer_edge(_R)


def unabsorbed(
    f: Tensor,
    sersic_n: Tensor,
    shape_of: Tensor | None = None,
    weight: Callable[[Tensor], Tensor] = fit_weight,
) -> Tensor:
    """Project out of f what a fit of flux, size, index, axis ratio, angle and centre would take.

    The fit is to the light: a few Gauss-Newton steps towards parameters at which the derivatives of S are orthogonal
    to the residual S' (exp f - 1), S' the Sersic without its cusp. What is subtracted is tapered (`faintness_taper`).

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    sersic_n : Tensor, shape (B,)
    shape_of : Tensor, shape (B, ROWS, COLUMNS), optional
        The galaxy at the wavelength that stands for all its bands. Bands share axis ratio, angle and centre (but not
        flux, size and index): of these, what a fit to this map would take is subtracted.
    weight : callable
        Sersic indices (B,) to the fit's weights (B, ROWS).

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        Within +-3.
    """
    fit = _fit_of(sersic_n, weight)
    if shape_of is None:
        return (f - _absorbed(f, fit, slice(None))).clamp(-3, 3)
    shared = _absorbed(shape_of, fit, slice(None))
    f = f - (shared - shared.mean(2, keepdim=True))
    return (f - _absorbed(f, fit, _OF_A_BAND)).clamp(-3, 3)


def _fit_of(sersic_n: Tensor, weight: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The derivatives' radial parts, weighted as the fit sees f and tapered as they are subtracted; (B, 7, ROWS)."""
    blunt = _blunt(sersic_n) / sersic_surface_brightness(sersic_n[:, None], _R)
    radial = _radial(sersic_n)
    return radial * (weight(sersic_n) * blunt)[:, None], radial * faintness_taper(sersic_n)[:, None]


def _absorbed(f: Tensor, fit: tuple[Tensor, Tensor], which: slice) -> Tensor:
    """What a fit of some of the seven parameters takes, shape (B, ROWS, COLUMNS); `fit` of `_fit_of`."""
    weighted, tapered = (part[:, which] for part in fit)
    angular = _ANGULAR[which]
    products = weighted[:, :, None] * tapered[:, None]
    size = len(angular)
    pairs = (angular[:, None] * angular).flatten(0, 1).T
    small = 1e-5 * torch.eye(size)
    total = torch.zeros_like(f)
    for _ in range(_STEPS):
        growth = torch.exp(f - total)
        moments = (growth @ pairs).unflatten(2, (size, size)).permute(0, 2, 3, 1)
        normal = (products * moments).sum(3)
        normal = normal + small * normal.diagonal(dim1=1, dim2=2).abs().mean(1)[:, None, None]
        wanted = (weighted * ((growth - 1) @ angular.T).mT).sum(2)
        found = torch.linalg.solve(normal, wanted)
        total = total + ((tapered * found[:, :, None]).mT @ angular).clamp(-1.5, 1.5)
    return total


def without_sersic(f: Tensor, sersic_n: Tensor) -> Tensor:
    """Simulated structure without what a Sersic fit would take: `unabsorbed`, of f tapered as what is subtracted is.

    The fit is that of `sky_weight`.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    sersic_n : Tensor, shape (B,)

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        Within +-3.
    """
    tapered = 2.2 * torch.tanh(f / 2.2) * faintness_taper(sersic_n)[..., None]
    return unabsorbed(tapered, sersic_n, weight=sky_weight)
