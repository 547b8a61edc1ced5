"""Importance sampling of a normalising constant, plain or annealed, with its error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Estimate", "Gaussian", "annealed_weights", "estimate", "plain_weights"]

LogDensity = Callable[[Tensor], Tensor]
"""Log of an unnormalised density of points (K, D), shape (K,)."""

GROUPS = 8
"""Parts of the samples whose bounds are averaged."""


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian that proposals are drawn from.

    Parameters
    ----------
    mean : Tensor, shape (D,)
    root : Tensor, shape (D, D)
        Lower Cholesky factor of the precision matrix.
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, mean: Tensor, precision: Tensor) -> Gaussian:
        """Of mean and precision matrix, float64."""
        return cls(mean.double(), torch.linalg.cholesky(precision.double()))

    def times(self, weighted: Tensor, precision: Tensor) -> Gaussian:
        """Posterior after a measurement of each number: mean over variance, and one over variance, shape (D,)."""
        total = self.root @ self.root.T + torch.diag(precision.double())
        root = torch.linalg.cholesky(total)
        told = self.root @ (self.root.T @ self.mean) + weighted.double()
        return Gaussian(torch.cholesky_solve(told[:, None], root)[:, 0], root)

    def place(self, white: Tensor) -> Tensor:
        """Points of standard normal numbers (K, D)."""
        return self.mean + torch.linalg.solve_triangular(self.root.T, white.T, upper=True).T

    def log_density(self, z: Tensor) -> Tensor:
        """Of points (K, D), shape (K,)."""
        white = (z - self.mean) @ self.root
        return -0.5 * (white**2).sum(1) + self.log_scale

    @property
    def log_scale(self) -> Tensor:
        """Log density at the mean."""
        return self.root.diagonal().log().sum() - 0.5 * len(self.mean) * math.log(2 * math.pi)


@dataclass(frozen=True)
class Estimate:
    """The log of an integral.

    Parameters
    ----------
    log_evidence : float
        Nats.
    standard_error : float
        By the delta method, nats; cannot exceed 1 and means little when `effective_samples` is below about ten: the
        evidence then is too low, by more than this, more often than not.
    effective_samples : float
        Of Kong (1992): ``(sum w)^2 / sum w^2``.
    bound : float
        Lower in expectation whatever the weights: log of the mean weight of an eighth of the samples, averaged
        (Burda et al. 2016, eq. 8).
    """

    log_evidence: float
    standard_error: float
    effective_samples: float
    bound: float


def estimate(log_weights: Tensor) -> Estimate:
    """What log weights (K,) of independent samples say of the integral.

    Whatever the weights, `log_evidence` exceeds the truth by more than 3 nats with a probability of at most 0.05
    (Markov's inequality: the mean weight is unbiased). It may well fall short of it: see `effective_samples`.
    """
    count = len(log_weights)
    w = log_weights.double()
    total = torch.logsumexp(w, 0)
    effective = float(torch.exp(2 * total - torch.logsumexp(2 * w, 0)))
    parts = [torch.logsumexp(p, 0) - math.log(len(p)) for p in w.tensor_split(min(GROUPS, count))]
    variance = max(1 / effective - 1 / count, 0.0) * count / max(count - 1, 1)
    return Estimate(float(total) - math.log(count), math.sqrt(variance), effective, float(torch.stack(parts).mean()))


def plain_weights(
    log_target: LogDensity, proposal: Gaussian, samples: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Log weights (samples,) of samples from a proposal, and the samples (samples, D)."""
    white = torch.randn(samples, len(proposal.mean), generator=generator, dtype=torch.float64)
    z = proposal.place(white)
    return log_target(z).double() - proposal.log_density(z), z


def annealed_weights(
    log_target: LogDensity,
    proposal: Gaussian,
    chains: int,
    temperatures: int,
    *,
    leaps: int = 2,
    step: float = 0.3,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Annealed importance sampling from a proposal to a target (Neal 2001, Statistics and Computing 11, 125).

    Between them stand the densities ``proposal^(1 - b) target^b``; at each a Hamiltonian move (Duane et al. 1987),
    accepted by the Metropolis rule, in coordinates that make the proposal standard normal.

    Parameters
    ----------
    log_target : callable
        Differentiable.
    proposal : Gaussian
    chains, temperatures : int
        Samples, and moves of each.
    leaps : int
        Gradients a move.
    step : float
        Length of a leap.
    generator : torch.Generator, optional

    Returns
    -------
    log_weights : Tensor, shape (chains,)
    z : Tensor, shape (chains, D)
        Where the chains end.
    accepted : float
        Share of moves.
    """

    def normal() -> Tensor:
        return torch.randn(chains, len(proposal.mean), generator=generator, dtype=torch.float64)

    def excess(u: Tensor) -> tuple[Tensor, Tensor]:
        """Log target over proposal, and its gradient."""
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            value = log_target(proposal.place(u)).double() - proposal.log_scale + 0.5 * (u**2).sum(1)
            (gradient,) = torch.autograd.grad(value.sum(), u)
        return value.detach(), gradient

    u = normal()
    value, gradient = excess(u)
    log_weights, accepted = torch.zeros(chains, dtype=torch.float64), 0.0
    ladder = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64).tolist()
    for k in range(1, temperatures + 1):
        b = ladder[k]
        log_weights += (b - ladder[k - 1]) * value
        if k == temperatures:
            break
        p = normal()
        length = step * (0.8 + 0.4 * float(torch.rand(1, generator=generator)))
        x, there, slope = u, value, gradient
        momentum = p + 0.5 * length * (b * slope - x)
        for leap in range(leaps):
            x = x + length * momentum
            there, slope = excess(x)
            momentum = momentum + (1.0 if leap + 1 < leaps else 0.5) * length * (b * slope - x)
        before = b * value - 0.5 * (u**2).sum(1) - 0.5 * (p**2).sum(1)
        after = b * there - 0.5 * (x**2).sum(1) - 0.5 * (momentum**2).sum(1)
        takes = torch.log(torch.rand(chains, generator=generator, dtype=torch.float64)) < after - before
        u = torch.where(takes[:, None], x, u)
        value, gradient = torch.where(takes, there, value), torch.where(takes[:, None], slope, gradient)
        accepted += float(takes.double().mean()) / max(temperatures - 1, 1)
    return log_weights, proposal.place(u), accepted
