"""The Gaussian prior's density, its random strengths of structure integrated out, and a plain Gaussian close to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from skyloom.generators.cvae.net import LATENT_COLUMNS

if TYPE_CHECKING:
    from skyloom.generators.cvae.prior import Prior

__all__ = ["gaussian_of", "prior_log_density"]

NODES = 3
"""Points of the quadrature in each of the log amplitudes."""
_NEWTON_STEPS = 60


def prior_log_density(prior: Prior, z: Tensor, y: Tensor) -> Tensor:
    """Log p(z | y) of maps that wind as the prior's do.

    Given the amplitudes z is Gaussian and everything about it is exact; the integral over the log-normal amplitudes is
    done by Gauss-Hermite quadrature about its integrand's maximum (Naylor & Smith 1982, Applied Statistics 31, 214).

    Parameters
    ----------
    prior : Prior
    z : Tensor, shape (B, latents)
        Differentiable.
    y : Tensor, shape (B, WIDTH)

    Returns
    -------
    Tensor, shape (B,)
        Nats, float64.
    """
    d = prior.arch.global_latents
    z, one_y = z.double(), _one(y)
    white = torch.linalg.solve_triangular(
        prior.global_root.double(), (z[:, :d] - one_y @ prior.global_mean.double()).T, upper=False
    )
    found = -0.5 * (white**2).sum(0) - prior.global_root.diagonal().double().log().sum()
    mean = torch.cat([one_y, z[:, :d]], 1) @ prior.local_mean.double()
    local = z[:, d:].reshape(len(z), -1, LATENT_COLUMNS) - mean[:, :, None]
    modes = torch.fft.rfft(local, norm="ortho").permute(2, 1, 0)
    root = prior.local_root.to(torch.complex128)
    power = torch.linalg.solve_triangular(root, modes, upper=False).abs().square().sum(1)
    groups, times = _groups()
    square = torch.zeros(int(groups.max()) + 1, len(z), dtype=torch.float64)
    square = square.index_add(0, groups, power * times[:, None]).T
    count = torch.zeros(square.shape[1], dtype=torch.float64).index_add(0, groups, times) * local.shape[1]
    found = found - (times * root.diagonal(dim1=1, dim2=2).real.log().sum(1)).sum()
    return found - 0.5 * z.shape[1] * math.log(2 * math.pi) + _over_amplitudes(prior, square, count, one_y)


def _over_amplitudes(prior: Prior, square: Tensor, count: Tensor, one_y: Tensor) -> Tensor:
    """Log of the mean of ``prod a_g^(-count_g / 2) exp(-square_g / (2 a_g))`` over the amplitudes a."""
    mean, root = one_y @ prior.amplitude_mean.double(), prior.amplitude_root.double()
    size = len(root)
    fixed, s = square.detach(), torch.zeros(len(square), size, dtype=torch.float64)
    identity = torch.eye(size, dtype=torch.float64)
    for _ in range(_NEWTON_STEPS):
        ratio = fixed * torch.exp(-(mean + s @ root.T))
        slope = 0.5 * (ratio - count) @ root - s
        curvature = identity + 0.5 * torch.einsum("gi,bg,gj->bij", root, ratio, root)
        step = torch.linalg.solve(curvature, slope)
        s = s + step / (step @ root.T).abs().amax(1, keepdim=True).clamp(min=1.0)  # at most an e-fold at a time
        if float(step.abs().max()) < 1e-6:
            break
    ratio = fixed * torch.exp(-(mean + s @ root.T))
    lower = torch.linalg.cholesky(identity + 0.5 * torch.einsum("gi,bg,gj->bij", root, ratio, root))
    x, log_weight = _nodes(size)
    offsets = torch.linalg.solve_triangular(lower.mT, x.T.expand(len(s), -1, -1), upper=True).mT
    at = s[:, None] + offsets
    log_a = mean[:, None] + at @ root.T
    inside = -0.5 * (log_a * count + square[:, None] * torch.exp(-log_a)).sum(2) - 0.5 * (at**2).sum(2)
    summed = torch.logsumexp(inside + 0.5 * (x**2).sum(1) + log_weight, 1)
    return summed - lower.diagonal(dim1=1, dim2=2).log().sum(1)


def _nodes(size: int) -> tuple[Tensor, Tensor]:
    """Points of a product rule for the standard normal, shape (nodes, size), and logarithms of their weights."""
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    log_w = torch.from_numpy(np.log(w / w.sum()))
    points = torch.cartesian_prod(*[torch.from_numpy(x)] * size)
    return points, torch.cartesian_prod(*[log_w] * size).sum(1)


def gaussian_of(prior: Prior, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and precision matrix of a Gaussian close to p(z | y): all amplitudes at their means.

    Parameters
    ----------
    prior : Prior
    y : Tensor, shape (WIDTH,)

    Returns
    -------
    mean : Tensor, shape (latents,)
    precision : Tensor, shape (latents, latents)
        Both float64.
    """
    from skyloom.generators.cvae.prior import _dense

    one_y, d = _one(y[None])[0], prior.arch.global_latents
    groups, _ = _groups()
    scatter = prior.amplitude_root.double().square().sum(1)
    amplitude = torch.exp(one_y @ prior.amplitude_mean.double() + 0.5 * scatter)[groups]
    blocks = torch.cholesky_inverse(prior.local_root.to(torch.complex128)) / amplitude[:, None, None]
    local = _dense(blocks, blocks.shape[1])
    coefficients = prior.local_mean.double().repeat_interleave(LATENT_COLUMNS, 1)
    slope = coefficients[len(one_y) :].T
    mean_g = one_y @ prior.global_mean.double()
    mean = torch.cat([mean_g, one_y @ coefficients[: len(one_y)] + slope @ mean_g])
    precision = torch.empty(len(mean), len(mean), dtype=torch.float64)
    precision[d:, d:] = local
    precision[:d, d:] = -slope.T @ local
    precision[d:, :d] = precision[:d, d:].T
    precision[:d, :d] = torch.cholesky_inverse(prior.global_root.double()) + slope.T @ local @ slope
    return mean, 0.5 * (precision + precision.T)


def _one(y: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(y[:, :1]), y], 1).double()


def _groups() -> tuple[Tensor, Tensor]:
    """Group of each angular order, and how many real modes it stands for."""
    from skyloom.generators.cvae.prior import _MULTIPLICITY, GROUPS

    return torch.tensor(GROUPS), _MULTIPLICITY.double()
