"""The conditional VAE on a Cartesian map of the disc, for comparison with the log-polar one (`scripts/ablations.py`).

48 x 48 nodes over +-4.5 half-light radii, 4 x 12 x 12 local latents and 24 x 24 fine ones, about as many as the
log-polar map has (32 x 64; 4 x 8 x 16 and 16 x 32). The same depth, widths, modulation and radial profile; convolutions
are padded with zeros, and the position channels are x, y and r.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skyloom.generators.cvae import instrument, train
from skyloom.generators.cvae.features import WIDTH
from skyloom.generators.cvae.frame import R_MAX, node_radii, outer_edge
from skyloom.generators.cvae.layers import Film
from skyloom.generators.cvae.net import INPUTS, Architecture, colour_step

__all__ = ["SIDE", "CartesianDecoder", "CartesianEncoder", "cartesian_frame"]

SIDE = 48
LATENT_SIDE = SIDE // 4
_POSITION = 3
_COLOUR, _COLOUR_WIDTH = 2, 16
_KNOTS = 8  # of the radial profile, at the radii where the log-polar latents have theirs


def nodes(side: int = SIDE) -> Tensor:
    """Positions of a map's nodes in the disc, half-light radii; shape (side, side, 2)."""
    x = ((torch.arange(side) + 0.5) / side * 2 - 1) * R_MAX
    gy, gx = torch.meshgrid(x, x, indexing="ij")
    return torch.stack([gx, gy], -1)


def map_coordinates(points: Tensor) -> Tensor:
    """Points of the disc (..., 2) as `sample_map` takes them."""
    return points / R_MAX


def sample_map(values: Tensor, coordinates: Tensor) -> Tensor:
    """Maps (B, SIDE, SIDE) at points (B, H, W, 2) of `map_coordinates`, bicubic; shape (B, H, W)."""
    return F.grid_sample(values[:, None], coordinates, mode="bicubic", padding_mode="border", align_corners=False)[:, 0]


@contextmanager
def cartesian_frame() -> Iterator[None]:
    """Within it, trainers make the networks below, and likelihood and encoder's input are those of their maps.

    Simulated structure is drawn on the log-polar map and cannot be had.
    """
    with (
        patch.multiple(instrument, nodes=nodes, map_coordinates=map_coordinates, sample_map=sample_map),
        patch.multiple(train, Encoder=CartesianEncoder, Decoder=CartesianDecoder),
    ):
        yield


