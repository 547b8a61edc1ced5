"""Which latents a model uses: nats a latent, active units, unused cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.evidence import kl_divergence, posterior_of
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Architecture, Encoder
from skyloom.generators.cvae.posterior import Galaxies

__all__ = ["LatentUsage", "latent_usage", "usage_of"]

ACTIVE = 0.01
"""Variance of the posterior means over galaxies above which a latent is active (Burda et al. 2016, section 5.2)."""


@dataclass(frozen=True)
class LatentUsage:
    """Figures of each latent.

    Parameters
    ----------
    arch : Architecture
    galaxies : int
        They are of.
    nats : Tensor, shape (latents,)
        KL divergence of the posterior from N(0, 1), mean over galaxies.
    variance : Tensor, shape (latents,)
        Of the posterior means over galaxies.
    """

    arch: Architecture
    galaxies: int
    nats: Tensor
    variance: Tensor

    @property
    def active(self) -> Tensor:
        """Whether each latent is used, bool, shape (latents,)."""
        return self.variance > ACTIVE

    def of_global(self, values: Tensor) -> Tensor:
        """The global latents' part of values (latents,)."""
        return values[: self.arch.global_latents]

    def of_local(self, values: Tensor) -> Tensor:
        """The local latents' part, shape (channels, LATENT_ROWS, LATENT_COLUMNS); rows from the centre outwards."""
        local = values[self.arch.global_latents :]
        return local.view(self.arch.local_channels, LATENT_ROWS, LATENT_COLUMNS)

    def for_card(self) -> dict[str, Any]:
        """A small table for the model card: nats a galaxy, latents in use; rows are summed over channels and turns."""
        local, active = self.of_local(self.nats), self.active
        return {
            "galaxies": self.galaxies,
            "kl_nats_global": round(float(self.of_global(self.nats).sum()), 2),
            "kl_nats_local": round(float(local.sum()), 2),
            "kl_nats_by_row": [round(float(v), 2) for v in local.sum((0, 2))],
            "kl_nats_by_channel": [round(float(v), 2) for v in local.sum((1, 2))],
            "active_global": int(self.of_global(active).sum()),
            "active_local": int(self.of_local(active).sum()),
            "unused_share": round(1 - float(active.double().mean()), 3),
        }


def latent_usage(mean: Tensor, log_variance: Tensor, arch: Architecture) -> LatentUsage:
    """Usage of latents by galaxies' posteriors.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (N, latents)
        At least two.
    arch : Architecture

    Raises
    ------
    ValueError
        When there are less than two galaxies, or they have other latents than the architecture.
    """
    if mean.shape != log_variance.shape or mean.shape[1:] != (arch.latents,) or len(mean) < 2:
        raise ValueError(
            f"posteriors of at least 2 galaxies and {arch.latents} latents are needed, not {tuple(mean.shape)} and "
            f"{tuple(log_variance.shape)}"
        )
    mean, log_variance = mean.double(), log_variance.double()
    return LatentUsage(arch, len(mean), kl_divergence(mean, log_variance).mean(0), mean.var(0))


def usage_of(encoder: Encoder, stamps: Stamps, galaxies: Galaxies | None = None) -> LatentUsage:
    """Usage of latents by galaxies, each seen in all its bands.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode.
    stamps : Stamps
    galaxies : Galaxies, optional
        `Galaxies.of` the stamps when left out.
    """
    parts = [posterior_of(encoder, stamps, i, g)[:2] for i, g in (galaxies or Galaxies.of(stamps)).batches(16)]
    mean, log_variance = (torch.cat(values) for values in zip(*parts, strict=True))
    return latent_usage(mean, log_variance, encoder.arch)
