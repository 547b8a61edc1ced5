"""The prior p(z | y): Gaussian, stationary along phi, and with one sense of winding.

The local latents of all training galaxies are mirrored to the same sense of winding first. Their covariance is
circulant along phi (a turned galaxy is as likely), so it is one Hermitian matrix for each angular order m; its
complex phases between radii carry the winding, which a covariance of galaxies wound both ways would average away.
A sample is mirrored back with probability 1/2. How strong each order is varies from galaxy to galaxy: log-normal
amplitudes whose mean follows the conditions. Shapes (the covariance) are learned from real and simulated structure,
means and strengths from real galaxies alone.

The local matrices are estimated by expectation maximisation (Dempster, Laird & Rubin 1977) from the encoder's Gaussian
posteriors with the prior they were trained under, N(0, 1), divided out; the global latents have the mean and covariance
of the posteriors themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skyloom.generators.cvae.features import WIDTH
from skyloom.generators.cvae.measurement import Measurement
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Architecture
from skyloom.generators.cvae.prior_density import prior_log_density

__all__ = ["ORDERS", "LatentPrior", "Posteriors", "Prior", "fit_prior"]

logger = logging.getLogger(__name__)

ORDERS = LATENT_COLUMNS // 2 + 1
GROUPS = (0, 1, 2, 3, 3, 4, 4, 4, 4)  # angular orders that share an amplitude
_N_GROUPS = max(GROUPS) + 1
_MULTIPLICITY = torch.tensor([1.0] + [2.0] * (ORDERS - 2) + [1.0])
_LEAST_INFORMATION = 0.15  # cells told less than this by the stamp only blur the estimate, which then diverges


@dataclass(frozen=True)
class Posteriors:
    """The encoder's Gaussians for the training galaxies, all wound the same way.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (N, latents)
    features : Tensor, shape (N, WIDTH)
    real : bool Tensor, shape (N,)
        False for simulated structure.
    measured : Measurement, optional
        What the stamps of the real ones tell about their means, correlations in it; a flow is trained on it.
    likelihood : callable, optional
        Rows (B,) among the real ones, and latents (B, latents), to their log likelihoods (B,).
    """

    mean: Tensor
    log_variance: Tensor
    features: Tensor
    real: Tensor
    measured: Measurement | None = None
    likelihood: Callable[[Tensor, Tensor], Tensor] | None = None


class LatentPrior(Protocol):
    """p(z | y) as the generator samples it."""

    @property
    def noise_size(self) -> int:
        """Standard normal numbers a sample takes."""

    def draw(self, y: Tensor, noise: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Latents (B, latents) of noise (B, noise_size), and whether the decoded map is to be mirrored."""

    def log_density(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z | y) of latents (B, latents) before any is mirrored, and its standard error, each of shape (B,)."""

    def tensors(self) -> dict[str, Tensor]:
        """All parameters by name, for a checkpoint."""


@dataclass(frozen=True)
class Prior:
    """Parameters of p(z | y); see the module's docstring.

    Parameters
    ----------
    arch : Architecture
    global_mean : Tensor, shape (1 + WIDTH, D)
        Linear in [1, y].
    global_root : Tensor, shape (D, D)
        Lower Cholesky factor.
    local_mean : Tensor, shape (1 + WIDTH + D, cells)
        Of a row of cells, all columns alike, linear in [1, y, global latents]; cells = local channels x rows.
    local_root : complex Tensor, shape (ORDERS, cells, cells)
        Lower Cholesky factor of each angular order's covariance.
    amplitude_mean : Tensor, shape (1 + WIDTH, groups)
        Logarithm of the variance of each group of orders, linear in [1, y].
    amplitude_root : Tensor, shape (groups, groups)
        Its scatter.
    """

    arch: Architecture
    global_mean: Tensor
    global_root: Tensor
    local_mean: Tensor
    local_root: Tensor
    amplitude_mean: Tensor
    amplitude_root: Tensor

    @property
    def noise_size(self) -> int:
        """Standard normal numbers a sample takes."""
        return self.arch.latents + _N_GROUPS + 1

    def draw(self, y: Tensor, noise: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Turn standard normal numbers into latents.

        Parameters
        ----------
        y : Tensor, shape (B, WIDTH)
        noise : Tensor, shape (B, noise_size)
        temperature : float
            Scales the noise; 0 gives the mean galaxy of the conditions.

        Returns
        -------
        z : Tensor, shape (B, latents)
        mirrored : bool Tensor, shape (B,)
            Whether the decoded map is to be reversed along phi.
        """
        d, latents = self.arch.global_latents, self.arch.latents
        one_y = torch.cat([torch.ones_like(y[:, :1]), y], 1)
        z_global = _rowwise(one_y, self.global_mean) + temperature * _rowwise(noise[:, :d], self.global_root.T)
        mean = _rowwise(torch.cat([one_y, z_global], 1), self.local_mean)
        white = noise[:, d:latents].view(len(y), -1, LATENT_COLUMNS)
        modes = torch.fft.rfft(white, norm="ortho").permute(2, 1, 0)  # order, cell, galaxy
        modes = torch.bmm(self.local_root, modes)
        scatter = _rowwise(noise[:, latents:-1], self.amplitude_root.T)
        log_amplitude = _rowwise(one_y, self.amplitude_mean) + scatter
        amplitude = torch.exp(0.5 * log_amplitude)[:, list(GROUPS)]
        modes = modes * amplitude.T[:, None, :] * temperature
        local = torch.fft.irfft(modes.permute(2, 1, 0), n=LATENT_COLUMNS, norm="ortho") + mean[:, :, None]
        return torch.cat([z_global, local.flatten(1)], 1), noise[:, -1] > 0

    def log_density(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z | y); see `skyloom.generators.cvae.prior_density`.

        Parameters
        ----------
        z : Tensor, shape (B, latents)
            Of maps that wind as the prior's do; the mirror image is another galaxy with half the probability each.
        y : Tensor, shape (B, WIDTH)

        Returns
        -------
        log_density, standard_error : Tensor, shape (B,)
            Nats; the error is 0.
        """
        found = prior_log_density(self, z, y)
        return found, torch.zeros_like(found)

    def tensors(self) -> dict[str, Tensor]:
        """All parameters by name, real and float32, for a checkpoint."""
        names = ("global_mean", "global_root", "local_mean", "amplitude_mean", "amplitude_root")
        out = {name: getattr(self, name) for name in names}
        return out | {"local_root": torch.view_as_real(self.local_root)}

    @classmethod
    def from_tensors(cls, arch: Architecture, tensors: dict[str, Tensor]) -> Prior:
        """Inverse of `tensors`.

        Raises
        ------
        ValueError
            When one is not of the shape that the architecture asks for.
        """
        d, inputs = arch.global_latents, 1 + WIDTH
        cells = (arch.latents - d) // LATENT_COLUMNS
        means = {"global_mean": (inputs, d), "local_mean": (inputs + d, cells), "amplitude_mean": (inputs, _N_GROUPS)}
        roots = {"global_root": (d, d), "local_root": (ORDERS, cells, cells, 2), "amplitude_root": (_N_GROUPS,) * 2}
        for name, shape in {**means, **roots}.items():
            if tuple(tensors[name].shape) != shape:
                raise ValueError(f"prior.{name} has shape {tuple(tensors[name].shape)}, not {shape}")
        root = torch.view_as_complex(tensors["local_root"].contiguous())
        return cls(arch, **{k: v for k, v in tensors.items() if k != "local_root"}, local_root=root)


def fit_prior(posteriors: Posteriors, arch: Architecture, *, iterations: int = 5) -> Prior:
    """Estimate the prior from posteriors.

    Parameters
    ----------
    posteriors : Posteriors
    arch : Architecture
    iterations : int
        Of expectation maximisation.

    Returns
    -------
    Prior
    """
    d, real = arch.global_latents, posteriors.real
    y = posteriors.features
    one_y = torch.cat([torch.ones_like(y[:, :1]), y], 1)
    variance = posteriors.log_variance.exp()
    mean_g = posteriors.mean[:, :d]
    global_mean = _ridge(one_y[real], mean_g[real])
    scatter = (mean_g - one_y @ global_mean)[real]
    global_cov = scatter.T @ scatter / len(scatter) + torch.diag(variance[real, :d].mean(0))

    information = (1 - variance).clamp(0, 1).sum(1)
    least = torch.quantile(information[real], 0.3)  # the least informed real galaxies say nothing
    informed = torch.nonzero((information >= least) | ~real)[:, 0]
    told_real = real[informed]
    x = torch.cat([one_y, mean_g], 1)[informed]
    precision = 1 / variance[informed, d:] - 1  # of the stamp alone
    told = precision > _LEAST_INFORMATION
    weighted = torch.where(told, posteriors.mean[informed, d:] / variance[informed, d:], 0.0)
    precision = torch.where(told, precision, 1e-4)

    cells = arch.local_channels * LATENT_ROWS
    covariance = torch.eye(cells, dtype=torch.complex64).repeat(ORDERS, 1, 1)
    local_mean = torch.zeros(x.shape[1], cells)
    amplitudes = torch.ones(len(x), _N_GROUPS)
    for step in range(iterations):
        covariance, amplitudes, row_means = _em_step(covariance, amplitudes, x @ local_mean, precision, weighted, cells)
        local_mean = _ridge(x[told_real], row_means[told_real], strength=3.0)
        logger.info("prior: iteration %d, mean variance %.3f", step, _trace(covariance) / cells)
    log_amplitude, known = torch.log(amplitudes[told_real]), one_y[informed][told_real]
    amplitude_mean = _ridge(known, log_amplitude, strength=3.0)
    rest = log_amplitude - known @ amplitude_mean
    return Prior(
        arch,
        global_mean,
        torch.linalg.cholesky(global_cov + 1e-4 * torch.eye(d)),
        local_mean,
        torch.linalg.cholesky(covariance + 1e-4 * torch.eye(cells)),
        amplitude_mean,
        torch.linalg.cholesky(rest.T @ rest / len(rest) + 1e-4 * torch.eye(_N_GROUPS)),
    )


def _em_step(
    covariance: Tensor, amplitudes: Tensor, means: Tensor, precision: Tensor, weighted: Tensor, cells: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One expectation and maximisation; see `fit_prior` for the names."""
    inverse = torch.linalg.inv(covariance + 1e-3 * torch.eye(cells))
    groups = torch.tensor(GROUPS)
    share = torch.zeros(_N_GROUPS).index_add_(0, groups, _MULTIPLICITY) * cells
    total = torch.zeros_like(covariance)
    new_amplitudes, row_means = torch.empty_like(amplitudes), torch.empty_like(means)
    column = torch.arange(LATENT_COLUMNS)
    lag = ((column[:, None] - column[None]) % LATENT_COLUMNS).reshape(-1)
    for i in range(len(means)):
        scaled = inverse / amplitudes[i, groups][:, None, None]
        centre = means[i][:, None].expand(-1, LATENT_COLUMNS).reshape(-1)
        root = torch.linalg.cholesky(_dense(scaled, cells) + torch.diag(precision[i]))
        x = torch.cholesky_solve((weighted[i] - precision[i] * centre)[:, None], root)[:, 0]
        spread = torch.cholesky_inverse(root).view(cells, LATENT_COLUMNS, cells, LATENT_COLUMNS)
        row_means[i] = (x + centre).view(cells, -1).mean(1)
        by_lag = torch.zeros(LATENT_COLUMNS, cells, cells).index_add_(
            0, lag, spread.permute(1, 3, 0, 2).reshape(-1, cells, cells)
        )
        modes = torch.fft.rfft(x.view(cells, -1), norm="ortho").T
        second = modes[:, :, None] * modes[:, None, :].conj() + torch.fft.rfft(by_lag / LATENT_COLUMNS, dim=0)
        ratio = torch.einsum("mij,mji->m", inverse, second).real * _MULTIPLICITY
        summed = torch.zeros(_N_GROUPS).index_add_(0, groups, ratio)
        new_amplitudes[i] = (summed + 20.0) / (share + 20.0)  # twenty cells' worth of "as the others"
        total += second / new_amplitudes[i, groups][:, None, None]
    mean_amplitude = new_amplitudes.mean(0)
    covariance = total / len(means) * mean_amplitude[groups][:, None, None]
    return 0.5 * (covariance + covariance.mH), new_amplitudes / mean_amplitude, row_means


def _dense(blocks: Tensor, cells: int) -> Tensor:
    """Real matrix (cells x columns)^2 that is circulant along columns, of one block an angular order."""
    by_lag = torch.fft.irfft(blocks, n=LATENT_COLUMNS, dim=0)
    column = torch.arange(LATENT_COLUMNS)
    full = by_lag[(column[:, None] - column[None]) % LATENT_COLUMNS]
    return full.permute(2, 0, 3, 1).reshape(cells * LATENT_COLUMNS, -1)


def _rowwise(x: Tensor, matrix: Tensor) -> Tensor:
    """``x @ matrix``, to the same last digits wherever a row stands, which a small matrix product does not give."""
    return (x[:, :, None] * matrix).sum(1)


def _trace(covariance: Tensor) -> float:
    return float((torch.einsum("mii->m", covariance).real * _MULTIPLICITY).sum() / LATENT_COLUMNS)


def _ridge(x: Tensor, target: Tensor, strength: float = 1.0) -> Tensor:
    """Linear regression with a penalty on all coefficients but the first."""
    penalty = strength * torch.eye(x.shape[1])
    penalty[0, 0] = 1e-4
    return torch.linalg.solve(x.T @ x + penalty, x.T @ target)
