"""The histogram of a galaxy's pixels, in a few numbers."""

from __future__ import annotations

import numpy as np

from skyloom.validate.measure_flags import Measured, MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame

__all__ = ["PIXELS", "measure_pixels"]

EDGE = 2.0
"""Half-light radii within which pixels count."""

PERCENTILES = (5, 25, 50, 75, 95, 99)


def measure_pixels(frame: Frame) -> Measured:
    """Measure percentiles and skewness of the pixels within two half-light radii, in units of their mean.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
    """
    if frame.fit is None:
        return {}, MeasureFlag.NO_FIT
    values = frame.image[frame.mask & (frame.radius < EDGE)]
    if len(values) < 20 or not values.mean() > 0:
        return {}, MeasureFlag.FEW_PIXELS
    values = values / values.mean()
    skewness = ((values - 1) ** 3).mean() / max(float(values.std()), 1e-12) ** 3
    found = {f"pixels_p{p:02d}": float(v) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
    return {**found, "pixels_skewness": float(skewness)}, MeasureFlag(0)


PIXELS = Tool(
    "pixels",
    {**{f"pixels_p{p:02d}": "" for p in PERCENTILES}, "pixels_skewness": ""},
    measure_pixels,
)
