"""The log evidence of galaxies, log p(x | y), by importance sampling about the encoder's posterior, with its error.

A generator's prior knows one sense of winding and draws the mirror image as often. The decoder does not give mirrored
maps for mirrored latents, so the two are judged where they are made: each winding has the image's own frame, mirrored
or not, an encoding in it and half of the samples.

With a flow the integral is over the noise that samples are made of, N(0, 1) by construction, through the very steps
that make them: the flow's density would have no gradient, and an error of its own. The encoder knows nothing of noise,
so the proposal is found by `skyloom.generators.cvae.sharpen` from the flow's middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skyloom.errors import BadInputError
from skyloom.generators.cvae.annealing import Gaussian, annealed_weights, estimate, plain_weights
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import encode, prior_features, referenced
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import Jitter, log_likelihood
from skyloom.generators.cvae.net import Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies, joint_posterior
from skyloom.generators.cvae.prior import Prior
from skyloom.generators.cvae.prior_density import gaussian_of
from skyloom.generators.cvae.sharpen import sharpened

__all__ = ["Density", "Sampling", "log_evidence"]

BATCH = 32
"""Images made at a time."""


class Density(Protocol):
    """A prior whose density can be told; with a gradient, unless it is a flow."""

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
        it, instead of the encoder's. Always so with a flow.
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
        how, prior, y = self.sampling, self.prior, prior_features(self.stamps.features[self.index], self.part)
        base = self._base(y[0])
        transported = isinstance(prior, FlowPrior)

        def place(x: Tensor) -> Tensor:
            if isinstance(prior, FlowPrior):
                return prior.draw(y.expand(len(x), -1), torch.cat([x, x[:, :1]], 1).float())[0]
            return x

        def target(x: Tensor) -> Tensor:
            if prior is None or transported:
                return self._likelihood(place(x), mirror) + base.log_density(x)
            return self._likelihood(x, mirror) + prior.log_density(x, y.expand(len(x), -1))[0]

        proposal = base if transported else base.times(*(t / how.widen**2 for t in self._told(mirror)))
        if how.sharpen or transported:
            proposal = sharpened(target, lambda x: self._images(place(x), mirror), base, proposal, self.stamps)
        count = how.samples if prior is None else -(-how.samples // 2)
        if how.temperatures:
            return annealed_weights(
                target, proposal, count, how.temperatures, leaps=how.leaps, step=how.step, generator=generator
            )[0]
        with torch.no_grad():
            return plain_weights(target, proposal, count, generator)[0]

    def _base(self, y: Tensor) -> Gaussian:
        """The prior, or a Gaussian close to it; of a flow that of its noise."""
        if isinstance(self.prior, Prior):
            return Gaussian.of(*gaussian_of(self.prior, y))
        latents = self.decoder.arch.latents
        return Gaussian.of(torch.zeros(latents), torch.eye(latents))

    @torch.no_grad()
    def _told(self, mirror: bool) -> tuple[Tensor, Tensor]:
        """What the encoder makes of the stamps alone: mean over variance and one over variance of each latent."""
        told = encode(self.encoder, self.stamps, self.index, self.part, self._frames(1, mirror))
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
        y = self.stamps.features[self.index]
        if self.prior is None:
            y = referenced(y, self.part)
        y = y.repeat(len(z), 1)
        return model_images(self.decoder, self.stamps, index, latents, y, self._frames(len(z), mirror)), index

    def _likelihood(self, z: Tensor, mirror: bool) -> Tensor:
        """Log p(x | z, y) of latents (K, latents), shape (K,)."""
        parts = []
        for some in z.split(max(1, BATCH // len(self.index))):
            images, index = self._images(some, mirror)
            found = log_likelihood(images, self.stamps, index)[0].double()
            parts.append(found.view(len(some), -1).sum(1))
        return torch.cat(parts)
