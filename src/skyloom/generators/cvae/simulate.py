"""Simulated structure: spiral arms, bars, rings, clumps and dust drawn from published statistics, as maps f.

A few hundred real galaxies do not show a network what an arm is. These maps do, without light profiles of their own:
what a Sersic fit would absorb (flux, centre, size, n, q, beta) is projected out, weighted by light.

Sources of the numbers: pitch angles 12, 18 and 26 degrees at the 16th, 50th and 84th percentile (Hart et al. 2017,
MNRAS 472, 2263); shares of light in arms and bars .03/.12/.26 and .025/.07/.13 (Lingard et al. 2020, ApJ 900, 178);
bars in about a third of discs (Geron et al. 2025) of half-lengths 0.3 to 0.9 half-light radii (Hoyle et al. 2011,
MNRAS 415, 3627).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from skyloom.generators.cvae.frame import COLUMNS, R_MAX, ROWS, map_coordinates, nodes, sample_map
from skyloom.physics.sersic import sersic_b, sersic_surface_brightness

__all__ = ["simulate_structure"]


def simulate_structure(sersic_n: Tensor, q: Tensor) -> Tensor:
    """Draw maps of structure.

    Parameters
    ----------
    sersic_n, q : Tensor, shape (B,)
        Discs (n below about 2.3) carry arms and bars, spheroids little but lopsidedness; discs seen edge on a lane of
        dust.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
        The log residual f. Random numbers are torch's global ones.
    """
    b = len(q)
    disc = torch.rand(b) < 0.1 + 0.85 * torch.sigmoid((2.4 - sersic_n) / 0.4)
    face_on = torch.sigmoid((q - 0.3) / 0.05)[:, None, None]
    points = nodes().expand(b, -1, -1, -1)
    turned = _turn(points, 2 * math.pi * torch.rand(b))
    flag = disc.float()[:, None, None] * face_on
    barred = flag * _maybe(b, 0.4)
    length = _between(b, 0.35, 0.9)
    arms, ridge = _arms(turned, barred, length)
    arms, ridge = arms * flag, ridge * flag
    f = arms + _bar(turned, length) * barred + _ring(turned, barred, length) * flag * _maybe(b, 0.3)
    f = f + _flocculence(turned) * flag * _between(b, 0.0, 0.35)
    f = f + _dust_lane(points, q) * disc.float()[:, None, None] * (1 - face_on) * _maybe(b, 0.6)
    f = f + _lopsided(turned) + _profile(points)
    added = _clumps(turned, ridge) * (0.15 + 0.85 * disc.float())[:, None, None]
    f = torch.log(torch.exp(f.clamp(-3, 3)) * (1 + added) + _companion(turned, sersic_n))
    return _without_sersic(_strength(b) * f.clamp(-2.6, 2.6), sersic_n)


def _between(b: int, low: float, high: float) -> Tensor:
    return (low + (high - low) * torch.rand(b))[:, None, None]


def _maybe(b: int, probability: float) -> Tensor:
    return (torch.rand(b) < probability).float()[:, None, None]


def _strength(b: int) -> Tensor:
    return _between(b, 0.35, 1.0)


def _turn(points: Tensor, angle: Tensor) -> Tensor:
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    sense = torch.where(torch.rand(len(angle)) < 0.5, -1.0, 1.0)[:, None, None]
    x, y = points[..., 0], points[..., 1]
    return torch.stack([c * x + s * y, (c * y - s * x) * sense], -1)


def _polar(points: Tensor) -> tuple[Tensor, Tensor]:
    return points.norm(dim=-1) + 1e-3, torch.atan2(points[..., 1], points[..., 0])


def _noise(b: int, rows: int, columns: int, points: Tensor) -> Tensor:
    """Smooth random field on the disc, `columns` cells around and `rows` out, unit variance."""
    coarse = torch.randn(b, 1, rows, columns)
    coarse = torch.cat([coarse[..., -2:], coarse, coarse[..., :2]], 3)
    factor = COLUMNS // columns
    fine = F.interpolate(coarse, size=(ROWS, COLUMNS + 4 * factor), mode="bicubic", align_corners=False)
    return sample_map(fine[:, 0, :, 2 * factor : -2 * factor], map_coordinates(points))


def _arms(points: Tensor, barred: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithmic spirals with wobbling, broken arms; and the ridge line's profile for clumps to follow."""
    b = len(points)
    r, phi = _polar(points)
    m = torch.tensor([1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0])[torch.randint(8, (b,))][:, None, None]
    pitch = torch.deg2rad((18.5 + 7.0 * torch.randn(b)).clamp(7, 42))[:, None, None]
    start = torch.where(barred > 0, length, _between(b, 0.15, 0.5))
    wobble = 0.45 * _between(b, 0, 1) * _noise(b, 4, 8, points)
    phase = phi - torch.log(r / start) / torch.tan(pitch) * torch.where(r > start, 1.0, 0.3) + wobble
    sharp = _between(b, 0.8, 4.0)
    ridge = torch.exp(sharp * (torch.cos(m * phase) - 1))
    ridge = ridge - ridge.mean(2, keepdim=True)
    envelope = torch.sigmoid((r - 0.8 * start) / 0.12) * torch.sigmoid((_between(b, 1.5, 3.2) - r) / 0.3)
    uneven = torch.exp(0.5 * _between(b, 0, 1) * _noise(b, 8, 8, points))
    one_sided = 1 + 0.5 * _between(b, 0, 1) * torch.cos(phase - _between(b, 0, 6.3))
    amplitude = torch.exp(0.35 * torch.randn(b))[:, None, None] * 1.1
    dust = -_maybe(b, 0.4) * _between(b, 0.1, 0.5) * torch.exp(6 * (torch.cos(m * (phase + 0.35)) - 1))
    present = _maybe(b, 0.8)
    return present * envelope * (amplitude * ridge * uneven * one_sided + dust), present * envelope * ridge


