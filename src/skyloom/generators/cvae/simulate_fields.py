"""The disc's polar nodes, and random fields on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skyloom.generators.cvae.frame import COLUMNS, R0, R_MAX, ROWS, node_radii

__all__ = ["PHI", "RADII", "random_field", "uniform", "wrapped"]

RADII = node_radii()[:, None]
"""Radii of the nodes, half-light radii, shape (ROWS, 1)."""
PHI = ((torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 * math.pi - math.pi)[None, :]
"""Angles of the nodes from the major axis, shape (1, COLUMNS)."""
_PADDED = 48  # rows of a random field, so that its inner edge does not know its outer one
_STEP = math.log1p(R_MAX / R0) / ROWS
_K = (2 * math.pi / _STEP) * torch.fft.fftfreq(_PADDED)[:, None]  # per unit of ln(r + R0)
_M = torch.arange(COLUMNS // 2 + 1, dtype=torch.float32)[None, :]


def random_field(orders: Tensor, waves: Tensor, shear: Tensor | None = None, lowest: float = 0.0) -> Tensor:
    """Gaussian random fields on the nodes, of unit variance and led to 0 at the centre.

    Parameters
    ----------
    orders : Tensor, shape (B,)
        Width of the power in m, the order around the circle.
    waves : Tensor, shape (B,)
        Width of the power in radial wavenumber, per unit of ln(r + R0), about the ridge below.
    shear : Tensor, shape (B,), optional
        Power lies along k = -shear m: with shear = cot(pitch) times the sense of winding, patches are drawn out along
        spirals of this pitch, as differential rotation does.
    lowest : float
        Orders below are damped.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
    """
    b = len(orders)
    ridge = 0.0 if shear is None else -shear[:, None, None] * _M
    power = (_M / orders[:, None, None]) ** 2 + ((_K - ridge) / waves[:, None, None]) ** 2
    amplitude = torch.exp(-0.5 * power)
    if lowest > 0:
        amplitude = amplitude * torch.sigmoid((_M - lowest) / 0.4)
    white = torch.fft.rfft2(torch.randn(b, _PADDED, COLUMNS))
    field = torch.fft.irfft2(white * amplitude, s=(_PADDED, COLUMNS))
    field = field / field.std((1, 2), keepdim=True).clamp(min=1e-6)
    return field[:, 8 : 8 + ROWS] * torch.tanh((RADII / 0.3) ** 2)


def uniform(b: int, low: float, high: float) -> Tensor:
    """Uniform random numbers, shape (B, 1, 1)."""
    return (low + (high - low) * torch.rand(b))[:, None, None]


def wrapped(angle: Tensor) -> Tensor:
    """Angles brought to [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
