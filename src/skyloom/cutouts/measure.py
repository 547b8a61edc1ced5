"""Conditions of real galaxies: PSF-convolved Sersic fits to cutouts, in batches.

Weights: inverse of the stamp's noise variance plus `fit_start.MODEL_FLOOR` of the smoothed galaxy, squared:
without it the pixels of a bright galaxy, whose arms and bars no Sersic has, and the PSF's own error would
tell a S/N that no model deserves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skyloom.cutouts.common_shape import Shape
from skyloom.cutouts.fit_instrument import psf_band
from skyloom.cutouts.fit_report import report
from skyloom.cutouts.fit_start import Moments, fit_window, moments_of, prepare
from skyloom.cutouts.levenberg import Problem, Solution, minimise
from skyloom.cutouts.sersic_model import DX, DY, ETA1, ETA2, LN_N, LN_R
from skyloom.stamps import Cutout, SersicFit

__all__ = ["fit_sersic", "fit_sersic_of_shape"]

BATCH = 16

START, OTHER_STARTS = 1.6, (0.7, 3.5)
"""Sersic index that a fit starts from, and those that one starts from again which did not converge or ended
with n on the edge of its range; the better end is kept."""

COARSE, COARSE_STEPS = 0.5, 3
"""The first steps are taken with this fraction of the wavenumbers along each axis: a third of the work, and
they need not be exact."""


def fit_sersic(cutouts: Sequence[Cutout]) -> list[SersicFit]:
    """Fit a Sersic profile to each cutout.

    Centre, half-light radius, n, axis ratio, angle, flux and a constant sky (held at 0 for thresholded
    cutouts) are found by Levenberg-Marquardt in k space, in float32; errors are those of the Hessian, times
    the square root of the noise's correlation area.

    Parameters
    ----------
    cutouts : sequence of Cutout

    Returns
    -------
    list of SersicFit
        In the same order. A fit that failed has `FitFlag.FAILED`; nothing is raised for a bad stamp.
    """
    fits: dict[int, SersicFit] = {}
    moments = [moments_of(c) for c in cutouts]
    for rows, (size, sampling, *_) in _batches([_kind(c, m) for c, m in zip(cutouts, moments, strict=True)]):
        problem = prepare([cutouts[i] for i in rows], [moments[i] for i in rows], int(size), int(sampling))
        fits.update(zip(rows, _fit_batch([cutouts[i] for i in rows], *problem), strict=True))
    return [fits[i] for i in range(len(cutouts))]


def fit_sersic_of_shape(
    cutouts: Sequence[Cutout], shapes: Sequence[Shape], starts: Sequence[SersicFit]
) -> list[SersicFit]:
    """Fit Sersic profiles whose centre, axis ratio and angle are given.

    Half-light radius, n, flux and sky are found as `fit_sersic` does.

    Parameters
    ----------
    cutouts : sequence of Cutout
    shapes : sequence of Shape
        Of each. A centre that is NaN is fitted.
    starts : sequence of SersicFit
        Where each fit starts.

    Returns
    -------
    list of SersicFit
        In the same order, with the shape's errors.
    """
    fits: dict[int, SersicFit] = {}
    moments = [moments_of(c) for c in cutouts]
    kinds = [(*_kind(c, m), bool(np.isfinite(s.dx))) for c, m, s in zip(cutouts, moments, shapes, strict=True)]
    for rows, (size, sampling, *_, centred) in _batches(kinds):
        problem = prepare([cutouts[i] for i in rows], [moments[i] for i in rows], int(size), int(sampling))
        given = [cutouts[i] for i in rows], [shapes[i] for i in rows], [starts[i] for i in rows]
        fits.update(zip(rows, _fit_shaped(*given, *problem, bool(centred)), strict=True))
    return [fits[i] for i in range(len(cutouts))]


def _kind(cutout: Cutout, moments: Moments) -> tuple[int, int, bool, float]:
    """What decides which stamps are fitted together: window, sampling, thresholded, and the PSF's band."""
    sampling, band = psf_band(cutout.psf)
    return fit_window(cutout, moments), sampling, cutout.thresholded, round(band, 1)


def _batches(kinds: Sequence[tuple[float, ...]]) -> Iterator[tuple[list[int], tuple[Any, ...]]]:
    order = sorted(range(len(kinds)), key=lambda i: kinds[i])
    for kind, members in groupby(order, key=lambda i: kinds[i]):
        same = list(members)
        for first in range(0, len(same), BATCH):
            yield same[first : first + BATCH], kind


@torch.no_grad()
def _fit_batch(
    cutouts: list[Cutout], problem: Problem, guess: torch.Tensor, unit: NDArray[np.float64]
) -> list[SersicFit]:
    solution = _from_start(problem, guess, START)
    n = solution.p[:, LN_N]
    doubtful = ~solution.converged | (n <= problem.low[:, LN_N]) | (n >= problem.high[:, LN_N])
    rows = torch.nonzero(doubtful)[:, 0]
    if len(rows):
        part = problem.rows(rows)
        for start in OTHER_STARTS:
            other = _from_start(part, guess[rows], start)
            better = other.cost < solution.cost[rows]
            for name, values in vars(solution).items():
                values[rows[better]] = getattr(other, name)[better]
    return report(cutouts, problem, unit, solution)


def _from_start(problem: Problem, guess: torch.Tensor, n: float) -> Solution:
    start = guess.clone()
    start[:, LN_N] = float(np.log(n))
    coarse = replace(problem, instrument=problem.instrument.narrowed(COARSE))
    start = minimise(coarse, start, steps=COARSE_STEPS, tolerance=1.0).p
    return minimise(problem, start, steps=40)


@torch.no_grad()
def _fit_shaped(
    cutouts: list[Cutout],
    shapes: list[Shape],
    starts: list[SersicFit],
    problem: Problem,
    guess: torch.Tensor,
    unit: NDArray[np.float64],
    centred: bool,
) -> list[SersicFit]:
    for i, (c, shape, start) in enumerate(zip(cutouts, shapes, starts, strict=True)):
        dx, dy = (shape.dx, shape.dy) if centred else (start.dx, start.dy)
        given = [dx / c.pixel_scale, dy / c.pixel_scale, shape.eta1, shape.eta2]
        guess[i, [DX, DY, ETA1, ETA2]] = torch.tensor(given, dtype=torch.float32)
        if np.isfinite([start.half_light_radius, start.sersic_n]).all() and start.half_light_radius > 0:
            guess[i, LN_R] = float(np.log(start.half_light_radius / c.pixel_scale))
            guess[i, LN_N] = float(np.log(start.sersic_n))
    problem = replace(problem, free=(LN_R, LN_N) if centred else (DX, DY, LN_R, LN_N))
    guess = torch.nan_to_num(guess)
    fits = report(cutouts, problem, unit, minimise(problem, guess, steps=30))
    return [_with_errors(fit, shape, centred) for fit, shape in zip(fits, shapes, strict=True)]


def _with_errors(fit: SersicFit, shape: Shape, centred: bool) -> SersicFit:
    angle = float(min(shape.eta_error / (2 * max(shape.eta, 1e-9)), np.pi / np.sqrt(12)))
    fit = replace(fit, q_error=shape.eta_error * shape.q, beta_error=angle)
    return replace(fit, dx_error=shape.centre_error, dy_error=shape.centre_error) if centred else fit
