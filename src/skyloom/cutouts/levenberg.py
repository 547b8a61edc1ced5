"""Levenberg-Marquardt for a batch of Sersic fits at once, in a box, with Gaussian priors.

Marquardt (1963, SIAM J. Appl. Math. 11, 431), with the scaling of Moré (1978, Lect. Notes Math. 630, 105).
Flux and sky enter linearly: they are solved for exactly at each step (variable projection, Golub & Pereyra
1973), and their columns stand in the normal equations, so that errors are those of all parameters together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from skyloom.cutouts.fit_instrument import Instrument
from skyloom.cutouts.sersic_model import ALL, model_images

__all__ = ["Problem", "Solution", "minimise"]


@dataclass(frozen=True)
class Problem:
    """B stamps to fit.

    Parameters
    ----------
    instrument : Instrument
    data, weight : Tensor, shape (B, S, S)
        Weight: inverse variance, 0 for pixels that are not used.
    ceiling : Tensor of bool, shape (B, S, S)
        Pixels that are known to be no brighter than `data`, and no more: they count where the model is above
        it.
    low, high : Tensor, shape (B, 6)
        The box.
    prior_mean, prior_sigma : Tensor, shape (B, 6)
        Gaussian; sigma infinite for none.
    sky_sigma : Tensor, shape (B,)
        Of the Gaussian prior about 0 on the sky; 0 fixes it.
    free : tuple of int
        Columns of the parameters that are fitted; the others stay where they start.
    """

    instrument: Instrument
    data: torch.Tensor
    weight: torch.Tensor
    ceiling: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    prior_mean: torch.Tensor
    prior_sigma: torch.Tensor
    sky_sigma: torch.Tensor
    free: tuple[int, ...] = ALL

    def rows(self, index: torch.Tensor) -> Problem:
        """Some of the stamps."""
        if len(index) == len(self.data):
            return self
        parts: dict[str, Any] = {
            name: part[index] for name, part in vars(self).items() if isinstance(part, torch.Tensor)
        }
        return replace(self, instrument=self.instrument.rows(index), **parts)


@dataclass
class Solution:
    """Where B fits stand.

    Parameters
    ----------
    p : Tensor, shape (B, 6)
    linear : Tensor, shape (B, 2)
        Flux and sky.
    cost : Tensor, shape (B,)
        chi2 plus priors.
    damping : Tensor, shape (B,)
    converged : Tensor of bool, shape (B,)
    normal : Tensor, shape (B, 8, 8)
        J^T W J with priors, of the six parameters, flux and sky, where the last step began.
    """

    p: torch.Tensor
    linear: torch.Tensor
    cost: torch.Tensor
    damping: torch.Tensor
    converged: torch.Tensor
    normal: torch.Tensor


def minimise(problem: Problem, start: torch.Tensor | Solution, steps: int, tolerance: float = 0.1) -> Solution:
    """Take up to `steps` steps from `start`, (B, 6) parameters or an earlier solution.

    A fit has converged when a step would lower chi2 by less than `tolerance`. Those that have are left alone
    while the others go on.
    """
    if isinstance(start, torch.Tensor):
        p = torch.clamp(start, problem.low, problem.high)
        _, linear, cost, _, _ = _evaluate(problem, p)
        size = len(p)
        solution = Solution(
            p,
            linear,
            cost,
            torch.full((size,), 1e-2),
            torch.zeros(size, dtype=torch.bool),
            torch.zeros(size, 8, 8),
        )
    else:
        solution = start
    for _ in range(steps):
        active = torch.nonzero(~solution.converged)[:, 0]
        if len(active) == 0:
            break
        _step(problem.rows(active), solution, active, tolerance)
    return solution


def _evaluate(
    problem: Problem, p: torch.Tensor, jacobian: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Unit-flux images, best flux and sky, cost, weights that count, derivatives."""
    image, derivatives = model_images(problem.instrument, p, jacobian=jacobian, columns=problem.free)
    w, d = torch.where(problem.ceiling, 0.0, problem.weight), problem.data
    linear = _flux_and_sky(problem, image, w)
    if problem.ceiling.any():
        for _ in range(3):  # which pixels are above their ceiling depends on the flux, and the other way round
            above = ~problem.ceiling | (linear[:, :1, None] * image + linear[:, 1:, None] > d)
            w = torch.where(above, problem.weight, 0.0)
            linear = _flux_and_sky(problem, image, w)
        # A pixel that has just come below counts no more: the cost is that of a one-sided parabola.
        above = ~problem.ceiling | (linear[:, :1, None] * image + linear[:, 1:, None] > d)
        w = torch.where(above, problem.weight, 0.0)
    residual = d - linear[:, :1, None] * image - linear[:, 1:, None]
    prior = (((p - problem.prior_mean) / problem.prior_sigma) ** 2).sum(1) + linear[:, 1] ** 2 * _sky_prior(problem)
    return image, linear, (w * residual**2).sum((1, 2)) + prior, w, derivatives


