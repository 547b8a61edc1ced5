"""The conditional VAE's networks: encoder q(z | stamp, y) and decoder f(z, y), both on log-polar maps.

Latents are a few global numbers, which enter as a radial profile and as modulation, and local ones on one or two grids,
which enter where the decoder has their resolution. The finer grid is kept as four channels of the coarser one, so that
the latent vector is one stack of maps whatever the model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skyloom.errors import TrainingError
from skyloom.generators.cvae.features import STEP, WIDTH
from skyloom.generators.cvae.frame import COLUMNS, ROWS, node_radii, outer_edge
from skyloom.generators.cvae.layers import DiscConv, Film, position_channels, upsample

__all__ = ["INPUTS", "Architecture", "Decoder", "Encoder", "colour_step"]

_POSITION = 3
_COLOUR_WIDTH = 16
_COLOUR = 2  # channels of the encoder's input, the last ones
INPUTS = 7
"""Channels of what the encoder sees of a stamp: `skyloom.generators.cvae.encode`."""
LATENT_ROWS, LATENT_COLUMNS = ROWS // 4, COLUMNS // 4
Q_FEATURE = (1, 0.55, 0.25)  # column of q in the features, its centre and width


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks.

    Parameters
    ----------
    global_latents : int
    local_channels : int
        Channels of local latents on the 8 x 16 grid.
    fine_channels : int
        Channels on a grid of 16 x 32: the last ``4 * fine_channels`` of `local_channels`, each four of which hold the
        2 x 2 fine cells of their coarse one.
    colour_channels : int
        The last so many of the fine channels tell of nothing but how structure changes with wavelength.
    width : int
        Channels of the decoder's coarsest level.
    f_max : float
        Bound of |f|: the profile stays within exp(+-f_max) of its Sersic.
    """

    global_latents: int = 16
    local_channels: int = 8
    fine_channels: int = 2
    colour_channels: int = 1
    width: int = 64
    f_max: float = 3.0

    def __post_init__(self) -> None:
        """Refuse a fine grid that the local channels cannot hold."""
        if not 0 <= 4 * self.fine_channels <= self.local_channels:
            raise TrainingError(f"{self.fine_channels} fine channels need {4 * self.fine_channels} local ones")
        if not 0 <= self.colour_channels <= self.fine_channels:
            raise TrainingError(
                f"{self.colour_channels} channels of colour are not among {self.fine_channels} fine ones"
            )

    @property
    def coarse_channels(self) -> int:
        """Local channels that are not cells of the finer grid."""
        return self.local_channels - 4 * self.fine_channels

    @property
    def structure_channels(self) -> int:
        """Fine channels that are not of colour."""
        return self.fine_channels - self.colour_channels

    @property
    def latents(self) -> int:
        """Numbers in one latent vector."""
        return self.global_latents + self.local_channels * LATENT_ROWS * LATENT_COLUMNS

    def as_dict(self) -> dict[str, Any]:
        """For the model card."""
        return asdict(self)


def colour_step(y: Tensor) -> Tensor:
    """By what the slope is multiplied, shape (B,): the step in wavelength, at most 1 however far it goes."""
    return torch.tanh(y[:, STEP])


def _q_of(y: Tensor) -> Tensor:
    column, centre, width = Q_FEATURE
    return y[:, column] * width + centre


def _finer(channels: Tensor) -> list[Tensor]:
    """On the finer grid; nothing for no channels, whose shuffling torch cannot differentiate."""
    return [F.pixel_shuffle(channels, 2)] if channels.shape[1] else []


