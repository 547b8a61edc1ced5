"""What some metrics need beside the measured tables: reconstructions, and training galaxies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import galsim
import numpy as np
from astropy.table import Table

from skyloom.errors import SkyloomError
from skyloom.profiles import Generator, ProfileBatch
from skyloom.stamps import Cutout
from skyloom.validate.counterparts import draw_through
from skyloom.validate.run_samples import Progress, default_refit, in_part, measured_sample
from skyloom.validate.sample import batched, select

__all__ = ["reconstructions", "training_table"]

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
        ``reconstruction_chi2``, mean square residual a usable pixel in units of its noise, and
        ``reconstruction_mag``, shape (N,) each; empty without ``reconstruct``.
    """
    reconstruct: Callable[[Sequence[Cutout]], ProfileBatch] | None = getattr(generator, "reconstruct", None)
    if reconstruct is None:
        return {}
    chi2, mag = [], []
    for batch in batched(real):
        try:
            profiles = reconstruct(batch)
        except (SkyloomError, RuntimeError, ValueError) as exc:  # e.g. stamps of a size it does not take
            logger.warning("%s cannot reconstruct galaxies: %s", generator.spec.name, exc)
            return {}
        for galaxy, cutout in zip(profiles, batch, strict=True):
            chi2.append(_chi2(galaxy, cutout))
            mag.append(cutout.zero_point - 2.5 * np.log10(cutout.fit.flux) if cutout.fit else np.nan)
        if progress is not None:
            progress(f"reconstructing by {generator.spec.name}", len(chi2), len(real))
    return {"reconstruction_chi2": np.array(chi2), "reconstruction_mag": np.array(mag)}


def _chi2(galaxy: galsim.GSObject, cutout: Cutout) -> float:
    try:
        # the profile comes at its fitted place already
        image = draw_through(galaxy, cutout, shifted=False)
    except (galsim.GalSimError, SkyloomError):
        return float("nan")
    away = (cutout.image - image)[cutout.mask] ** 2 / cutout.variance[cutout.mask]
    return float(away.mean())


def training_table(
    cutouts: Sequence[Cutout], count: int, folder: Path, *, workers: int, progress: Progress | None
) -> Table | None:
    """Measurements of up to `count` galaxies of the training part, for memorisation; None with too few."""
    chosen, screening = select(cutouts, refit=default_refit, keep=in_part("train"), limit=count)
    if screening.kept < 20:
        return None
    resume = folder / f"measured-train-{count}-{screening.kept}.jsonl"
    sample = measured_sample("training galaxies", "real", chosen, workers=workers, resume=resume, progress=progress)
    return sample.table