def _bar(points: Tensor, length: Tensor) -> Tensor:
    """A boxy bar, and the emptied disc beside it."""
    b = len(points)
    x, y = points[..., 0].abs() / length, points[..., 1].abs() / (length * _between(b, 0.18, 0.38))
    shape = torch.exp(-((x**2.6 + y**2) ** 1.2))
    beside = torch.exp(-((points.norm(dim=-1) / length) ** 4)) * (1 - shape)
    return _between(b, 0.4, 1.1) * shape - 0.3 * beside


def _ring(points: Tensor, barred: Tensor, length: Tensor) -> Tensor:
    b = len(points)
    r, phi = _polar(points)
    radius = torch.where(barred > 0, length * _between(b, 1.05, 1.3), _between(b, 0.5, 1.8))
    uneven = 1 + 0.4 * torch.cos(phi - _between(b, 0, 6.3)) + 0.2 * _noise(b, 4, 16, points)
    return _between(b, 0.25, 0.9) * torch.exp(-0.5 * ((r - radius) / _between(b, 0.1, 0.28)) ** 2) * uneven


def _flocculence(points: Tensor) -> Tensor:
    """Noise sheared by differential rotation: short armlets."""
    b = len(points)
    r, phi = _polar(points)
    pitch = torch.deg2rad(_between(b, 12, 30))
    angle = phi - 0.8 * torch.log(r + 0.15) / torch.tan(pitch)
    sheared = torch.stack([r * torch.cos(angle), r * torch.sin(angle)], -1)
    return _noise(b, 8, 16, sheared) * torch.tanh(r / 0.35)


def _dust_lane(points: Tensor, q: Tensor) -> Tensor:
    """A dark lane near the plane of an inclined disc, in sky coordinates."""
    b = len(q)
    root = q.sqrt()[:, None, None]
    x, y = points[..., 0] / root, points[..., 1] * root
    lane = torch.exp(-0.5 * ((y - _between(b, -0.12, 0.12)) / _between(b, 0.05, 0.13)) ** 2)
    return -_between(b, 0.3, 1.1) * lane * torch.sigmoid((_between(b, 0.7, 2.2) - x.abs()) / 0.25)


def _lopsided(points: Tensor) -> Tensor:
    b = len(points)
    r, phi = _polar(points)
    return _maybe(b, 0.4) * _between(b, 0, 0.45) * torch.tanh(r / 1.2) * torch.cos(phi - _between(b, 0, 6.3))


