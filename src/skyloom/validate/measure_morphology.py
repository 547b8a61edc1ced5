"""Non-parametric morphology, by statmorph."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from skyloom.validate.measure_flags import Measured, MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame
from skyloom.validate.measure_segment import segment

__all__ = ["MIN_SN_PER_PIXEL", "MORPHOLOGY", "measure_morphology"]

MIN_SN_PER_PIXEL = 2.5
"""Below it the numbers depend on the noise more than on the galaxy (Lotz et al. 2006, ApJ 636, 592)."""

MIN_SEGMENT = 12
"""Pixels of the smallest source that is measured."""

_QUANTITIES = {
    "concentration": "concentration",
    "asymmetry": "asymmetry",
    "smoothness": "smoothness",
    "gini": "gini",
    "m20": "m20",
    "multimode": "multimode",
    "intensity": "intensity",
    "deviation": "deviation",
    "sn_per_pixel": "sn_per_pixel",
    "petrosian_radius": "rpetro_ellip",
}
_INVALID = -99.0  # statmorph's word for "not measured"


@cache
def _statmorph() -> Any:
    """Statmorph's class without its Sersic fit and shape asymmetries, which take most of its time."""
    import statmorph

    class Morphology(statmorph.SourceMorphology):
        def _calculate_morphology(self) -> None:
            # the sky quantities too: the constructor's check of the background needs them
            for name in (*_QUANTITIES.values(), "sky_mean", "sky_sigma"):
                getattr(self, name)

    return Morphology


def measure_morphology(frame: Frame) -> Measured:
    """Measure concentration, asymmetry, smoothness, Gini, M20 and multimode, intensity, deviation.

    statmorph (Rodriguez-Gomez et al. 2019, MNRAS 483, 4140) on the segment of
    `skyloom.validate.measure_segment.segment`, with its own settings and without its Sersic fit; the numbers
    of a flag above 1 are dropped. In a thresholded stamp the pixels beyond the isophote count as empty sky.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
    """
    galaxy = segment(frame)
    if galaxy is None or galaxy.sum() < MIN_SEGMENT:
        return {}, MeasureFlag.FEW_PIXELS
    sigma = np.sqrt(np.where(frame.mask, frame.variance, np.median(frame.variance[frame.mask])))
    found = _statmorph()(
        frame.image,
        galaxy,
        1,
        mask=None if frame.cutout.thresholded else ~frame.mask,
        weightmap=sigma,
    )
    if found.flag > 1:
        return {}, MeasureFlag.FAILED
    values = {ours: float(found[theirs]) for ours, theirs in _QUANTITIES.items()}
    if _INVALID in values.values():
        return {}, MeasureFlag.FAILED
    values["petrosian_radius"] *= frame.scale
    flag = MeasureFlag.SUSPECT if found.flag == 1 else MeasureFlag(0)
    if values["sn_per_pixel"] < MIN_SN_PER_PIXEL:
        flag |= MeasureFlag.LOW_SNR
    return values, flag


MORPHOLOGY = Tool(
    "morphology",
    {name: "arcsec" if name == "petrosian_radius" else "" for name in _QUANTITIES},
    measure_morphology,
)