def _sky_prior(problem: Problem) -> torch.Tensor:
    return torch.where(problem.sky_sigma > 0, problem.sky_sigma, 1.0) ** -2


def _flux_and_sky(problem: Problem, image: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    free = problem.sky_sigma > 0
    a = (w * image * image).sum((1, 2)).clamp(min=1e-30)
    b = torch.where(free, (w * image).sum((1, 2)), 0.0)
    c = torch.where(free, w.sum((1, 2)), 0.0) + _sky_prior(problem)
    u = (w * image * problem.data).sum((1, 2))
    v = torch.where(free, (w * problem.data).sum((1, 2)), 0.0)
    determinant = (a * c - b * b).clamp(min=1e-30)
    return torch.stack([(c * u - b * v) / determinant, (a * v - b * u) / determinant], dim=1)


def _step(problem: Problem, solution: Solution, rows: torch.Tensor, tolerance: float) -> None:
    p, damping = solution.p[rows], solution.damping[rows]
    image, linear, cost, weight, derivatives = _evaluate(problem, p, jacobian=True)
    assert derivatives is not None
    residual = problem.data - linear[:, :1, None] * image - linear[:, 1:, None]
    columns = torch.cat([derivatives, image[:, None], torch.ones_like(image[:, None]), residual[:, None]], dim=1)
    columns = columns.flatten(2)
    products = torch.bmm(columns * weight.flatten(1)[:, None], columns.transpose(1, 2)).double()
    # By the flux for those of the profile, and none where the sky is held at 0.
    factor = torch.ones(len(p), columns.shape[1], dtype=torch.float64)
    factor[:, :-3] = linear[:, :1].double()
    factor[:, -2] = (problem.sky_sigma > 0).double()
    products *= factor[:, :, None] * factor[:, None]
    places = torch.tensor([*problem.free, 6, 7])
    normal = torch.zeros(len(p), 8, 8, dtype=torch.float64)
    gradient = torch.zeros(len(p), 8, dtype=torch.float64)
    normal[:, places[:, None], places] = products[:, :-1, :-1]
    gradient[:, places] = products[:, :-1, -1]
    precision = torch.zeros(len(p), 8, dtype=torch.float64)
    precision[:, :6] = problem.prior_sigma.double() ** -2
    precision[:, 7] = torch.where(problem.sky_sigma > 0, problem.sky_sigma, 1.0).double() ** -2
    normal = normal + torch.diag_embed(precision)
    gradient[:, :6] += precision[:, :6] * (problem.prior_mean - p).double()
    gradient[:, 7] -= precision[:, 7] * linear[:, 1].double()
    solution.normal[rows] = normal.float()

    # A parameter on the box's edge whose gradient points out of it is held.
    edge = 1e-6
    held = ((p <= problem.low + edge) & (gradient[:, :6] < 0)) | ((p >= problem.high - edge) & (gradient[:, :6] > 0))
    frozen = torch.ones(6, dtype=torch.bool)
    frozen[list(problem.free)] = False
    held = torch.cat([held | frozen, torch.zeros(len(p), 2, dtype=torch.bool)], dim=1)
    keep = (~held).double()
    scale = torch.sqrt(torch.diagonal(normal, dim1=1, dim2=2)).clamp(min=1e-30)
    unit = normal / (scale[:, :, None] * scale[:, None]) * keep[:, :, None] * keep[:, None]
    unit = unit + torch.diag_embed(damping[:, None].double() * keep + (1 - keep) + 1e-9)
    g = gradient / scale * keep
    move = torch.nan_to_num(torch.linalg.solve(unit, g))  # of a stamp without a usable pixel
    promised = (g * move).sum(1)  # twice the drop of half chi2 a Newton step would bring: the drop of chi2
    new = torch.clamp(p + (move / scale)[:, :6].float(), problem.low, problem.high)
    _, new_linear, new_cost, _, _ = _evaluate(problem, new)
    better = (new_cost < cost) & (new_linear[:, 0] > 0)

    solution.p[rows] = torch.where(better[:, None], new, p)
    solution.linear[rows] = torch.where(better[:, None], new_linear, linear)
    solution.cost[rows] = torch.where(better, new_cost, cost)
    solution.damping[rows] = torch.where(better, damping / 8, damping * 6).clamp(1e-7, 1e6)
    small = torch.where(better, (cost - new_cost).double(), promised) < tolerance
    solution.converged[rows] = small & ((damping < 1) | ~better) & (promised < 10 * tolerance)
