"""The layers of `skyloom.generators.cvae.layers`, rearranged for sampling on a CPU.

Maps are (B, rows, columns, channels): convolutions of few channels are a third faster so. What is the same for all
galaxies (where a node lies) is convolved once, and a norm's own scale and shift are part of the modulation after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skyloom.generators.cvae.layers import DiscConv, Film, position_channels

__all__ = ["Convolution", "Modulations", "Position", "edge_on", "modulated", "padded", "upsampled"]


class Convolution:
    """A `DiscConv` on padded maps.

    Parameters
    ----------
    conv : DiscConv
        As a Module, which lists hold.
    channels : slice
        Input channels that are looked at.
    bias : bool
        Whether to add the layer's.
    """

    def __init__(self, conv: nn.Module, channels: slice = slice(None), *, bias: bool = True) -> None:
        assert isinstance(conv, DiscConv)
        weight = conv.weight.detach()[:, channels]
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        self._bias = conv.bias.detach() if bias and conv.bias is not None else None
        self._stride = conv.stride

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, rows + 2, columns + 2, channels) to (B, rows / stride, columns / stride, out)."""
        return F.conv2d(x.permute(0, 3, 1, 2), self._weight, self._bias, self._stride).permute(0, 2, 3, 1)


class Position:
    """What a `DiscConv` makes of `position_channels`, its bias included.

    Parameters
    ----------
    conv : DiscConv
    channels : slice
        Of the position.
    rows, columns : int
        Of the map.
    """

    def __init__(self, conv: nn.Module, channels: slice, rows: int, columns: int) -> None:
        face_on_edge_on = position_channels(rows, columns, torch.tensor([1.0, 0.0]))
        part = Convolution(conv, channels)(padded(face_on_edge_on.permute(0, 2, 3, 1)))
        self._level, self._more = part[:1].contiguous(), (part[1:] - part[:1]).contiguous()

    def __call__(self, edge: Tensor) -> Tensor:
        """Shape (B, rows, columns, out), for `edge` of `edge_on`."""
        return torch.addcmul(self._level, self._more, edge[:, None, None, None])


class Modulations:
    """Several group norms' scales and shifts and the `Film` after each, by one matrix product.

    Parameters
    ----------
    norms, films : iterable of GroupNorm, of Film
    """

    def __init__(self, norms: Iterable[nn.Module], films: Iterable[nn.Module]) -> None:
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        self._sizes: list[int] = []
        self.groups: list[int] = []
        """Of each norm."""
        for norm, film in zip(norms, films, strict=True):
            assert isinstance(norm, nn.GroupNorm)
            assert isinstance(film, Film)
            self.groups.append(norm.num_groups)
            (scale, shift), (scale_bias, shift_bias) = film.linear.weight.chunk(2), film.linear.bias.chunk(2)
            gain, offset = norm.weight, norm.bias
            weights += [gain[:, None] * scale, offset[:, None] * scale + shift]
            biases += [gain * (1 + scale_bias), offset * (1 + scale_bias) + shift_bias]
            self._sizes += [len(gain), len(gain)]
        self._weight, self._bias = torch.cat(weights).detach(), torch.cat(biases).detach()

    def __call__(self, h: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Factor and summand of each, of shape (B, 1, 1, channels)."""
        parts = F.linear(h, self._weight, self._bias)[:, None, None].split(self._sizes, dim=3)
        return list(zip(parts[::2], parts[1::2], strict=True))


def edge_on(q: Tensor) -> Tensor:
    """How far a galaxy is seen edge on, 0 to 1: the weight of the angular ones among `position_channels`."""
    return ((0.65 - q) / 0.4).clamp(0, 1)


def modulated(x: Tensor, groups: int, modulation: tuple[Tensor, Tensor]) -> Tensor:
    """Group norm, modulation and SiLU of maps."""
    factor, summand = modulation
    x = F.group_norm(x.permute(0, 3, 1, 2), groups).permute(0, 2, 3, 1)
    return F.silu(torch.addcmul(summand, x, factor), inplace=True)


def padded(x: Tensor) -> Tensor:
    """Maps with a rim of one node, as `DiscConv` makes it: (B, rows + 2, columns + 2, channels)."""
    b, rows, columns, channels = x.shape
    nodes = _padding(rows, columns, str(x.device))
    return x.flatten(1, 2).index_select(1, nodes).view(b, rows + 2, columns + 2, channels)


@lru_cache(maxsize=16)
def _padding(rows: int, columns: int, device: str) -> Tensor:
    """Which node stands at each place of a padded map."""
    node = torch.arange(rows * columns, device=device).view(rows, columns)
    node = torch.cat([torch.roll(node[:1], columns // 2, 1), node, node[-1:]])
    return torch.cat([node[:, -1:], node, node[:, :1]], 1).flatten()


def upsampled(x: Tensor) -> Tensor:
    """`skyloom.generators.cvae.layers.upsample`; shape (B, 2 rows, 2 columns, channels)."""
    b, rows, columns, channels = x.shape
    tall = x.new_empty(b, rows, 2, columns, channels)
    around = torch.cat([x[:, :1], x, x[:, -1:]], 1)
    torch.lerp(x, around[:, :-2], 0.25, out=tall[:, :, 0])
    torch.lerp(x, around[:, 2:], 0.25, out=tall[:, :, 1])
    x = tall.view(b, 2 * rows, columns, channels)
    out = x.new_empty(b, 2 * rows, columns, 2, channels)
    around = torch.cat([x[:, :, -1:], x, x[:, :, :1]], 2)
    torch.lerp(x, around[:, :, :-2], 0.25, out=out[:, :, :, 0])
    torch.lerp(x, around[:, :, 2:], 0.25, out=out[:, :, :, 1])
    return out.view(b, 2 * rows, 2 * columns, channels)
