"""The parts of a disc seen more or less face on: arms, bar, rings, flocculence, clumps, lopsidedness, tides.

Each part is light relative to the Sersic disc beneath it, shape (B, ROWS, COLUMNS), of any scale: `shares_of_light`
makes it hold the share of light that was drawn.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from skyloom.generators.cvae.frame import R0
from skyloom.generators.cvae.simulate_fields import PHI, RADII, random_field, uniform, wrapped
from skyloom.generators.cvae.simulate_parameters import MAX_ARMS, Parameters
from skyloom.physics.sersic import sersic_surface_brightness

__all__ = ["arms", "bar", "clumps", "companion", "flocculence", "lopsidedness", "profile", "ring", "tail"]

_FINEST = 0.11
"""Narrowest structure, in units of r + R0: below, the map's bicubic interpolation would ring."""
_X, _Y = (RADII * torch.cos(PHI)).flatten(), (RADII * torch.sin(PHI)).flatten()
_SQUARES = torch.stack([_X**2, _Y**2, _X, _Y, torch.ones_like(_X)])


def arms(p: Parameters, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithmic spirals, each with its own pitch, strength and length; in a barred disc from the bar's ends.

    Parameters
    ----------
    p : Parameters
    turn : Tensor, shape (B, 1, 1)
        Angle of the bar, or of the first arm's beginning.

    Returns
    -------
    old, young, dust : Tensor, shape (B, ROWS, COLUMNS)
        Smooth stars; young ones along the same ridges, narrower and broken; dust on the inner sides.
    """
    b = len(p.q)
    barred = p.barred[:, None, None]
    start = torch.where(barred > 0, p.bar_length[:, None, None], uniform(b, 0.3, 0.6))[:, None]
    spacing = 2 * math.pi / p.arm_count.clamp(min=1)
    base = turn[:, :, 0] + spacing[:, None] * torch.arange(MAX_ARMS) + 0.15 * torch.randn(b, MAX_ARMS)
    tangent = torch.tan(p.pitch)[:, :, None, None]
    reach = torch.log(RADII / start).clamp(min=-1.0)
    wobble = 0.3 * torch.cumsum(torch.randn(b, MAX_ARMS, 4), 2)  # the pitch changes along an arm
    wobble = F.interpolate(wobble, size=len(RADII), mode="linear", align_corners=True)[..., None]
    ridge = (
        base[:, :, None, None] + p.sense[:, None, None, None] * (reach / tangent) + 0.5 * wobble * torch.sigmoid(reach)
    )
    across = RADII * wrapped(PHI - ridge) * torch.sin(p.pitch)[:, :, None, None]  # perpendicular to the arm
    width = (uniform(b, 0.08, 0.17) * (0.35 + 0.65 * RADII))[:, None].clamp(min=0.0)
    width = torch.maximum(width, _FINEST * (RADII + R0))
    end = start + (0.7 + 2.0 * torch.rand(b, MAX_ARMS))[:, :, None, None]
    shown = torch.sigmoid((RADII - 0.95 * start) / 0.07) * torch.sigmoid((end - RADII) / 0.25)
    shown = shown * p.arm_strength[:, :, None, None]
    x2 = (across / width).square()
    outwards = torch.exp(uniform(b, 0.0, 0.5) * (RADII - 1).clamp(max=1.5))  # contrast often grows outwards
    uneven = random_field(torch.full((b,), 7.0), torch.full((b,), 7.0))
    old = (shown * torch.exp(-0.4 * x2)).sum(1) * outwards * torch.exp(0.35 * uneven)
    young = (shown * torch.exp(-0.7 * x2)).sum(1) * outwards * torch.exp(0.9 * uneven)
    inside = p.sense[:, None, None, None]
    dust = (shown * torch.exp(-0.9 * (across * inside / width - 1.4).square())).sum(1) * torch.sigmoid(
        (1.6 - RADII) / 0.2
    )
    return old, young, dust


def bar(p: Parameters, turn: Tensor) -> tuple[Tensor, Tensor]:
    """A boxy bar, flat against the falling disc, and the part of the disc beside it that bars empty.

    Returns
    -------
    bar, beside : Tensor, shape (B, ROWS, COLUMNS)
        The second between 0 and 1.
    """
    length, width = p.bar_length[:, None, None], p.bar_width[:, None, None]
    x, y = RADII * torch.cos(PHI - turn), RADII * torch.sin(PHI - turn)
    x, y = (x / length).abs(), (y / width).abs()
    rho = (x**3 + y**2.5) ** 0.36
    shape = torch.sigmoid((1 - rho) / 0.13)
    flat = torch.exp(uniform(len(p.q), 0.2, 1.3) * (x.clamp(max=1.2) - 0.6) * torch.exp(-0.3 * y))
    beside = torch.exp(-((RADII / (0.95 * length)) ** 4)) * (1 - shape)
    return shape * flat, beside


def ring(p: Parameters, turn: Tensor) -> Tensor:
    """Inner rings about the bar and elongated along it; outer ones at twice its length; rings of unbarred discs."""
    b = len(p.q)
    inner = p.bar_length[:, None, None] * torch.where(
        uniform(b, 0, 1) < 0.7, uniform(b, 1.0, 1.2), uniform(b, 1.9, 2.3)
    )
    radius = torch.where(p.barred[:, None, None] > 0, inner, uniform(b, 0.5, 1.8)).clamp(0.35, 2.4)
    stretched = RADII * (1 - uniform(b, 0.0, 0.12) * torch.cos(2 * (PHI - turn)))
    width = torch.maximum(uniform(b, 0.09, 0.2), _FINEST * (radius + R0))
    uneven = torch.exp(0.35 * random_field(torch.full((b,), 4.0), torch.full((b,), 3.0)))
    return torch.exp(-0.5 * ((stretched - radius) / width) ** 2) * uneven


def flocculence(p: Parameters) -> Tensor:
    """Short armlets of many orders, drawn out along spirals: a log-normal field of median 1."""
    b = len(p.q)
    pitch = torch.maximum(p.pitch[:, 0], torch.full((b,), 0.38)) * (1 + 0.25 * torch.rand(b))
    field = random_field(3.5 + 3 * torch.rand(b), 3.5 + 2 * torch.rand(b), p.sense / torch.tan(pitch), lowest=2.5)
    within = torch.sigmoid((RADII - uniform(b, 0.25, 0.6)) / 0.1) * torch.sigmoid((uniform(b, 1.6, 3.0) - RADII) / 0.3)
    return torch.exp((0.8 * field).clamp(-1.6, 1.9)) * within


def clumps(p: Parameters, along: Tensor, number: int = 10) -> Tensor:
    """Star-forming knots, on the arms where there are some; flattened as a disc seen edge on has them round."""
    b = len(p.q)
    some = torch.rand(b, number) < 0.2 + 0.8 * torch.rand(b, 1)
    some[:, 0] = True
    r = (0.35 + 0.75 * torch.randn(b, number).square() + 0.3 * torch.rand(b, number)).clamp(max=2.5)
    angle = 2 * math.pi * torch.rand(b, number)
    size = torch.maximum(torch.exp(0.35 * torch.randn(b, number) - 2.0), 0.7 * _FINEST * (r + R0))
    height = torch.exp(0.8 * torch.randn(b, number)) * some
    flat = (p.q / 0.4).clamp(0.3, 1.0).sqrt()[:, None]  # edge on, near the plane and less than perfectly flat
    x0, y0 = r * torch.cos(angle), r * torch.sin(angle) * flat
    steep = 0.5 / size.square()
    high = steep * flat**2
    terms = torch.stack(
        [-steep, -high, 2 * steep * x0, 2 * high * y0, -steep * x0**2 - high * y0**2 + height.clamp(min=1e-9).log()], 2
    )
    light = torch.exp(terms @ _SQUARES).sum(1).view(b, *along.shape[1:])  # of Gaussians, the squares multiplied out
    strongest = along.amax((1, 2), keepdim=True).clamp(min=1e-6)
    return light * torch.where(strongest > 1e-5, 0.25 + along / strongest, 1.0)


def lopsidedness(p: Parameters) -> Tensor:
    """Logarithm of an m = 1 asymmetry that grows outwards.

    Its median is .1, with more than .2 in a fifth to a third of discs (Rix & Zaritsky 1995, ApJ 447, 82); a choice:
    two and a half times as strong in irregulars, a third in spheroids.
    """
    b = len(p.q)
    amplitude = (0.1 * torch.exp(0.7 * torch.randn(b))).clamp(max=0.5)
    amplitude = amplitude * (0.33 + 0.67 * p.disc) * (1 + 1.5 * p.irregular)
    return amplitude[:, None, None] * (RADII / 1.5).clamp(max=1.6) * torch.cos(PHI - uniform(b, 0, 2 * math.pi))


def profile(p: Parameters) -> Tensor:
    """Logarithm of what a Sersic profile misses: bulges, lenses, breaks up and down (Pohlen & Trujillo 2006)."""
    b = len(p.q)
    u = torch.log1p(RADII / R0)
    bulge = uniform(b, -0.3, 1.2) * torch.exp(-((RADII / uniform(b, 0.2, 0.45)) ** 1.3))
    lens = uniform(b, -0.1, 0.5) * torch.sigmoid((uniform(b, 0.5, 1.4) - RADII) / 0.12)
    bend = uniform(b, -1.0, 0.3) * F.softplus((RADII - uniform(b, 1.3, 2.6)) / 0.25) * 0.25
    waves = sum(torch.randn(b, 1, 1) / k * torch.cos(k * 1.6 * u + uniform(b, 0, 6.3)) for k in (1, 2, 3))
    disc = p.disc[:, None, None]
    return (bulge + lens + bend) * (0.2 + 0.8 * disc) + 0.2 * (0.3 + 0.7 * disc) * waves


def tail(p: Parameters) -> Tensor:
    """One or two open, broad tidal arms in the outskirts of a disc; shells with a sharp edge in a spheroid's."""
    b = len(p.q)
    start, where = uniform(b, 1.1, 1.8), uniform(b, -math.pi, math.pi)
    pitch = torch.deg2rad(uniform(b, 28, 55))
    ridge = where + p.sense[:, None, None] * torch.log(RADII / start) / torch.tan(pitch)
    width = uniform(b, 0.16, 0.3) * (0.5 + 0.5 * RADII)
    first = torch.exp(-0.5 * (RADII * wrapped(PHI - ridge) * torch.sin(pitch) / width).square())
    second = torch.exp(-0.5 * (RADII * wrapped(PHI - ridge - math.pi) * torch.sin(pitch) / width).square())
    reach = torch.sigmoid((RADII - start) / 0.15) * torch.sigmoid((uniform(b, 2.6, 3.6) - RADII) / 0.25)
    tails = (first + second * (torch.rand(b, 1, 1) < 0.4)) * reach * torch.exp(0.9 * (RADII - start).clamp(0, 2))
    edge = uniform(b, 1.2, 2.8)
    shells = torch.sigmoid((edge - RADII) / 0.1) * torch.exp(-(edge - RADII).clamp(min=0) / 0.35)
    shells = shells * torch.exp(2.0 * (torch.cos(PHI - where) - 1))
    return uniform(b, 0.4, 1.5) * torch.where(p.disc[:, None, None] > 0, tails, 0.5 * shells)


def companion(p: Parameters) -> Tensor:
    """A small neighbour merging, relative to the light beneath."""
    b = len(p.q)
    where, far = uniform(b, -math.pi, math.pi), uniform(b, 0.9, 2.9)
    dx = RADII * torch.cos(PHI) - far * torch.cos(where)
    dy = RADII * torch.sin(PHI) - far * torch.sin(where)
    size = torch.maximum(uniform(b, 0.12, 0.35), 1.2 * _FINEST * (far + R0))
    n = p.sersic_n[:, None, None]
    own, there = sersic_surface_brightness(n, RADII), sersic_surface_brightness(n, far)
    shape = torch.exp(-1.3 * torch.sqrt((dx**2 + dy**2) / size**2 + 0.1))
    return uniform(b, 0.5, 3.5) * shape * (there / own.clamp(min=1e-6)).clamp(max=8)
