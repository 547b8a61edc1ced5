"""The expectation step of a flow prior's training: posterior samples of the real galaxies under the flow."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from skyloom.generators.cvae.flow_config import FlowConfig
from skyloom.generators.cvae.flow_net import VelocityNet
from skyloom.generators.cvae.flow_path import moved_in_noise, posterior_samples
from skyloom.generators.cvae.flow_prior import velocity_of
from skyloom.generators.cvae.measurement import Measurement, slope_of
from skyloom.generators.cvae.prior import Posteriors

__all__ = ["BATCH", "expected_latents"]

BATCH = 50
"""Galaxies whose latents are followed along the flow at a time."""
_LOUD, _LOUDEST = 15.0, (0.3, 3.0)
"""Posterior samples of a batch of galaxies that tell I nats (median) begin with noise of 15 / I, within these: moved
further at once, latents no longer draw what a bright galaxy's image shows, and do not find the way back."""
_TOLD_LITTLE = 60.0
"""Nats (a batch's median) below which posterior samples are moved on in noise: what stamps do not tell must be as the
prior has it."""


def expected_latents(
    net: VelocityNet,
    posteriors: Posteriors,
    measured: Measurement,
    config: FlowConfig,
    *,
    real: float,
    generator: torch.Generator,
) -> Tensor:
    """Sample the posteriors of the real galaxies, with a network's flow as prior.

    Parameters
    ----------
    net : VelocityNet
    posteriors : Posteriors
        Where it has a `likelihood` that is followed.
    measured : Measurement
        Of the real galaxies: what their stamps tell.
    config : FlowConfig
    real : float
        Domain of the prior: 1 that of real galaxies, 0 that of simulated structure.
    generator : torch.Generator

    Returns
    -------
    Tensor, shape (config.draws, G, latents)
        Of the G real galaxies, in their order.
    """
    likelihood = posteriors.likelihood
    y, mean = posteriors.features[posteriors.real], posteriors.mean[posteriors.real]
    told = measured.nats()
    out = torch.empty(config.draws, *mean.shape)
    for draw in range(config.draws):
        for rows in told.argsort().split(BATCH):
            velocity, typical = velocity_of(net, y[rows], real), told[rows].median()
            exact = None if likelihood is None else partial(likelihood, rows)
            z = posterior_samples(
                velocity, measured[rows], slope=None if exact is None else partial(slope_of, exact),
                levels=config.levels, steps=config.sampler_steps, start=mean[rows], generator=generator,
                loudest=float((_LOUD / typical).clamp(*_LOUDEST)),
            )  # fmt: skip
            if typical < _TOLD_LITTLE:
                z = moved_in_noise(
                    velocity, z, exact or measured[rows].log_likelihood, moves=config.moves, generator=generator
                )
            out[draw, rows] = z
    return out
