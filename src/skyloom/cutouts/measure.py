"""Conditions of real galaxies: PSF-convolved Sersic fits to cutouts, in batches.

Weights: inverse of the stamp's noise variance plus `fit_start.MODEL_FLOOR` of the smoothed galaxy, squared:
without it the pixels of a bright galaxy, whose arms and bars no Sersic has, and the PSF's own error would
tell a S/N that no model deserves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch

from skyloom.cutouts.fit_report import report
from skyloom.cutouts.fit_start import fit_window, prepare
from skyloom.cutouts.levenberg import Solution, minimise
from skyloom.cutouts.sersic_model import is_undersampled
from skyloom.stamps import Cutout, SersicFit

__all__ = ["fit_sersic"]

BATCH = 16
STARTS = (1.0, 2.5)
"""Sersic indices that the fit starts from; the better end is kept."""


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
    fits: list[SersicFit | None] = [None] * len(cutouts)
    kinds = [(fit_window(c), 1 + is_undersampled(c.psf), c.thresholded) for c in cutouts]
    order = sorted(range(len(cutouts)), key=lambda i: kinds[i])
    for (size, sampling, _), members in groupby(order, key=lambda i: kinds[i]):
        same = list(members)
        for first in range(0, len(same), BATCH):
            rows = same[first : first + BATCH]
            for i, fit in zip(rows, _fit_batch([cutouts[i] for i in rows], size, sampling), strict=True):
                fits[i] = fit
    return [fit for fit in fits if fit is not None]


@torch.no_grad()
def _fit_batch(cutouts: list[Cutout], size: int, sampling: int) -> list[SersicFit]:
    problem, guess, unit = prepare(cutouts, size, sampling)
    ends: list[Solution] = []
    for n in STARTS:
        start = guess.clone()
        start[:, 3] = float(np.log(n))
        ends.append(minimise(problem, start, steps=6))
    better = ends[0].cost <= ends[1].cost
    merged = Solution(
        **{
            name: torch.where(better.reshape(-1, *[1] * (one.ndim - 1)), one, getattr(ends[1], name))
            for name, one in vars(ends[0]).items()
        }
    )
    merged = minimise(problem, merged, steps=40)
    return report(cutouts, problem, unit, merged)
