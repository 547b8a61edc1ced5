"""The velocity network of the flow prior p(z | y): a small U-Net on the 8 x 16 grid of local latents.

The global latents travel with the local ones: they enter as modulation and get a velocity of their own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skyloom.generators.cvae.features import FEATURES, OPTIONAL
from skyloom.generators.cvae.layers import DiscConv, Film, position_channels, upsample
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Q_FEATURE, Architecture

__all__ = ["PRIOR_COLUMNS", "FlowArchitecture", "VelocityNet", "rings_of", "skip_and_scale"]

_KNOWN = ("sersic_n", "q", "half_light_radius", "redshift")
PRIOR_COLUMNS = (*(FEATURES.index(name) for name in _KNOWN), len(FEATURES) + OPTIONAL.index("redshift"))
"""Columns of the features that the prior may look at.

Wavelength and surface brightness are for the decoder alone: one latent has to serve a galaxy in every band.
"""
_POSITION = 3
_FREQUENCIES = 8


@dataclass(frozen=True)
class FlowArchitecture:
    """Sizes of the velocity network.

    Parameters
    ----------
    width : int
        Channels of the 8 x 16 level; the 4 x 8 level has twice as many.
    blocks : int
        Convolutions at the 4 x 8 level.
    context : int
        Numbers that modulate every layer.
    heads : int
        Of the attention at the 4 x 8 level.
    """

    width: int = 32
    blocks: int = 2
    context: int = 64
    heads: int = 4

    def as_dict(self) -> dict[str, Any]:
        """For the model card."""
        return asdict(self)


class VelocityNet(nn.Module):
    """v(z_t, t, y, domain), the velocity of the latents' flow from noise (t = 0) to data (t = 1).

    The path is z_t = (1 - t) noise + t z, straight lines in expectation (Lipman et al. 2023, example II; Liu et al.
    2023). The network gives what the independent standard normal's velocity leaves out, scaled to order one
    (preconditioning as by Karras et al. 2022, for this path); with its last layers at zero, as it begins, the flow
    leaves N(0, 1) as it is.

    Parameters
    ----------
    arch : Architecture
        Of the latents.
    flow : FlowArchitecture
    """

    def __init__(self, arch: Architecture, flow: FlowArchitecture) -> None:
        super().__init__()
        self.arch, self.flow = arch, flow
        w, d, channels = flow.width, arch.global_latents, arch.local_channels
        known = len(PRIOR_COLUMNS) + 1 + 2 * _FREQUENCIES + d + 2 * channels * LATENT_ROWS
        self.embed = nn.Sequential(
            nn.Linear(known, 2 * flow.context), nn.SiLU(), nn.Linear(2 * flow.context, flow.context)
        )
        self.enter = DiscConv(channels + _POSITION, w)
        self.fine = _Block(w, flow.context)
        self.down = DiscConv(w, 2 * w, stride=2)
        self.coarse = nn.ModuleList(_Block(2 * w, flow.context) for _ in range(flow.blocks))
        self.attention = _RingAttention(2 * w, flow.heads, LATENT_ROWS // 2, LATENT_COLUMNS // 2)
        self.up = nn.Conv2d(2 * w, w, 1)
        self.last = _Block(w, flow.context)
        self.leave = DiscConv(w, channels)
        self.pool = nn.Linear(4 * w, flow.context)
        self.globals = nn.Sequential(
            nn.Linear(2 * flow.context, 2 * flow.context), nn.SiLU(), nn.Linear(2 * flow.context, d)
        )
        for weights in [*self.leave.parameters(), *self.globals[2].parameters()]:
            nn.init.zeros_(weights)

    def forward(self, z: Tensor, t: Tensor, y: Tensor, real: Tensor) -> Tensor:
        """Velocity.

        Parameters
        ----------
        z : Tensor, shape (B, latents)
        t : Tensor, shape (B,)
            Time in [0, 1].
        y : Tensor, shape (B, WIDTH)
            Condition features; only `PRIOR_COLUMNS` are read.
        real : Tensor, shape (B,)
            1 for the domain of real galaxies, 0 for that of simulated structure.

        Returns
        -------
        Tensor, shape (B, latents)
        """
        d = self.arch.global_latents
        skip, scale = skip_and_scale(t)
        x = z * scale[:, None]
        angle = t[:, None] * torch.pi * torch.arange(1, _FREQUENCIES + 1, device=z.device)
        known = y[:, list(PRIOR_COLUMNS)]
        local = x[:, d:].view(-1, self.arch.local_channels, LATENT_ROWS, LATENT_COLUMNS)
        waves = [torch.cos(angle), torch.sin(angle)]
        h = self.embed(torch.cat([known, real[:, None], *waves, x[:, :d], rings_of(local.permute(0, 2, 3, 1))], 1))
        h = F.silu(h)
        q = y[:, Q_FEATURE[0]] * Q_FEATURE[2] + Q_FEATURE[1]
        a = self.enter(torch.cat([local, position_channels(LATENT_ROWS, LATENT_COLUMNS, q)], 1))
        a = self.fine(a, h)
        b = self.down(a)
        for block in self.coarse:
            b = block(b, h)
        b = self.attention(b)
        pooled = F.silu(self.pool(torch.cat([b.mean((2, 3)), b.square().mean((2, 3))], 1)))
        a = self.last(a + upsample(self.up(b)), h)
        out = torch.cat([self.globals(torch.cat([h, pooled], 1)), self.leave(F.silu(a)).flatten(1)], 1)
        return skip[:, None] * z + scale[:, None] * out


class _Block(nn.Module):
    """Residual: norm, modulation, convolution."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.film = Film(channels, context)
        self.conv = DiscConv(channels, channels)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        out: Tensor = x + self.conv(F.silu(self.film(self.norm(x), h)))
        return out


