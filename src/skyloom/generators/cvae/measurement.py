"""What stamps tell of a galaxy's latents, all correlations in it: a Gaussian of few directions in latent space.

A posterior of independent numbers will not do for a prior that knows patterns. Its widths are those that each latent
would have were all others known, and its mean is as smooth as N(0, 1) and the PSF make it; taken for a measurement, it
says that there is no structure where the stamps cannot tell.

Latents are those of samples, defined at `skyloom.generators.cvae.features.REFERENCE` for all galaxies, whatever bands
these were seen in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.features import STEP
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, observe, residual_grid
from skyloom.generators.cvae.likelihood import fitted_amplitude, log_likelihood, whitener
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Decoder
from skyloom.generators.cvae.posterior import Galaxies

__all__ = ["Measurement", "measured", "slope_of", "stamps_likelihood"]

_BATCH = 32
_STRIDE = 0.1  # in units of N(0, 1), by which the images' derivatives are taken
_LEAST = 0.1  # precision of a direction that counts as measured; the prior's is about 1
_NOTHING = 1e-3  # change of a pixel with a latent, in units of its error, below which it tells nothing


@dataclass(frozen=True)
class Measurement:
    """Gaussian measurements of N galaxies' latents, each of up to K directions.

    Parameters
    ----------
    directions : Tensor, shape (N, K, latents)
        Orthonormal rows; zero where a galaxy has fewer than K.
    precision : Tensor, shape (N, K)
        One over the variance along each; zero where there is none.
    value : Tensor, shape (N, K)
        What was measured along each.
    """

    directions: Tensor
    precision: Tensor
    value: Tensor

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: Tensor) -> Measurement:
        """Those of some galaxies."""
        return Measurement(self.directions[rows], self.precision[rows], self.value[rows])

    @classmethod
    def of(cls, information: Tensor, weighted: Tensor) -> Measurement:
        """One galaxy's.

        Parameters
        ----------
        information : Tensor, shape (latents, latents)
            Precision matrix, positive semidefinite.
        weighted : Tensor, shape (latents,)
            It times the measured latents.
        """
        precision, vectors = torch.linalg.eigh(information.double())
        kept = precision > _LEAST
        precision, directions = precision[kept].flip(0), vectors[:, kept].T.flip(0)
        value = directions @ weighted.double() / precision
        return cls(*(part[None].float() for part in (directions, precision, value)))

    @classmethod
    def cat(cls, parts: Sequence[Measurement]) -> Measurement:
        """All of them, filled up to the largest number of directions."""
        most = max(part.value.shape[1] for part in parts)

        def filled(values: Tensor) -> Tensor:
            return torch.cat([values, values.new_zeros(len(values), most - values.shape[1], *values.shape[2:])], 1)

        columns = zip(*((p.directions, p.precision, p.value) for p in parts), strict=True)
        return cls(*(torch.cat([filled(part) for part in column]) for column in columns))

    def log_likelihood(self, z: Tensor) -> Tensor:
        """Of latents (N, latents), shape (N,), up to a constant of each galaxy."""
        return -0.5 * (self.precision * (torch.einsum("nkd,nd->nk", self.directions, z) - self.value) ** 2).sum(1)

    def nats(self) -> Tensor:
        """By how much N(0, 1) is narrowed, shape (N,)."""
        return 0.5 * torch.log1p(self.precision).sum(1)

    def stretched(self, z: Tensor, factor: Tensor) -> Tensor:
        """Latents (N, latents), multiplied along the directions by factors (N, K)."""
        along = torch.einsum("nkd,nd->nk", self.directions, z)
        return z + torch.einsum("nkd,nk->nd", self.directions, (factor - 1) * along)

    def narrowed(self, normal: Tensor) -> Tensor:
        """Standard normal numbers (N, latents) with the scatter of posteriors under the prior N(0, 1)."""
        return self.stretched(normal, torch.rsqrt(1 + self.precision))

    def divergence(self, mean: Tensor) -> Tensor:
        """KL divergence of such posteriors about `mean` (N, latents) from N(0, 1), nats, shape (N,)."""
        return self.nats() - 0.5 * (self.precision / (1 + self.precision)).sum(1) + 0.5 * mean.square().sum(1)


def stamps_likelihood(
    decoder: Decoder, stamps: Stamps, galaxies: Galaxies, frames: Jitter
) -> Callable[[Tensor, Tensor], Tensor]:
    """The log likelihood of galaxies' stamps, as a function of the galaxies' latents.

    Parameters
    ----------
    decoder : Decoder
        In evaluation mode.
    stamps : Stamps
    galaxies : Galaxies
        Of all the stamps.
    frames : Jitter
        Of the stamps.

    Returns
    -------
    callable
        Different rows (B,) of galaxies, and latents (B, latents), to log likelihoods (B,): nats, up to a constant of
        each galaxy.
    """
    y = stamps.features

    def likelihood(rows: Tensor, z: Tensor) -> Tensor:
        place = torch.full((galaxies.count,), -1)
        place[rows] = torch.arange(len(rows))
        owner = place[galaxies.row]
        index = torch.nonzero(owner >= 0)[:, 0]
        jitter = frames.spread(index, torch.ones(len(index)))
        images = model_images(decoder, stamps, index, z[owner[index]], y[index], jitter)
        return z.new_zeros(len(z)).index_add(0, owner[index], log_likelihood(images, stamps, index)[0])

    return likelihood


def slope_of(likelihood: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """The derivatives of log likelihoods (B,) with the latents (B, latents) they are of."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().clone().requires_grad_(True)
        (found,) = torch.autograd.grad(likelihood(z).sum(), z)
    return found


