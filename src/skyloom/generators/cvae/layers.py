"""Layers on log-polar maps: circular along phi, through the centre at the inner edge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DiscConv", "Film", "position_channels", "upsample"]


class DiscConv(nn.Conv2d):
    """3x3 (or, with stride 2, 4x4) convolution that knows the map is a disc.

    Along phi the map closes on itself; inside its first row lies the same row on the other side of the centre.
    """

    def __init__(self, channels: int, out: int, *, stride: int = 1) -> None:
        super().__init__(channels, out, 3 if stride == 1 else 4, stride, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, rows, columns) to (B, out, rows / stride, columns / stride)."""
        inside = torch.roll(x[:, :, :1], x.shape[3] // 2, 3)
        x = torch.cat([inside, x, x[:, :, -1:]], 2)
        return super().forward(F.pad(x, (1, 1, 0, 0), mode="circular"))


class Film(nn.Module):
    """Feature-wise linear modulation by a conditioning vector (Perez et al. 2018, eq. 1)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Modulate x (B, channels, rows, columns) by h (B, width)."""
        scale, shift = self.linear(h)[..., None, None].chunk(2, 1)
        return torch.addcmul(shift, x, 1 + scale)


def upsample(x: Tensor) -> Tensor:
    """Double rows and columns, linearly, around the circle."""
    x = torch.cat([x[..., -1:], x, x[..., :1]], 3)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[..., 2:-2]


def position_channels(rows: int, columns: int, q: Tensor) -> Tensor:
    """Where a node is: its radius, and for inclined discs its angle from the major axis.

    Parameters
    ----------
    q : Tensor, shape (B,)
        Axis ratio. Above 0.65 the angular channels vanish and the network treats all turns alike: the structure of a
        disc seen face on has no preferred axis, that of one seen edge on (dust lane, thickness) has.

    Returns
    -------
    Tensor, shape (B, 3, rows, columns)
    """
    u = (torch.arange(rows, device=q.device) + 0.5) / rows * 2 - 1
    phi = ((torch.arange(columns, device=q.device) + 0.5) / columns * 2 - 1) * torch.pi
    edge = ((0.65 - q) / 0.4).clamp(0, 1)[:, None, None]
    return torch.stack(
        [
            u[None, :, None].expand(len(q), rows, columns),
            (torch.cos(2 * phi)[None, None] * edge).expand(len(q), rows, columns),
            (torch.cos(4 * phi)[None, None] * edge).expand(len(q), rows, columns),
        ],
        1,
    )