class Encoder(nn.Module):
    """Mean and log variance of q(z | x, y) of one stamp.

    Its variances are at most 1, the prior's: what a stamp adds to the precision cannot be negative, so that posteriors
    of several stamps of one galaxy can be multiplied (`skyloom.generators.cvae.posterior`).

    Parameters
    ----------
    arch : Architecture
    inputs : int
        Channels of the stamp's log-polar map.
    """

    def __init__(self, arch: Architecture, inputs: int = INPUTS) -> None:
        super().__init__()
        channels = (inputs, 32, 48, 64)
        self.arch = arch
        self.convs = nn.ModuleList(DiscConv(a + _POSITION, b, stride=2) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.GroupNorm(4, c) for c in channels[1:])
        self.films = nn.ModuleList(Film(c, WIDTH) for c in channels[1:])
        self.more = nn.ModuleList(DiscConv(c, c) for c in channels[1:])
        self.hidden = nn.Sequential(nn.Linear(2 * 64 * (ROWS // 8), 128), nn.SiLU(), nn.Dropout(0.2))
        self.globals = nn.Linear(128, 2 * arch.global_latents)
        self.local_hidden = DiscConv(48 + 64 + _POSITION, 64)
        heads: list[nn.Module] = [self.globals]
        if arch.coarse_channels:
            self.local = DiscConv(64, 2 * arch.coarse_channels)
            heads.append(self.local)
        if arch.fine_channels:
            self.fine_hidden = DiscConv(32 + 64 + _COLOUR + _POSITION, 48)
            self.fine = DiscConv(48, 2 * arch.fine_channels)
            heads.append(self.fine)
        for name, weights in (named for head in heads for named in head.named_parameters()):
            nn.init.normal_(weights, 0, 0.01) if name == "weight" else nn.init.zeros_(weights)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Encode.

        Parameters
        ----------
        x : Tensor, shape (B, inputs, ROWS, COLUMNS)
        y : Tensor, shape (B, WIDTH)

        Returns
        -------
        mean, log_variance : Tensor, shape (B, latents)
        """
        q, levels = _q_of(y), []
        colour = F.avg_pool2d(x[:, -_COLOUR:], 2)
        for conv, norm, film, more in zip(self.convs, self.norms, self.films, self.more, strict=True):
            x = torch.cat([x, position_channels(x.shape[2], x.shape[3], q)], 1)
            x = F.silu(film(norm(conv(x)), y))
            x = x + F.silu(more(x))
            levels.append(x)
        pooled = torch.cat([x.mean(3), x.std(3)], 1).flatten(1)
        told = [self.globals(self.hidden(pooled)).chunk(2, 1)]
        position = position_channels(LATENT_ROWS, LATENT_COLUMNS, q)
        h = F.silu(self.local_hidden(torch.cat([levels[1], upsample(x), position], 1)))
        if self.arch.coarse_channels:
            told.append(self.local(h).chunk(2, 1))
        if self.arch.fine_channels:
            position = position_channels(2 * LATENT_ROWS, 2 * LATENT_COLUMNS, q)
            h = F.silu(self.fine_hidden(torch.cat([levels[0], upsample(h), colour, position], 1)))
            told.append([F.pixel_unshuffle(part, 2) for part in self.fine(h).chunk(2, 1)])
        mean, log_precision = (torch.cat([part.flatten(1) for part in parts], 1) for parts in zip(*told, strict=True))
        # it begins with saying little
        return mean, -F.softplus((log_precision - 1).clamp(-6, 9))


class Decoder(nn.Module):
    """The log residual f on the log-polar map: one map, and its change with the logarithm of the wavelength.

    f is led to zero at the outer edge, and its part that depends on phi to zero at the centre, where a map has no
    room for it.
    """

    edge: Tensor
    centre: Tensor

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        w, context = arch.width, WIDTH + arch.global_latents
        self.profile = nn.Linear(context, 24 * LATENT_ROWS)
        inputs = (24 + arch.coarse_channels + _POSITION, w, w // 2 + arch.structure_channels + _POSITION, w // 2)
        outputs = (w, w // 2, w // 2, w // 2)  # half the channels before the finer level, where they cost most
        self.convs = nn.ModuleList(DiscConv(a, b) for a, b in zip(inputs, outputs, strict=True))
        self.norms = nn.ModuleList(nn.GroupNorm(4, c) for c in outputs)
        self.films = nn.ModuleList(Film(c, context) for c in outputs)
        self.out = DiscConv(w // 2, 4)  # four values a cell: the map at twice the resolution
        self.colour = DiscConv(w // 2 + arch.colour_channels, _COLOUR_WIDTH)
        self.slope = DiscConv(_COLOUR_WIDTH, 1)  # brought to twice the resolution linearly: colour is smooth
        # latents of colour that draw next to nothing at first are never told
        for head, scale in ((self.out, 0.01), (self.slope, 0.125)):
            nn.init.normal_(head.weight, 0, scale)
            assert head.bias is not None
            nn.init.zeros_(head.bias)
        r = node_radii()
        self.register_buffer("edge", outer_edge(r)[:, None], persistent=False)
        self.register_buffer("centre", (r**2 / (r**2 + 0.01))[:, None], persistent=False)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Decode.

        Parameters
        ----------
        z : Tensor, shape (B, latents)
        y : Tensor, shape (B, WIDTH)

        Returns
        -------
        Tensor, shape (B, ROWS, COLUMNS)
        """
        f, change = self._unbounded(z, y)
        return self._bounded(f + change)

    def maps(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Decode f, and beside it f without the change of colour: at the wavelength where the latents are defined.

        Takes and gives what `forward` does, f twice.
        """
        f, change = self._unbounded(z, y)
        return self._bounded(f + change), self._bounded(f)

    def _unbounded(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where the latents are defined, and what changes from there to the wavelength of y."""
        g, q = self.arch.global_latents, _q_of(y)
        h = torch.cat([z[:, :g], y], 1)
        rows, columns = LATENT_ROWS, LATENT_COLUMNS
        profile = F.silu(self.profile(h)).view(-1, 24, rows, 1).expand(-1, -1, -1, columns)
        local = z[:, g:].reshape(-1, self.arch.local_channels, rows, columns)
        parts = [self.arch.coarse_channels, 4 * self.arch.structure_channels, 4 * self.arch.colour_channels]
        coarse, fine, colour = local.split(parts, 1)
        x = torch.cat([profile, coarse, position_channels(rows, columns, q)], 1)
        for level, (conv, norm, film) in enumerate(zip(self.convs, self.norms, self.films, strict=True)):
            if level == 2:
                x = upsample(x)
                where = position_channels(x.shape[2], x.shape[3], q)
                x = torch.cat([x, *_finer(fine), where], 1)
            x = F.silu(film(norm(conv(x)), h))
        slope = self.slope(F.silu(self.colour(torch.cat([x, *_finer(colour)], 1))))
        f = F.pixel_shuffle(self.out(x), 2)[:, 0]
        return f, colour_step(y)[:, None, None] * upsample(slope)[:, 0]

    def _bounded(self, f: Tensor) -> Tensor:
        f = self.arch.f_max * torch.tanh(f / self.arch.f_max) * self.edge
        ring = f.mean(2, keepdim=True)
        return ring + (f - ring) * self.centre
