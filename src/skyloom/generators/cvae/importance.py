"""The log evidence of galaxies, log p(x | y), by importance sampling about the encoder's posterior, with its error.

A generator's prior knows one sense of winding and draws the mirror image as often. The decoder does not give mirrored
maps for mirrored latents, so the two are judged where they are made: each winding has the image's own frame, mirrored
or not, an encoding in it and half of the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skyloom.errors import BadInputError
from skyloom.generators.cvae.annealing import Gaussian, LogDensity, annealed_weights, estimate, plain_weights
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.evidence import model_images
from skyloom.generators.cvae.features import without_band
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.instrument import Jitter, encoder_input, log_likelihood
from skyloom.generators.cvae.net import Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies, joint_posterior
from skyloom.generators.cvae.prior import Prior
from skyloom.generators.cvae.prior_density import gaussian_of
from skyloom.generators.cvae.sharpen import sharpened

__all__ = ["Density", "Sampling", "log_evidence"]

BATCH = 32
"""Images made at a time."""
FLOW_DRAWS = 1536
"""Samples of a flow from which a Gaussian close to it is estimated."""


class Density(Protocol):
    """A prior whose density can be told."""

    def log_density(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z | y) of latents (B, latents), and its standard error, each of shape (B,)."""


@dataclass(frozen=True)
class Sampling:
    """How the integral over the latents is done.

    Parameters
    ----------
    samples : int
        Of plain importance sampling, or annealed chains; at least 2.
    widen : float
        The encoder's errors are multiplied by so much, its word being too good where it is wrong. Latents of which the
        stamps tell nothing keep the prior's scatter: they cancel.
    temperatures : int
        Of annealed importance sampling; 0 is plain importance sampling.
    leaps : int
        Gradients a temperature.
    step : float
        Length of a leap.
    sharpen : bool
        Begin with a Gaussian at the posterior's maximum, as wide as the images' derivatives tell, all correlations in
        it, instead of the encoder's.
    """

    samples: int = 256
    widen: float = 1.0
    temperatures: int = 0
    leaps: int = 3
    step: float = 0.3
    sharpen: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers outside their ranges."""
        for name, least in (("samples", 2), ("temperatures", 0), ("leaps", 1)):
            if getattr(self, name) < least:
                raise BadInputError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("widen", "step"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadInputError(f"{name} must be a number above 0, not {getattr(self, name)}")


def log_evidence(
    encoder: Encoder,
    decoder: Decoder,
    prior: Density | None,
    stamps: Stamps,
    galaxies: Galaxies,
    sampling: Sampling | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Log evidence of galaxies under the model.

    Parameters
    ----------
    encoder, decoder
        In evaluation mode.
    prior : Density, optional
        Of one sense of winding, mirrored with probability 1/2; without it N(0, 1), which training used.
    stamps : Stamps
    galaxies : Galaxies
    sampling : Sampling, optional
    generator : torch.Generator, optional
        Of the random numbers.

    Returns
    -------
    dict of Tensor, shape (galaxies.count,), float64
        ``log_evidence``, ``standard_error``, ``effective_samples`` and ``bound``: see
        `skyloom.generators.cvae.annealing.Estimate`. ``sersic``: log likelihood at f = 0; ``log_evidence - sersic`` is
        the gain in nats. All up to the likelihood's constants, amplitudes fitted and not integrated over.
    """
    sampling = Sampling() if sampling is None else sampling
    rows: dict[str, list[float]] = {}
    for index, part in galaxies.batches(1):
        galaxy = _Galaxy(encoder, decoder, prior, stamps, index, part, sampling)
        windings = [galaxy.log_weights(side, generator) for side in ((False,) if prior is None else (False, True))]
        found = estimate(torch.stack(windings, 1).flatten())
        sersic = float(log_likelihood(stamps.sersic[index], stamps, index)[0].double().sum())
        for name, value in (vars(found) | {"sersic": sersic}).items():
            rows.setdefault(name, []).append(value)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}


