"""Simulated structure: spiral arms, bars, rings, clumps and dust drawn from published statistics, as maps f.

A few hundred real galaxies do not show a network what an arm is. These maps do, without light profiles of their own:
what a Sersic fit would absorb (flux, centre, size, n, q, beta) is projected out, weighted by light.

The numbers and their sources stand in `skyloom.generators.cvae.simulate_parameters`; docs/structure.md compares what is
asked with what is measured on the maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from skyloom.generators.cvae.frame import R0
from skyloom.generators.cvae.projection import without_sersic
from skyloom.generators.cvae.simulate_colour import REFERENCE, contrast, dust_curve
from skyloom.generators.cvae.simulate_fields import RADII, random_field, uniform
from skyloom.generators.cvae.simulate_inclined import edge_on_stars, screen
from skyloom.generators.cvae.simulate_parameters import Parameters, draw_parameters
from skyloom.generators.cvae.simulate_parts import (
    arms,
    bar,
    clumps,
    companion,
    flocculence,
    lopsidedness,
    profile,
    ring,
    tail,
)
from skyloom.physics.sersic import sersic_surface_brightness

__all__ = ["Components", "build_components", "random_wavelengths", "shade", "simulate_structure"]


@dataclass(frozen=True)
class Components:
    """The parts of B galaxies, each of shape (B, ROWS, COLUMNS); the first four are light against the Sersic's.

    Parameters
    ----------
    old, young, bar, other : Tensor
        Arms and rings of old stars; arms, armlets and clumps of young ones; the bar; tails and companions.
    smooth : Tensor
        Logarithm of what all wavelengths share: lopsidedness, breaks of the profile, bulges.
    depth : Tensor
        Optical depth of dust at 0.55 micron.
    blueness : Tensor
        How fast light falls with the logarithm of the wavelength, against the galaxy's mean: patches of other age or
        hidden stars, which nothing above says.
    """

    old: Tensor
    young: Tensor
    bar: Tensor
    other: Tensor
    smooth: Tensor
    depth: Tensor
    blueness: Tensor

    def rows(self, index: Tensor) -> Components:
        """The parts of some galaxies, or of one several times."""
        return Components(**{entry.name: getattr(self, entry.name)[index] for entry in fields(self)})


@torch.no_grad()
def simulate_structure(
    sersic_n: Tensor, q: Tensor, redshift: Tensor | None = None, wavelengths: Tensor | None = None
) -> Tensor:
    """Draw maps of structure.

    Parameters
    ----------
    sersic_n, q : Tensor, shape (B,)
        Discs (n below about 2.5) carry arms and bars, spheroids little but lopsidedness, shells and twists; discs seen
        edge on bulges and lanes of dust.
    redshift : Tensor, shape (B,), optional
        With it, discs become clumpier and less regular, bars and arms rarer. NaN or None where unknown.
    wavelengths : Tensor, shape (B, K), optional
        Rest frame, micron. One wavelength a galaxy between 0.3 and 1.5, drawn at random, if None.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS), or (B, K, ROWS, COLUMNS) with `wavelengths`
        The log residual f; a galaxy's K maps show the same parts, coloured. Random numbers are torch's global ones.
    """
    components = build_components(draw_parameters(sersic_n, q, redshift))
    if wavelengths is None:
        return without_sersic(shade(components, random_wavelengths(len(q))), sersic_n)
    bands = wavelengths.shape[1]
    index = torch.arange(len(q)).repeat_interleave(bands)
    f = without_sersic(shade(components.rows(index), wavelengths.flatten()), sersic_n[index])
    return f.view(len(q), bands, *f.shape[1:])


def build_components(p: Parameters) -> Components:
    """The parts of galaxies of these parameters; what the parameters leave open is drawn."""
    b = len(p.q)
    turn = uniform(b, -math.pi, math.pi)
    disc, face_on, irregular = p.disc[:, None, None], p.face_on[:, None, None], p.irregular[:, None, None]
    light = sersic_surface_brightness(p.sersic_n[:, None, None], RADII) * RADII * (RADII + R0)
    light = light / light.sum((1, 2), keepdim=True)

    def filled(part: Tensor, share: Tensor) -> Tensor:
        """Scaled to hold a share of the light of disc and part, and of contrast not beyond 8."""
        mean = (part.mean(2, keepdim=True) * light).sum((1, 2), keepdim=True).clamp(min=1e-4)
        scale = share[:, None, None] / mean
        return part * torch.minimum(scale, 8 / part.amax((1, 2), keepdim=True).clamp(min=1e-6))

    total = (p.arm_share + p.bar_share + p.clump_share).clamp(max=0.75)
    arm_light, bar_light, clump_light = (s / (1 - total) for s in (p.arm_share, p.bar_share, p.clump_share))
    old, young, arm_dust = arms(p, turn)
    shape, beside = bar(p, turn)
    fresh = 0.25 + 0.5 * torch.rand(b)  # of the arms' light at the reference wavelength
    rings = uniform(b, 0.3, 1.3) * ring(p, turn) * (p.ringed * p.face_on)[:, None, None]
    knots = filled(clumps(p, old), clump_light)
    armlets = uniform(b, 0.15, 0.8) * flocculence(p) * (p.flocculent * p.face_on)[:, None, None]
    blobs, patches, ages, twist = _fields(p)
    chaos = torch.exp(uniform(b, 0.6, 1.3) * blobs) - 0.4
    chaos = chaos.clamp(min=0) * irregular * torch.sigmoid((2.3 - RADII) / 0.3)
    merging = (torch.rand(b) < 0.06 + 0.02 * p.redshift.clamp(max=3)).float()[:, None, None]
    in_plane = uniform(b, 0.0, 0.35) * torch.exp(0.7 * patches) + uniform(b, 0.0, 0.6) * arm_dust * (
        torch.rand(b, 1, 1) < 0.6
    )
    return Components(
        old=filled(old, arm_light * (1 - fresh) * p.face_on) + 0.6 * rings,
        young=filled(young, arm_light * fresh * p.face_on) + 0.4 * rings + knots + armlets + 0.5 * chaos,
        bar=filled(shape, bar_light * p.face_on),
        other=tail(p) * p.tidal[:, None, None] + companion(p) * merging + 0.4 * chaos,
        smooth=lopsidedness(p)
        + profile(p)
        - uniform(b, 0.1, 0.5) * beside * (p.barred * p.face_on)[:, None, None]
        + edge_on_stars(p) * (1 - face_on)
        + 0.035 * twist * (1 - disc),
        depth=screen(p) + in_plane * disc * face_on,
        blueness=uniform(b, 0.1, 0.38) * (0.1 + 0.9 * disc) * ages.clamp(-2, 2),
    )


def _fields(p: Parameters) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random fields: blobs of irregulars, patches of dust, of age, and a spheroid's twisted and boxy isophotes."""
    b = len(p.q)
    spread = torch.tensor([2.0, 3.0, 2.5, 0.0])[:, None] * torch.rand(4, b)
    orders = torch.tensor([1.5, 2.0, 1.5, 2.5])[:, None] + spread
    waves = torch.tensor([2.0, 3.0, 2.0, 3.0])[:, None] + 0.8 * spread
    shear = torch.stack([torch.zeros(b), 2.0 * p.sense, 2.5 * torch.rand(b) * p.sense, torch.zeros(b)])
    blobs, patches, ages, twist = random_field(orders.flatten(), waves.flatten(), shear.flatten()).chunk(4)
    return blobs, patches, ages, twist


def random_wavelengths(count: int) -> Tensor:
    """Rest wavelengths between 0.3 and 1.5 micron, evenly in the logarithm, for where none is known."""
    return 0.3 * torch.exp(math.log(5.0) * torch.rand(count))


def shade(components: Components, wavelength: Tensor) -> Tensor:
    """Log ratio of a galaxy to its Sersic at one wavelength each, before the projection.

    Parameters
    ----------
    components : Components
        Of B galaxies.
    wavelength : Tensor, shape (B,)
        Rest frame, micron.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
    """
    x = wavelength[:, None, None]
    light = (
        contrast(x, -0.1) * components.old
        + contrast(x, -0.9) * components.young
        + contrast(x, 0.25) * components.bar
        + components.other
    )
    colour = components.blueness * torch.log(x.clamp(0.12, 5.0) / REFERENCE)
    return torch.log1p(light) + components.smooth - dust_curve(x) * components.depth - colour
