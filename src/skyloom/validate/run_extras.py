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
from skyloom.validate.counterparts import draw_through, sersic_galaxy
from skyloom.validate.run_samples import Progress, default_refit, in_part, measured_sample
from skyloom.validate.sample import batched, select

__all__ = ["reconstructions", "training_table"]

MODEL_FLOOR = 0.03
"""Share of the light in a pixel that the training counts as error of PSF and model."""

logger = logging.getLogger(__name__)


def reconstructions(generator: Generator, real: Sequence[Cutout], progress: Progress | None = None) -> dict[str, Any]:
    """How well a generator that can encode galaxies gives back those it is shown.

    Parameters
    ----------
    generator : Generator
        With ``reconstruct(cutouts) -> ProfileBatch``; another gives nothing.
    real : sequence of Cutout
    progress : callable, optional

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
    chi2, mag, names = [], [], []
    for batch in batched(real):
        try:
            profiles = reconstruct(batch)
        except (SkyloomError, RuntimeError, ValueError) as exc:  # e.g. stamps of a size it does not take
            logger.warning("%s cannot reconstruct galaxies: %s", generator.spec.name, exc)
            return {}
        for galaxy, cutout in zip(profiles, batch, strict=True):
            assert cutout.fit is not None  # else it could not be reconstructed
            plain = _chi2(sersic_galaxy(cutout.fit), cutout, shifted=True)
            # the reconstructed profile comes at its fitted place already
            chi2.append((*_chi2(galaxy, cutout, shifted=False), *plain))
            names.append(f"{cutout.source} {cutout.galaxy_id}")
            mag.append(cutout.zero_point - 2.5 * np.log10(cutout.fit.flux))
        if progress is not None:
            progress(f"reconstructing by {generator.spec.name}", len(chi2), len(real))
    kinds = ("chi2", "chi2_floor", "sersic_chi2", "sersic_chi2_floor")
    columns = np.array(chi2).reshape(-1, 4).T
    found = {f"reconstruction_{kind}": values for kind, values in zip(kinds, columns, strict=True)}
    return {**found, "reconstruction_mag": np.array(mag), "reconstruction_galaxy": np.array(names)}


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
