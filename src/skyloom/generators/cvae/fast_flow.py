"""The flow's student, rearranged for sampling: the same latents, up to the last digits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skyloom.generators.cvae.fast_layers import (
    Convolution,
    Modulations,
    Position,
    edge_on,
    modulated,
    padded,
    upsampled,
)
from skyloom.generators.cvae.flow_net import PRIOR_COLUMNS, VelocityNet, rings_of, skip_and_scale
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Q_FEATURE

__all__ = ["FastFlow"]


class FastFlow:
    """`skyloom.generators.cvae.flow_prior.few_steps` with a network whose weights don't change any more.

    All galaxies are at the same time of the flow and in one domain, so what depends on them alone is computed once.

    Parameters
    ----------
    net : VelocityNet
    steps : int
    real : float
        Domain.
    """

    def __init__(self, net: VelocityNet, steps: int, real: float) -> None:
        self._net, self._arch, self._steps = net, net.arch, steps
        channels = net.arch.local_channels
        self._enter = Convolution(net.enter, slice(channels), bias=False)
        self._where = Position(net.enter, slice(channels, None), LATENT_ROWS, LATENT_COLUMNS)
        blocks: list[Any] = [net.fine, *net.coarse, net.last]
        self._modulations = Modulations((b.norm for b in blocks), (b.film for b in blocks))
        self._groups = self._modulations.groups
        self._convs = [Convolution(block.conv) for block in blocks]
        self._down, self._leave = Convolution(net.down), Convolution(net.leave)
        self._up = net.up.weight.detach()[:, :, 0, 0]
        self._qkv, self._out = (m.weight.detach()[:, :, 0, 0] for m in (net.attention.qkv, net.attention.out))
        self._attention_bias = net.attention.bias.detach()[:, net.attention.distance]
        self._times = [k / steps for k in range(steps)]
        first, known = net.embed[0], len(PRIOR_COLUMNS)
        assert isinstance(first, nn.Linear)
        d, rings = self._arch.global_latents, 2 * channels * LATENT_ROWS
        waves = first.in_features - known - 1 - d - rings
        weight = first.weight.detach()
        self._known, self._latents = weight[:, :known], weight[:, known + 1 + waves :]
        self._embed = []
        for t in self._times:
            angle = t * torch.pi * torch.arange(1, waves // 2 + 1)
            shared = torch.cat([torch.tensor([real]), torch.cos(angle), torch.sin(angle)])
            self._embed.append(first.bias.detach() + weight[:, known : known + 1 + waves] @ shared)

    def __call__(self, y: Tensor, noise: Tensor) -> Tensor:
        """Latents (B, latents) for features (B, WIDTH) from noise (B, latents)."""
        column, centre, width = Q_FEATURE
        where = self._where(edge_on(y[:, column] * width + centre))
        known = y[:, list(PRIOR_COLUMNS)] @ self._known.T
        z = noise
        for k, t in enumerate(self._times):
            skip, scale = (float(v) for v in skip_and_scale(torch.tensor(t)))
            out = self._velocity(z * scale, known + self._embed[k], where)
            z = torch.add(z * (1 + skip / self._steps), out, alpha=scale / self._steps)
        return z

    def _velocity(self, x: Tensor, known: Tensor, where: Tensor) -> Tensor:
        net, d, b = self._net, self._arch.global_latents, len(x)
        local = x[:, d:].reshape(b, -1, LATENT_ROWS, LATENT_COLUMNS).permute(0, 2, 3, 1)
        h = torch.addmm(known, torch.cat([x[:, :d], rings_of(local)], 1), self._latents.T)
        h = F.silu(net.embed[2](F.silu(h, inplace=True)), inplace=True)
        modulations = self._modulations(h)
        fine = self._enter(padded(local)) + where
        fine = self._block(fine, 0, modulations)
        coarse = self._down(padded(fine))
        last = len(self._convs) - 1
        for i in range(1, last):
            coarse = self._block(coarse, i, modulations)
        coarse = self._attended(coarse)
        flat = coarse.flatten(1, 2)
        pooled = F.silu(net.pool(torch.cat([flat.mean(1), flat.square().mean(1)], 1)), inplace=True)
        up = F.linear(coarse, self._up, net.up.bias)
        fine = self._block(fine + upsampled(up), last, modulations)
        local = self._leave(padded(F.silu(fine, inplace=True)))
        return torch.cat([net.globals(torch.cat([h, pooled], 1)), local.permute(0, 3, 1, 2).flatten(1)], 1)

    def _block(self, x: Tensor, i: int, modulations: list[tuple[Tensor, Tensor]]) -> Tensor:
        return x + self._convs[i](padded(modulated(x, self._groups[i], modulations[i])))

    def _attended(self, x: Tensor) -> Tensor:
        attention = self._net.attention
        b, rows, columns, c = x.shape
        heads = attention.heads
        normed = attention.norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
        qkv = F.linear(normed, self._qkv, attention.qkv.bias).view(b, -1, 3, heads, c // heads)
        q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))
        logits = torch.add(self._attention_bias, q @ k.mT, alpha=(c // heads) ** -0.5)
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).reshape(b, rows, columns, c)
        return x + F.linear(mixed, self._out, attention.out.bias)