@dataclass(frozen=True)
class _Galaxy:
    """One galaxy and all that its evidence depends on."""

    encoder: Encoder
    decoder: Decoder
    prior: Density | None
    stamps: Stamps
    index: Tensor
    part: Galaxies
    sampling: Sampling

    def log_weights(self, mirror: bool, generator: torch.Generator | None) -> Tensor:
        """Log weights of the samples of one winding."""
        how, y = self.sampling, without_band(self.part.mean(self.stamps.features[self.index]))
        latents = self.decoder.arch.latents
        base = self._base(y[0], latents, generator)
        weighted, precision = (t / how.widen**2 for t in self._told(mirror))
        proposal = base.times(weighted, precision)
        prior = self.prior
        surrogate = base.log_density if prior is None or isinstance(prior, FlowPrior) else self._exact(y)

        def target(z: Tensor) -> Tensor:
            return self._likelihood(z, mirror) + surrogate(z)

        if how.sharpen:
            proposal = sharpened(target, lambda z: self._images(z, mirror), base, proposal, self.stamps)
        count = how.samples if prior is None else -(-how.samples // 2)
        if how.temperatures:
            weights, z, _ = annealed_weights(
                target, proposal, count, how.temperatures, leaps=how.leaps, step=how.step, generator=generator
            )
        else:
            with torch.no_grad():
                weights, z = plain_weights(target, proposal, count, generator)
        if isinstance(prior, FlowPrior):  # a flow's density has no gradient to anneal with: its ratio comes last
            density, error = prior.log_density(z.float(), y.expand(len(z), -1), generator=generator)
            # noise of this size in the logarithm makes weights larger by exp(error^2 / 2) in the mean
            weights = weights + density.double() - 0.5 * error.double() ** 2 - base.log_density(z)
        return weights

    def _exact(self, y: Tensor) -> LogDensity:
        prior = self.prior
        assert prior is not None
        return lambda z: prior.log_density(z, y.expand(len(z), -1))[0]

    def _base(self, y: Tensor, latents: int, generator: torch.Generator | None) -> Gaussian:
        """A Gaussian close to the prior, or the prior itself."""
        if isinstance(self.prior, Prior):
            return Gaussian.of(*gaussian_of(self.prior, y))
        if isinstance(self.prior, FlowPrior):
            noise = torch.randn(FLOW_DRAWS, self.prior.noise_size, generator=generator)
            with torch.no_grad():
                drawn = torch.cat([self.prior.draw(y.expand(len(n), -1), n)[0] for n in noise.split(64)]).double()
            share = latents / (latents + FLOW_DRAWS)  # of the variances alone, which a sample tells well
            scatter = torch.cov(drawn.T)
            covariance = (1 - share) * scatter + share * torch.diag(scatter.diagonal())
            return Gaussian.of(drawn.mean(0), torch.linalg.inv(covariance))
        return Gaussian.of(torch.zeros(latents), torch.eye(latents))

    @torch.no_grad()
    def _told(self, mirror: bool) -> tuple[Tensor, Tensor]:
        """What the encoder makes of the stamps alone: mean over variance and one over variance of each latent."""
        told = self.encoder(
            encoder_input(self.stamps, self.index, self._frames(1, mirror)), self.stamps.features[self.index]
        )
        mean, log_variance = joint_posterior(told[0], told[1], self.part)
        inverse = torch.exp(-log_variance[0].double())
        return mean[0] * inverse, inverse - 1

    def _frames(self, copies: int, mirror: bool) -> Jitter:
        still = Jitter(self.stamps.q[self.index], mirror=mirror)
        return still.spread(torch.arange(len(self.index)).repeat(copies), self.part.frame.repeat(copies))

    def _images(self, z: Tensor, mirror: bool) -> tuple[Tensor, Tensor]:
        """Images of latents (K, latents) in all stamps, shape (K stamps, S, S), and the stamps' rows."""
        index = self.index.repeat(len(z))
        latents = z.float().repeat_interleave(len(self.index), 0)
        y = self.stamps.features[index]
        return model_images(self.decoder, self.stamps, index, latents, y, self._frames(len(z), mirror)), index

    def _likelihood(self, z: Tensor, mirror: bool) -> Tensor:
        """Log p(x | z, y) of latents (K, latents), shape (K,)."""
        parts = []
        for some in z.split(max(1, BATCH // len(self.index))):
            images, index = self._images(some, mirror)
            found = log_likelihood(images, self.stamps, index)[0].double()
            parts.append(found.view(len(some), -1).sum(1))
        return torch.cat(parts)