def _profile(points: Tensor) -> Tensor:
    """Bulges, truncated and extended discs."""
    b = len(points)
    r = points.norm(dim=-1)
    bulge = _maybe(b, 0.5) * _between(b, 0.0, 0.9) * torch.exp(-((r / _between(b, 0.18, 0.4)) ** 1.2))
    outer = _maybe(b, 0.5) * _between(b, -0.5, 0.25) * F.softplus((r - _between(b, 1.2, 2.6)) / 0.3) * 0.3
    return bulge + outer


def _clumps(points: Tensor, ridge: Tensor, number: int = 10) -> Tensor:
    """Star-forming knots, relative to the light beneath, brighter along arms and outwards."""
    b = len(points)
    shown = torch.rand(b, number) < _between(b, 0, 0.8)[:, :, 0] * (torch.rand(b, 1) < 0.7)
    centre = 0.85 * torch.randn(b, number, 2)
    size = torch.exp(0.35 * torch.randn(b, number) - 1.75)
    height = torch.exp(0.8 * torch.randn(b, number) - 0.9) * shown
    height = height * torch.exp(0.35 * (centre.norm(dim=-1) - 0.5).clamp(max=2))
    distance = (points[:, None] - centre[:, :, None, None]).square().sum(-1)
    light = height[..., None, None] * torch.exp(-0.5 * distance / size[..., None, None] ** 2)
    return light.sum(1) * torch.exp(0.8 * (2 * ridge).clamp(-1, 1))


def _companion(points: Tensor, sersic_n: Tensor) -> Tensor:
    """A small neighbour merging in one galaxy of ten, in units of the light beneath."""
    b = len(points)
    where = 6.3 * torch.rand(b)
    far = 0.8 + 2.0 * torch.rand(b)
    centre = torch.stack([far * torch.cos(where), far * torch.sin(where)], -1)[:, None, None]
    size = _between(b, 0.12, 0.4)
    shape = torch.exp(-1.68 * ((points - centre).norm(dim=-1) / size))
    own = sersic_surface_brightness(sersic_n[:, None, None], points.norm(dim=-1))
    at_centre = sersic_surface_brightness(sersic_n, far)[:, None, None]
    return (_maybe(b, 0.1) * _between(b, 0.4, 3.0) * shape * at_centre / own.clamp(min=1e-6)).clamp(max=12)


def _without_sersic(f: Tensor, sersic_n: Tensor) -> Tensor:
    """Project out the derivatives of the Sersic's logarithm, light-weighted."""
    r, phi = _polar(nodes().expand(len(f), -1, -1, -1))
    n = sersic_n[:, None, None]

    def ln_s(index: Tensor) -> Tensor:
        return torch.log(sersic_surface_brightness(index, r) + 1e-12)

    size = sersic_b(n) / n * r ** (1 / n)  # -d ln S / d ln r, up to a constant
    slope = size / (r + 0.15)  # along a shift of the centre, softened at the cusp
    basis = torch.stack(
        [
            torch.ones_like(r),
            ln_s(n * 1.02) - ln_s(n),
            size,
            size * torch.cos(2 * phi),
            size * torch.sin(2 * phi),
            slope * torch.cos(phi),
            slope * torch.sin(phi),
        ],
        1,
    ).flatten(2)
    light = sersic_surface_brightness(n, r)
    area = r * (r + 0.3) * (r < 0.8 * R_MAX)
    weight = (light**2 / (light + 0.02) * area).flatten(1)[:, None]
    basis = basis / (basis.square().mean(2, keepdim=True).sqrt() + 1e-6)
    weighted = basis * weight
    normal = weighted @ basis.mT
    normal = normal + 1e-3 * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(7)
    coefficients = torch.linalg.solve(normal, weighted @ f.flatten(1)[..., None])
    rest = f - (coefficients * basis).sum(1).view_as(f).clamp(-1.5, 1.5)
    shown = light / (light + 0.002)  # where the Sersic is faint, f means nothing and would only cost capacity
    return 3 * torch.tanh(rest / 3) * shown * torch.sigmoid((3.95 - r) / 0.25)
