"""Arms, bars and rings as Fourier modes of a log-polar map."""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.frame import node_radii

__all__ = ["mode_power", "winding"]

INNER, OUTER = 0.45, 3.2  # half-light radii between which structure is looked at


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
