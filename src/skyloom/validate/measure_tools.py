"""All tools, and all of them on one cutout."""

from __future__ import annotations

import logging
import warnings

import numpy as np

from skyloom.errors import SkyloomError
from skyloom.stamps import Cutout
from skyloom.validate.coherence import COHERENCE
from skyloom.validate.measure_fit import FIT
from skyloom.validate.measure_flags import MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame, prepare
from skyloom.validate.measure_moments import MOMENTS
from skyloom.validate.measure_morphology import MORPHOLOGY
from skyloom.validate.measure_pixels import PIXELS
from skyloom.validate.measure_profile import GROWTH, PROFILE
from skyloom.validate.measure_residual import RESIDUAL

__all__ = ["FLAGS", "QUANTITIES", "TOOLS", "measure_cutout"]

logger = logging.getLogger(__name__)

TOOLS: tuple[Tool, ...] = (FIT, MOMENTS, MORPHOLOGY, GROWTH, PROFILE, RESIDUAL, PIXELS, COHERENCE)

QUANTITIES: dict[str, str] = {column: unit for tool in TOOLS for column, unit in tool.columns.items()}
"""Unit of each measured column, in the table's order."""

FLAGS: tuple[str, ...] = tuple(f"flag_{tool.name}" for tool in TOOLS)
"""The flags' columns."""


def measure_cutout(cutout: Cutout) -> dict[str, float]:
    """Measure everything on one cutout.

    Never raises for what is wrong with the cutout: the numbers are then NaN, and the flags say why.

    Parameters
    ----------
    cutout : Cutout

    Returns
    -------
    dict of str to float
        All of `QUANTITIES`, and all of `FLAGS` as whole numbers.
    """
    values: dict[str, float] = dict.fromkeys(QUANTITIES, float("nan"))
    try:
        frame = prepare(cutout)
    except SkyloomError as exc:
        logger.info("galaxy %s of %s (%s) cannot be measured: %s", cutout.galaxy_id, cutout.source, cutout.band, exc)
        return values | dict.fromkeys(FLAGS, int(MeasureFlag.BAD_INPUT))
    for tool in TOOLS:
        found, flag = _run(tool, frame)
        values.update(found)
        values[f"flag_{tool.name}"] = int(flag)
    return values


def _run(tool: Tool, frame: Frame) -> tuple[dict[str, float], MeasureFlag]:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # statmorph and its kind warn of what they flag
            warnings.simplefilter("ignore")
            found, flag = tool.run(frame)
    except Exception as exc:  # a tool may fail in any way on a strange galaxy; the others go on
        logger.debug("galaxy %s: %s failed: %s: %s", frame.cutout.galaxy_id, tool.name, type(exc).__name__, exc)
        return {}, MeasureFlag.FAILED
    if flag.lost:
        return {}, flag
    if len(found) < len(tool.columns):
        return {}, flag | MeasureFlag.FAILED
    return dict(found), flag
