"""How far a Sersic fit of a real galaxy depends on which part of its structure is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import SkyloomError
from skyloom.stamps import Cutout, SersicFit
from skyloom.validate.measure_frame import prepare
from skyloom.validate.run_kept import Keeper, Progress, blockwise
from skyloom.validate.sample import BATCH, Refit

__all__ = ["SECTOR_COLUMNS", "sector_scatter"]

SECTOR_COLUMNS = ("fit_mag", "fit_half_light_radius", "fit_sersic_n", "fit_q")
"""Numbers of the fit that are compared; sizes in log10, as the metrics do."""


def sector_scatter(
    real: Sequence[Cutout], refit: Refit, *, keeper: Keeper | None = None, progress: Progress | None = None
) -> dict[str, NDArray[np.float64]]:
    """Scatter of each real galaxy's fit from noise and structure together.

    A galaxy's opposite quadrants, between its major and minor axis in the face-on disc, are fitted as one half, the
    other two as the other. With c_A and c_B what the halves give, independent in noise and structure,

        sigma = |c_A - c_B| / 2

    is the scatter of a fit to all of it: the delete-half jackknife (Shao & Wu 1989, Ann. Statist. 17, 1176). What both
    halves share, a ring or a spiral of four arms, is not seen: the scatter is rather too small than too large.

    Parameters
    ----------
    real : sequence of Cutout
        With fits.
    refit : callable
        The fit that they had.
    keeper : Keeper, optional
    progress : callable, optional

    Returns
    -------
    dict
        ``sector_<column>`` for each of `SECTOR_COLUMNS`, shape (N,); NaN where a half could not be fitted.
    """

    def compute(batch: list[Cutout]) -> list[dict[str, Any]]:
        halves = [_numbers(refit([_half(c, side) for c in batch]), batch) for side in (True, False)]
        return [dict(zip(SECTOR_COLUMNS, row, strict=True)) for row in (np.abs(halves[0] - halves[1]) / 2).tolist()]

    rows = blockwise(
        real, compute, SECTOR_COLUMNS, stage="sectors", block=BATCH, keeper=keeper, progress=progress,
        shown="fitting halves of real galaxies",
    )  # fmt: skip
    return {f"sector_{name}": np.array([row[name] for row in rows], dtype=np.float64) for name in SECTOR_COLUMNS}


def _half(cutout: Cutout, first: bool) -> Cutout:
    try:
        along, across = prepare(cutout).disc
    except SkyloomError:  # it cannot be measured either; its own fit fails on an empty mask
        return replace(cutout, mask=np.zeros_like(cutout.mask))
    return replace(cutout, mask=cutout.mask & ((along * across > 0) == first))


def _numbers(fits: Sequence[SersicFit], cutouts: Sequence[Cutout]) -> NDArray[np.float64]:
    rows = np.full((len(fits), len(SECTOR_COLUMNS)), np.nan)
    for row, fit, cutout in zip(rows, fits, cutouts, strict=True):
        if fit.flux > 0 and fit.half_light_radius > 0:
            mag = cutout.zero_point - 2.5 * np.log10(fit.flux)
            row[:] = mag, np.log10(fit.half_light_radius), fit.sersic_n, fit.q
    return rows