class _RingAttention(nn.Module):
    """Residual self-attention between all cells, with a bias for each pair of rows and each distance around the ring.

    The bias depends on phi by differences alone, so that a turned map gives a turned result.
    """

    distance: Tensor

    def __init__(self, channels: int, heads: int, rows: int, columns: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(4, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.bias = nn.Parameter(torch.zeros(heads, rows * rows * columns))
        row = torch.arange(rows).repeat_interleave(columns)
        column = torch.arange(columns).repeat(rows)
        turn = (column[None] - column[:, None]) % columns
        self.register_buffer("distance", (row[:, None] * rows + row[None]) * columns + turn, persistent=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, rows, columns = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.heads, c // self.heads, rows * columns)
        q, k, v = (part.mT for part in qkv.unbind(1))
        logits = q @ k.mT * (c // self.heads) ** -0.5 + self.bias[:, self.distance]
        mixed = (logits.softmax(-1) @ v).mT.reshape(b, c, rows, columns)
        out: Tensor = x + self.out(mixed)
        return out


def rings_of(local: Tensor) -> Tensor:
    """Mean and log mean square around each ring: how strong the structure is, which normalised layers don't see.

    Parameters
    ----------
    local : Tensor, shape (B, rows, columns, channels)

    Returns
    -------
    Tensor, shape (B, 2 * rows * channels)
    """
    return torch.cat([local.mean(2), torch.log(local.square().mean(2) + 0.1)], 1).flatten(1)


def skip_and_scale(t: Tensor) -> tuple[Tensor, Tensor]:
    """What part of z_t is the velocity if z is standard normal, and the scatter of the rest.

    With s = t^2 + (1 - t)^2, E[z - noise | z_t] = (2 t - 1) / s z_t, and its variance is 1 / s; 1 / sqrt(s) also is
    what scales z_t to unit variance.
    """
    s = t**2 + (1 - t) ** 2
    return (2 * t - 1) / s, s**-0.5
