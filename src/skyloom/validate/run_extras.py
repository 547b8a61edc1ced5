"""What some metrics need beside the measured tables: reconstructions, and training galaxies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import galsim
import numpy as np
from astropy.table import Table
from scipy.ndimage import uniform_filter

from skyloom.errors import SkyloomError
from skyloom.profiles import Generator, ProfileBatch
from skyloom.stamps import Cutout
from skyloom.validate.drawing import draw_through, known_fit, sersic_galaxy
from skyloom.validate.run_kept import Keeper, Progress, blockwise
from skyloom.validate.run_samples import default_refit, in_part, measured_sample
from skyloom.validate.sample import BATCH, select

__all__ = ["reconstructions", "training_table"]

MODEL_FLOOR = 0.03
"""Share of the light in a pixel that the training counts as error of PSF and model."""

_COLUMNS = ("chi2", "chi2_floor", "sersic_chi2", "sersic_chi2_floor", "mag", "galaxy")

logger = logging.getLogger(__name__)


def reconstructions(
    generator: Generator, real: Sequence[Cutout], progress: Progress | None = None, keeper: Keeper | None = None
) -> dict[str, Any]:
    """How well a generator that can encode galaxies gives back those it is shown.

    Parameters
    ----------
    generator : Generator
        With ``reconstruct(cutouts) -> ProfileBatch``; another gives nothing.
    real : sequence of Cutout
    progress : callable, optional
    keeper : Keeper, optional
        Where results are kept.

    Returns
    -------
    dict
        ``reconstruction_chi2``, mean square residual a usable pixel in units of its noise,
        ``reconstruction_chi2_floor``, with `MODEL_FLOOR` of the light added to the noise in quadrature,
        ``reconstruction_sersic_chi2`` and ``reconstruction_sersic_chi2_floor``, those of the Sersic fits,
        ``reconstruction_mag`` and ``reconstruction_galaxy`` (a name), shape (N,) each; empty without
        ``reconstruct``.
    """
    reconstruct: Callable[[Sequence[Cutout]], ProfileBatch] | None = getattr(generator, "reconstruct", None)
    if reconstruct is None:
        return {}

    def compute(batch: list[Cutout]) -> list[dict[str, Any]]:
        return [_row(galaxy, cutout) for galaxy, cutout in zip(reconstruct(batch), batch, strict=True)]

    shown = f"reconstructing by {generator.spec.name}"
    try:
        rows = blockwise(
            real, compute, _COLUMNS, stage="reconstructed", block=BATCH, keeper=keeper, progress=progress, shown=shown
        )
    except (SkyloomError, RuntimeError, ValueError) as exc:  # e.g. stamps of a size it does not take
        logger.warning("%s cannot reconstruct galaxies: %s", generator.spec.name, exc)
        return {}
    return {f"reconstruction_{name}": np.array([row[name] for row in rows]) for name in _COLUMNS}


def _row(galaxy: galsim.GSObject, cutout: Cutout) -> dict[str, Any]:
    fit = known_fit(cutout)
    chi2, floored = _chi2(galaxy, cutout, shifted=False)  # it comes at its fitted place already
    plain, plain_floored = _chi2(sersic_galaxy(fit), cutout, shifted=True)
    return {
        "chi2": chi2,
        "chi2_floor": floored,
        "sersic_chi2": plain,
        "sersic_chi2_floor": plain_floored,
        "mag": float(cutout.zero_point - 2.5 * np.log10(fit.flux)),
        "galaxy": f"{cutout.source} {cutout.galaxy_id}",
    }


def _chi2(galaxy: galsim.GSObject, cutout: Cutout, *, shifted: bool) -> tuple[float, float]:
    """Mean over usable pixels, of noise alone and with the floor."""
    try:
        image = draw_through(galaxy, cutout, shifted=shifted)
    except (galsim.GalSimError, SkyloomError):
        return float("nan"), float("nan")
    mask, sky = cutout.mask, cutout.fit.sky if cutout.fit is not None else 0.0
    light = uniform_filter(np.where(mask, cutout.image - sky, 0.0), 3, mode="constant").clip(0)  # as in the training
    square, variance = ((cutout.image - image)[mask]) ** 2, cutout.variance[mask].astype(np.float64)
    floored = variance + (MODEL_FLOOR * light[mask]) ** 2
    return float((square / variance).mean()), float((square / floored).mean())


def training_table(
    cutouts: Sequence[Cutout], count: int, folder: Path, *, workers: int, progress: Progress | None
) -> Table | None:
    """Measurements of up to `count` galaxies of the training part, for memorisation; None with too few."""
    chosen, screening = select(cutouts, refit=default_refit, only=in_part("train"), limit=count)
    if screening.kept < 20:
        return None
    resume = folder / f"measured-train-{count}-{screening.kept}.jsonl"
    sample = measured_sample("training galaxies", "real", chosen, workers=workers, resume=resume, progress=progress)
    return sample.table
