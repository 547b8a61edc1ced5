"""Arms, bars and rings as Fourier modes of a log-polar map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skyloom.generators.cvae.frame import node_radii

__all__ = ["bar_strength", "measured_pitch", "mode_power", "strongest_mode", "winding"]

INNER, OUTER = 0.45, 3.2  # half-light radii between which structure is looked at
ARM_ZONE = (0.6, 3.2)
"""Half-light radii between which the pitch of arms is measured."""
BAR_ZONE = (0.2, 1.6)
"""Half-light radii between which bars are looked for."""
_STEPS, _PADDED = 32, 256  # of ln r in the arm zone, and of its transform


def mode_power(f: Tensor, orders: int = 6) -> Tensor:
    """Power in the modes exp(i (k u + m phi)) of the part of f that depends on phi.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    orders : int
        Highest m.

    Returns
    -------
    Tensor, shape (B, 32, orders)
        For k in the order of `torch.fft.fftfreq` and m = 1 to `orders`. A logarithmic spiral with m arms has its power
        at one (m, k), the sign of k being the sense of winding.
    """
    r = node_radii().to(f.device)
    rows = (r > INNER) & (r < OUTER)
    taper = torch.hann_window(int(rows.sum()) + 2, periodic=False, device=f.device)[1:-1, None]
    part = f[:, rows]
    part = (part - part.mean(2, keepdim=True)) * taper
    modes = torch.fft.fft(torch.fft.rfft(part, dim=2), n=32, dim=1)
    return modes[:, :, 1 : orders + 1].abs() ** 2


def winding(f: Tensor) -> Tensor:
    """Sense of winding in [-1, 1], shape (B,): power at k > 0 less power at k < 0, over all power."""
    power = mode_power(f).sum(2)
    k = torch.fft.fftfreq(32, device=f.device)
    sign = torch.sign(k) * (k.abs() < 0.5)
    return (power * sign).sum(1) / power.sum(1).clamp(min=1e-12)


def strongest_mode(f: Tensor, orders: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """The logarithmic spiral that explains most of the arm zone.

    f between 0.6 and 3.2 half-light radii, without its mean around each circle and led to 0 at both ends, is brought
    to even steps of ln r and transformed along ln r and phi (Kalnajs 1975; Considere & Athanassoula 1988, A&AS 76, 365;
    Davis et al. 2012, ApJS 199, 33). The maximum over k is refined by a parabola.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    orders : int
        Highest m.

    Returns
    -------
    m, k, share : Tensor, shape (B,)
        Number of arms; radial wavenumber per unit of ln r, with the sign of the winding; share of the zone's power
        around m, over all k, that m has.
    """
    at = torch.linspace(math.log(ARM_ZONE[0]), math.log(ARM_ZONE[1]), _STEPS, device=f.device)
    r = node_radii().to(f.device)
    upper = torch.searchsorted(r, at.exp()).clamp(1, len(r) - 1)
    part = ((at.exp() - r[upper - 1]) / (r[upper] - r[upper - 1]))[:, None]
    rows = f[:, upper - 1] * (1 - part) + f[:, upper] * part
    rows = (rows - rows.mean(2, keepdim=True)) * torch.hann_window(_STEPS, periodic=False, device=f.device)[:, None]
    modes = torch.fft.fft(torch.fft.rfft(rows, dim=2)[:, :, 1 : orders + 1], n=_PADDED, dim=1)
    power = torch.fft.fftshift(modes.abs() ** 2, dim=1)
    peak = power.flatten(1).argmax(1)
    row, m = peak // orders, peak % orders
    row = row.clamp(1, _PADDED - 2)
    galaxy = torch.arange(len(f), device=f.device)
    before, here, after = (power[galaxy, row + step, m] for step in (-1, 0, 1))
    bend = (before - 2 * here + after).clamp(max=-1e-20)
    where = row - _PADDED // 2 + (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
    step = (at[1] - at[0]) * _PADDED
    by_order = power.sum(1)
    share = by_order[galaxy, m] / by_order.sum(1).clamp(min=1e-12)
    return m + 1, 2 * math.pi * where / step, share


def measured_pitch(f: Tensor) -> Tensor:
    """Pitch angle of the strongest spiral in degrees, shape (B,).

    ``tan(pitch) = m / |k|`` of `strongest_mode`: 0 would be a ring, 90 a bar or anything else that does not wind. A
    map without structure between 0.6 and 3.2 half-light radii gives NaN.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    """
    m, k, share = strongest_mode(f)
    pitch = torch.rad2deg(torch.atan2(m.to(k), k.abs()))
    return torch.where(share > 0, pitch, torch.full_like(pitch, torch.nan))


def bar_strength(f: Tensor) -> Tensor:
    """Strength of the bar, shape (B,): the largest A2 where the phase of m = 2 keeps constant from the inside out.

    A2 = 2 |c2| / c0 of exp f around each circle, outside the core about that of the light, the Sersic being circular
    here (as Diaz-Garcia et al. 2016, A&A 587, A160, take it from the light). A bar ends where the vector sum of m = 2
    over all radii inside falls below 0.95 of the sum of lengths: its angle has turned by some 20 degrees. It counts
    if it reaches 0.35 half-light radii; 0 if not. Arms that wind give little, ovals what they have.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    """
    r = node_radii().to(f.device)
    rows = (r > BAR_ZONE[0]) & (r < BAR_ZONE[1])
    around = torch.fft.rfft(torch.exp(f[:, rows].clamp(-5, 5)), dim=2)
    second = 2 * around[:, :, 2] / around[:, :, 0].real.clamp(min=1e-6)
    together, lengths = torch.cumsum(second, 1), torch.cumsum(second.abs(), 1)
    steady = together.abs() > 0.95 * lengths.clamp(min=1e-9)
    inside = steady.flip(1).cummax(1).values.flip(1)  # out to the last radius at which the phase still holds
    projected = (second * (together.conj() / together.abs().clamp(min=1e-9))).real
    reaches = (inside & (r[rows] > 0.35)).any(1)
    return (projected * inside).amax(1).clamp(min=0) * reaches