class CartesianEncoder(nn.Module):
    """`skyloom.generators.cvae.net.Encoder` on the Cartesian map, without local latents on the coarser grid."""

    def __init__(self, arch: Architecture, inputs: int = INPUTS) -> None:
        super().__init__()
        channels = (inputs, 32, 48, 64)
        self.arch = arch
        self.convs = nn.ModuleList(nn.Conv2d(a + _POSITION, b, 4, 2, 1) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.GroupNorm(4, c) for c in channels[1:])
        self.films = nn.ModuleList(Film(c, WIDTH) for c in channels[1:])
        self.more = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in channels[1:])
        self.hidden = nn.Sequential(nn.Linear(2 * 64 * 4, 128), nn.SiLU(), nn.Dropout(0.2))
        self.globals = nn.Linear(128, 2 * arch.global_latents)
        self.local_hidden = nn.Conv2d(48 + 64 + _POSITION, 64, 3, padding=1)
        self.fine_hidden = nn.Conv2d(32 + 64 + _COLOUR + _POSITION, 48, 3, padding=1)
        self.fine = nn.Conv2d(48, 2 * arch.fine_channels, 3, padding=1)
        heads = (self.globals, self.fine)
        for name, weights in (named for head in heads for named in head.named_parameters()):
            nn.init.normal_(weights, 0, 0.01) if name == "weight" else nn.init.zeros_(weights)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latents) of maps x (B, inputs, SIDE, SIDE) and features y (B, WIDTH)."""
        levels, colour = [], F.avg_pool2d(x[:, -_COLOUR:], 2)
        for conv, norm, film, more in zip(self.convs, self.norms, self.films, self.more, strict=True):
            x = F.silu(film(norm(conv(_placed(x))), y))
            x = x + F.silu(more(x))
            levels.append(x)
        quarters = x.unflatten(3, (2, -1)).unflatten(2, (2, -1))  # (B, C, 2, h, 2, w): pooled in each quadrant
        pooled = torch.cat([quarters.mean((3, 5)), quarters.std((3, 5))], 1).flatten(1)
        told = [self.globals(self.hidden(pooled)).chunk(2, 1)]
        h = F.silu(self.local_hidden(_placed(torch.cat([levels[1], _upsampled(x)], 1))))
        h = F.silu(self.fine_hidden(_placed(torch.cat([levels[0], _upsampled(h), colour], 1))))
        told.append([F.pixel_unshuffle(part, 2) for part in self.fine(h).chunk(2, 1)])
        mean, log_precision = (torch.cat([part.flatten(1) for part in parts], 1) for parts in zip(*told, strict=True))
        return mean, -F.softplus((log_precision - 1).clamp(-6, 9))


class CartesianDecoder(nn.Module):
    """`skyloom.generators.cvae.net.Decoder` on the Cartesian map."""

    edge: Tensor
    spread: Tensor

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        w, context = arch.width, WIDTH + arch.global_latents
        self.profile = nn.Linear(context, 24 * _KNOTS)
        inputs = (24 + arch.coarse_channels + _POSITION, w, w // 2 + arch.structure_channels + _POSITION, w // 2)
        outputs = (w, w // 2, w // 2, w // 2)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(inputs, outputs, strict=True))
        self.norms = nn.ModuleList(nn.GroupNorm(4, c) for c in outputs)
        self.films = nn.ModuleList(Film(c, context) for c in outputs)
        self.out = nn.Conv2d(w // 2, 4, 3, padding=1)
        self.colour = nn.Conv2d(w // 2 + arch.colour_channels, _COLOUR_WIDTH, 3, padding=1)
        self.slope = nn.Conv2d(_COLOUR_WIDTH, 1, 3, padding=1)
        for head, scale in ((self.out, 0.01), (self.slope, 0.125)):
            nn.init.normal_(head.weight, 0, scale)
            nn.init.zeros_(head.bias)
        r = torch.linalg.vector_norm(nodes(), dim=-1)
        self.register_buffer("edge", outer_edge(r), persistent=False)
        self.register_buffer("spread", _radial_weights(), persistent=False)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Log residual f (B, SIDE, SIDE) of latents z (B, latents) and features y (B, WIDTH)."""
        g, side = self.arch.global_latents, LATENT_SIDE
        h = torch.cat([z[:, :g], y], 1)
        profile = (F.silu(self.profile(h)).view(-1, 24, _KNOTS) @ self.spread).view(-1, 24, side, side)
        local = z[:, g:].reshape(-1, self.arch.local_channels, side, side)
        parts = [self.arch.coarse_channels, 4 * self.arch.structure_channels, 4 * self.arch.colour_channels]
        coarse, fine, colour = local.split(parts, 1)
        x = _placed(torch.cat([profile, coarse], 1))
        for level, (conv, norm, film) in enumerate(zip(self.convs, self.norms, self.films, strict=True)):
            if level == 2:
                x = _placed(torch.cat([_upsampled(x), F.pixel_shuffle(fine, 2)], 1))
            x = F.silu(film(norm(conv(x)), h))
        slope = self.slope(F.silu(self.colour(torch.cat([x, F.pixel_shuffle(colour, 2)], 1))))
        f = F.pixel_shuffle(self.out(x), 2)[:, 0] + colour_step(y)[:, None, None] * _upsampled(slope)[:, 0]
        return self.arch.f_max * torch.tanh(f / self.arch.f_max) * self.edge


def _placed(x: Tensor) -> Tensor:
    """Maps (B, C, side, side) with the channels x, y and r added, each over +-1 or so."""
    at = nodes(x.shape[-1]) / R_MAX
    position = torch.cat([at, torch.linalg.vector_norm(at, dim=-1, keepdim=True)], -1).permute(2, 0, 1)
    return torch.cat([x, position.expand(len(x), -1, -1, -1)], 1)


def _upsampled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _radial_weights() -> Tensor:
    """Linear interpolation from the knots to the latents' nodes, shape (_KNOTS, LATENT_SIDE^2)."""
    knots, r = node_radii(_KNOTS), torch.linalg.vector_norm(nodes(LATENT_SIDE), dim=-1).flatten()
    r = r.clamp(knots[0], knots[-1])
    upper = torch.searchsorted(knots, r).clamp(1, _KNOTS - 1)
    share = (r - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
    every = torch.arange(_KNOTS)[:, None]
    return (every == upper - 1) * (1 - share) + (every == upper) * share
