"""A Gaussian about the maximum of a posterior, as wide as the images' derivatives tell."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skyloom.generators.cvae.annealing import Gaussian, LogDensity
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.likelihood import residuals

__all__ = ["sharpened"]

_STEPS = 80
_BATCH = 32
_STRIDE = 0.5


def sharpened(
    log_target: LogDensity,
    images: Callable[[Tensor], tuple[Tensor, Tensor]],
    base: Gaussian,
    start: Gaussian,
    stamps: Stamps,
) -> Gaussian:
    """Laplace's approximation, its curvature that of Gauss and Newton: J^T W J of the whitened residuals.

    Parameters
    ----------
    log_target : callable
        Differentiable.
    images : callable
        Latents (K, D) to images (K times as many as the galaxy's stamps, S, S) and rows of stamps.
    base : Gaussian
        Close to the prior.
    start : Gaussian
        From whose mean the maximum is looked for, and in whose units.
    stamps : Stamps

    Returns
    -------
    Gaussian
    """
    u = torch.zeros(1, len(start.mean), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([u], betas=(0.8, 0.98))
    with torch.enable_grad():
        for step in range(_STEPS):
            optimiser.param_groups[0]["lr"] = 0.15 * (1 - step / _STEPS) + 0.005
            optimiser.zero_grad()
            (u.grad,) = torch.autograd.grad(-log_target(start.place(u)).sum(), u)
            optimiser.step()
    best = start.place(u.detach())[0]
    return Gaussian.of(best, base.root @ base.root.T + _information(best, images, start, stamps))


@torch.no_grad()
def _information(
    z: Tensor, images: Callable[[Tensor], tuple[Tensor, Tensor]], start: Gaussian, stamps: Stamps
) -> Tensor:
    """What the pixels tell of latents (D,), all correlations in it: J^T W J by differences half an error wide."""

    def white(z: Tensor) -> Tensor:
        made, rows = images(z)
        return residuals(made, stamps, rows)[1].double().view(len(z), -1)

    here = white(z[None])[0]
    width = _STRIDE * torch.cholesky_inverse(start.root).diagonal().sqrt()
    slopes = []
    for row in torch.arange(len(z)).split(_BATCH):
        moved = z.repeat(len(row), 1)
        moved[torch.arange(len(row)), row] += width[row]
        slopes.append((white(moved) - here) / width[row, None])
    slope, dof = torch.cat(slopes), stamps.likelihood.student_dof
    return (slope * ((dof + 1) / (dof + here**2))) @ slope.T
