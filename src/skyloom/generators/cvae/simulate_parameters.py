"""What each simulated galaxy is made of, drawn from published tables.

| what | numbers (16th, 50th, 84th percentile) | source |
|---|---|---|
| pitch angle | 12, 18, 26 degrees | Hart et al. 2017, MNRAS 472, 2263 (SpArcFiRe) |
| scatter of pitch within a galaxy | 4 degrees | Lingard et al. 2020, ApJ 900, 178 (Galaxy Builder) |
| arms traced in a spiral | 1, 2, 3, 4 in .38, .50, .10, .02 | Lingard et al. 2020 |
| share of the light in arms, spirals | .03, .12, .26 | Lingard et al. 2020 |
| share of the light in the bar, barred | .025, .07, .13 | Lingard et al. 2020 |
| half-length of bars, half-light radii | .30, .52, .84 | S4G: Herrera-Endoqui et al. 2015, A&A 582, A86 |
| width over length of bars | .18, .24, .31 | Hoyle et al. 2011, MNRAS 415, 3627 |
| barred share of discs | .56 at z = 0 | S4G, strong and weak bars |
| the same at z > 0.5 | `BARRED_SHARE`, .42 at z = 0.8 to .11 at 3.4 | Geron et al. 2025, corrected |

The shares of light are of the r band, 0.6 micron. What no table gave is a choice, and says so beside its number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "ARM_COUNT_SHARES",
    "BARRED_SHARE",
    "MAX_ARMS",
    "Parameters",
    "barred_share",
    "draw_parameters",
    "drawn_redshifts",
]

MAX_ARMS = 4
ARM_COUNT_SHARES = (0.38, 0.50, 0.10, 0.02)
"""Of spirals in which volunteers traced 1, 2, 3 and 4 arms. A galaxy with one traced arm gets a second, fainter one."""
BARRED_SHARE = ((0.0, 0.77, 1.23, 1.78, 2.23, 2.74, 3.4), (0.56, 0.42, 0.35, 0.29, 0.30, 0.16, 0.11))
"""Redshifts, and the share of discs with a bar there."""
_SPIRAL_SHARE = ((0.0, 0.5, 1.0, 2.0, 3.0, 4.0), (0.75, 0.75, 0.65, 0.45, 0.30, 0.25))
"""Of discs, a choice between the local two thirds and the fall Kuhn et al. 2024 (ApJL 968, L15) see to z = 3."""
_IRREGULAR_SHARE = ((0.0, 0.5, 1.0, 2.0, 4.0), (0.06, 0.10, 0.16, 0.30, 0.40))
"""Of discs; a choice after Ferreira et al. 2023 (ApJ 955, 94)."""
_CLUMPY_SHARE = ((0.0, 0.5, 1.0, 2.0, 4.0), (0.35, 0.40, 0.55, 0.65, 0.65))
"""Of discs; about 0.6 of star-forming discs at z > 0.5 (Guo et al. 2015, ApJ 800, 39), a choice below."""
_CLUMP_LIGHT = ((0.0, 1.0, 2.0, 4.0), (0.02, 0.05, 0.09, 0.10))
"""Median share of the light in clumps where there are some; a choice after Guo et al. 2015."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of B galaxies; every tensor but those with another shape named has shape (B,).

    Parameters
    ----------
    sersic_n, q, redshift : Tensor
        Redshift is drawn where it was unknown.
    disc, spiral, barred, irregular, ringed, clumpy, flocculent, tidal : Tensor of 0 and 1
    face_on : Tensor
        From 0 (edge on) to 1.
    sense : Tensor
        Of winding, -1 or 1.
    pitch : Tensor, shape (B, MAX_ARMS)
        Radians.
    arm_strength : Tensor, shape (B, MAX_ARMS)
        Of each arm against the strongest; 0 where there is none.
    arm_count : Tensor
    arm_share, bar_share, clump_share : Tensor
        Of the light at 0.6 micron, 0 where there are none.
    bar_length, bar_width : Tensor
        Half-length and half-width in half-light radii.
    """

    sersic_n: Tensor
    q: Tensor
    redshift: Tensor
    disc: Tensor
    spiral: Tensor
    barred: Tensor
    irregular: Tensor
    ringed: Tensor
    clumpy: Tensor
    flocculent: Tensor
    tidal: Tensor
    face_on: Tensor
    sense: Tensor
    pitch: Tensor
    arm_strength: Tensor
    arm_count: Tensor
    arm_share: Tensor
    bar_share: Tensor
    clump_share: Tensor
    bar_length: Tensor
    bar_width: Tensor


def barred_share(redshift: Tensor) -> Tensor:
    """Share of discs that have a bar (`BARRED_SHARE`, linear between its redshifts)."""
    return _interpolate(redshift, BARRED_SHARE)


def drawn_redshifts(redshift: Tensor) -> Tensor:
    """Redshifts (B,) with what is unknown, NaN, drawn from a log-normal of median 0.9 and width 0.7.

    That is about what deep fields hold. Random numbers are torch's global ones.
    """
    anywhere = torch.exp(0.7 * torch.randn(len(redshift)) - 0.1).clamp(0.02, 5.0)
    return torch.where(torch.isfinite(redshift), redshift.clamp(0.0, 8.0), anywhere)


def draw_parameters(sersic_n: Tensor, q: Tensor, redshift: Tensor | None = None) -> Parameters:
    """Draw what galaxies are made of.

    Parameters
    ----------
    sersic_n, q : Tensor, shape (B,)
    redshift : Tensor, shape (B,), optional
        NaN, or None for all, where unknown: `drawn_redshifts`.

    Returns
    -------
    `Parameters`
        Random numbers are torch's global ones.
    """
    b = len(q)
    z = drawn_redshifts(torch.full((b,), torch.nan) if redshift is None else redshift)
    disc = _happens(0.04 + 0.93 * torch.sigmoid((2.5 - sersic_n) / 0.35))
    irregular = disc * _happens(_interpolate(z, _IRREGULAR_SHARE))
    spiral = disc * (1 - irregular) * _happens(_interpolate(z, _SPIRAL_SHARE))
    barred = disc * (1 - irregular) * _happens((barred_share(z) / (1 - _interpolate(z, _IRREGULAR_SHARE))).clamp(max=1))
    flocculent = disc * (1 - irregular) * _happens(torch.where(spiral > 0, 0.45, 0.3) * (1 - 0.2 * z.clamp(max=3)))
    clumpy = disc * _happens(torch.maximum(_interpolate(z, _CLUMPY_SHARE), 0.8 * irregular))
    traced = torch.multinomial(torch.tensor(ARM_COUNT_SHARES), b, replacement=True) + 1
    count = traced.clamp(min=2)
    strength = torch.exp(-0.3 * torch.randn(b, MAX_ARMS).abs())
    strength[:, 1] *= torch.where(traced == 1, _between(b, 0.2, 0.7), torch.ones(b))
    strength = strength * (torch.arange(MAX_ARMS) < count[:, None]) * spiral[:, None]
    pitch = 18.0 * torch.exp(0.38 * torch.randn(b))
    pitch = (pitch[:, None] + 3.0 * torch.randn(b, MAX_ARMS) * (pitch[:, None] / 18)).clamp(6.0, 50.0)
    length = (0.52 * torch.exp(0.51 * torch.randn(b))).clamp(0.22, 1.5)
    width = (0.24 * torch.exp(0.27 * torch.randn(b))).clamp(0.14, 0.45)
    return Parameters(
        sersic_n=sersic_n,
        q=q,
        redshift=z,
        disc=disc,
        spiral=spiral,
        barred=barred,
        irregular=irregular,
        ringed=disc * (1 - irregular) * _happens(torch.where(barred > 0, 0.45, 0.15)),
        clumpy=clumpy,
        flocculent=flocculent,
        tidal=_happens(0.04 + 0.12 * irregular + 0.02 * z.clamp(max=3)),
        face_on=torch.sigmoid((q - 0.32) / 0.035),
        sense=torch.where(torch.rand(b) < 0.5, -1.0, 1.0),
        pitch=torch.deg2rad(pitch),
        arm_strength=strength,
        arm_count=count * spiral,
        arm_share=spiral * _share(b, 0.12, 0.03, 0.26),
        bar_share=barred * _share(b, 0.07, 0.025, 0.13),
        clump_share=clumpy * (_interpolate(z, _CLUMP_LIGHT) * torch.exp(0.8 * torch.randn(b))).clamp(max=0.3),
        bar_length=length,
        bar_width=(width * length).clamp(min=0.09),
    )


def _share(b: int, median: float, low: float, high: float) -> Tensor:
    """Two half-normals in the logarithm, of these 16th and 84th percentiles."""
    normal = torch.randn(b)
    width = torch.where(normal < 0, math.log(median / low), math.log(high / median))
    return (median * torch.exp(width * normal)).clamp(max=0.55)


def _happens(probability: Tensor) -> Tensor:
    return (torch.rand(len(probability)) < probability).float()


def _between(b: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(b)


def _interpolate(x: Tensor, table: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """Linear between the table's points, constant beyond them."""
    at, values = torch.tensor(table[0]), torch.tensor(table[1])
    x = x.clamp(table[0][0], table[0][-1])
    i = torch.searchsorted(at, x, right=True).clamp(1, len(at) - 1)
    part = (x - at[i - 1]) / (at[i] - at[i - 1])
    return values[i - 1] + part * (values[i] - values[i - 1])
