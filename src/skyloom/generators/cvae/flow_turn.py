"""Turns of latents by whole cells, the flow's augmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from skyloom.generators.cvae.net import LATENT_COLUMNS, Q_FEATURE, Architecture

__all__ = ["random_turns", "turned"]


def random_turns(y: Tensor) -> Tensor:
    """Random turns in cells; whole or half ones for inclined discs, whose structure knows where the major axis is."""
    q = y[:, Q_FEATURE[0]] * Q_FEATURE[2] + Q_FEATURE[1]
    turns = torch.randint(LATENT_COLUMNS, (len(y),))
    return torch.where(q > 0.6, turns, turns % 2 * (LATENT_COLUMNS // 2))


def turned(z: Tensor, turns: Tensor, arch: Architecture) -> Tensor:
    """Latents of turned maps: of a disc seen face on the decoder gives the same map, turned."""
    d = arch.global_latents
    column = (torch.arange(LATENT_COLUMNS) - turns[:, None]) % LATENT_COLUMNS
    rows = z[:, d:].view(len(z), -1, LATENT_COLUMNS)
    local = rows.gather(2, column[:, None].expand_as(rows))
    return torch.cat([z[:, :d], local.flatten(1)], 1)