@torch.no_grad()
def measured(decoder: Decoder, stamps: Stamps, galaxies: Galaxies, mean: Tensor, frames: Jitter) -> Measurement:
    """What stamps tell of latents: the likelihood's slope, and its curvature as Gauss and Newton approximate it.

    Pixels that were cut away below an isophote count for the slope alone.

    Parameters
    ----------
    decoder : Decoder
        In evaluation mode.
    stamps : Stamps
    galaxies : Galaxies
        Of all the stamps.
    mean : Tensor, shape (galaxies.count, latents)
        Latents about which the images are taken to be linear, best a posterior's.
    frames : Jitter
        Of the stamps.

    Returns
    -------
    Measurement
        Of `galaxies.count` galaxies.
    """
    y, parts = stamps.features, []
    likelihood = partial(stamps_likelihood(decoder, stamps, galaxies, frames), torch.arange(galaxies.count))
    pull = slope_of(likelihood, mean)
    for galaxy, z in enumerate(mean):
        information = torch.zeros(len(z), len(z), dtype=torch.float64)
        for row in torch.nonzero(galaxies.row == galaxy)[:, 0]:
            own = row[None]
            slope, here = _slopes(decoder, stamps, own, y[own], z, frames.spread(own, torch.ones(1)))
            dof, share = stamps.likelihood.student_dof, stamps.independent[row]
            counted = (dof + 1) / (dof + here**2) * (1.0 if stamps.likelihood.whitened else share)
            information += (slope * counted @ slope.T).double()
        parts.append(Measurement.of(information, information @ z.double() + pull[galaxy].double()))
    return Measurement.cat(parts)


def _slopes(
    decoder: Decoder, stamps: Stamps, index: Tensor, y: Tensor, z: Tensor, frame: Jitter
) -> tuple[Tensor, Tensor]:
    """Derivatives of one stamp's whitened model with latents (D,), and its residuals (data less model) there.

    Shapes (D, P) and (P,), of the P pixels that change. The amplitude is fitted: what changes with it alone is left out
    (variable projection, as Kaufman 1975 approximates it).
    """
    points = GridGeometry.of(grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle[index]), frame)
    weight = stamps.mask[index] / stamps.sigma[index]
    whitened = whitener(stamps, index, stamps.likelihood)

    def white(z: Tensor) -> Tensor:
        f = decoder(z, y.expand(len(z), -1))
        rows = index.expand(len(z))
        return whitened(weight * observe(residual_grid(f, points, stamps.sersic_n[rows]), stamps, rows))

    here, data = white(z[None]), whitened(weight * stamps.image[index])
    amplitude = fitted_amplitude(data, here)
    model, rest = here.flatten(1), (data - amplitude * here).flatten()
    steps = _STRIDE * torch.eye(len(z))
    if not y[0, STEP]:  # latents of colour change nothing
        steps = steps[: decoder.arch.latents - 4 * decoder.arch.colour_channels * LATENT_ROWS * LATENT_COLUMNS]
    slope = torch.cat([(white(z + some).flatten(1) - model) / _STRIDE for some in steps.split(_BATCH)])
    slope = amplitude * (slope - (slope @ model.T) / model.square().sum().clamp(min=1e-9) * model)
    seen = slope.abs().amax(0) > _NOTHING
    return F.pad(slope[:, seen], (0, 0, 0, len(z) - len(slope))), rest[seen]
