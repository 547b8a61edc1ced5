"""The decoder, rearranged for sampling: the same function, up to the last digits."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from skyloom.generators.cvae.fast_layers import (
    Convolution,
    Modulations,
    Position,
    edge_on,
    modulated,
    padded,
    upsampled,
)
from skyloom.generators.cvae.layers import DiscConv
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Q_FEATURE, Decoder, colour_step

__all__ = ["FastDecoder"]

_PROFILE = 24


class FastDecoder:
    """`Decoder.maps` in half the time.

    Parameters
    ----------
    decoder : Decoder
        Whose weights don't change any more.
    """

    def __init__(self, decoder: Decoder) -> None:
        arch = self._arch = decoder.arch
        local, finer = arch.coarse_channels, arch.width // 2 + arch.structure_channels
        first, second, third, fourth = decoder.convs
        assert isinstance(first, DiscConv)
        self._profile = decoder.profile
        self._by_row = first.weight.detach()[:, :_PROFILE].sum(3)  # the same in all columns
        self._local = Convolution(first, slice(_PROFILE, _PROFILE + local), bias=False) if local else None
        self._where = Position(first, slice(_PROFILE + local, None), LATENT_ROWS, LATENT_COLUMNS)
        self._convs: list[Callable[[Tensor], Tensor]] = [
            Convolution(second), Convolution(third, slice(finer), bias=False), Convolution(fourth),
        ]  # fmt: skip
        self._where_fine = Position(third, slice(finer, None), 2 * LATENT_ROWS, 2 * LATENT_COLUMNS)
        self._modulations = Modulations(decoder.norms, decoder.films)
        self._groups = self._modulations.groups
        self._out, self._colour, self._slope = (Convolution(c) for c in (decoder.out, decoder.colour, decoder.slope))
        self._edge, self._centre = decoder.edge, decoder.centre

    def __call__(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `skyloom.generators.cvae.net.Decoder.maps`."""
        g, b = self._arch.global_latents, len(z)
        column, centre, width = Q_FEATURE
        edge = edge_on(y[:, column] * width + centre)
        h = torch.cat([z[:, :g], y], 1)
        modulations = self._modulations(h)
        profile = F.silu(self._profile(h)).view(b, _PROFILE, LATENT_ROWS)
        by_row = F.conv1d(F.pad(profile, (1, 1), mode="replicate"), self._by_row)
        latents = z[:, g:].reshape(b, -1, LATENT_ROWS, LATENT_COLUMNS)
        coarse, fine = latents.split([self._arch.coarse_channels, 4 * self._arch.fine_channels], 1)
        fine = F.pixel_shuffle(fine, 2).permute(0, 2, 3, 1)
        fine, colour = fine.split([self._arch.structure_channels, self._arch.colour_channels], 3)
        x = self._where(edge) + by_row.mT[:, :, None]
        if self._local is not None:
            x += self._local(padded(coarse.permute(0, 2, 3, 1)))
        x = self._convs[0](padded(modulated(x, self._groups[0], modulations[0])))
        x = upsampled(modulated(x, self._groups[1], modulations[1]))
        x = self._convs[1](padded(torch.cat([x, fine], 3))) + self._where_fine(edge)
        x = self._convs[2](padded(modulated(x, self._groups[2], modulations[2])))
        x = modulated(x, self._groups[3], modulations[3])
        slope = self._slope(padded(F.silu(self._colour(padded(torch.cat([x, colour], 3))), inplace=True)))
        x = self._out(padded(x))
        rows, columns = x.shape[1:3]
        f = x.view(b, rows, columns, 2, 2).permute(0, 1, 3, 2, 4).reshape(b, 2 * rows, 2 * columns)
        coloured = torch.addcmul(f, upsampled(slope)[..., 0], colour_step(y)[:, None, None])
        return self._bounded(coloured), self._bounded(f)

    def _bounded(self, f: Tensor) -> Tensor:
        f_max = self._arch.f_max
        f = torch.tanh(f / f_max).mul_(self._edge * f_max)
        ring = f.mean(2, keepdim=True)
        return torch.addcmul(ring, f - ring, self._centre)
