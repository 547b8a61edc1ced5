"""What can go wrong in a measurement, and what a measuring tool is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyloom.validate.measure_frame import Frame

__all__ = ["MeasureFlag", "Measured", "Tool"]


class MeasureFlag(IntFlag):
    """Bits of the ``flag_<tool>`` columns; 0 is good. From `FAILED` on, the tool's numbers are NaN."""

    SUSPECT = 1
    """The tool itself doubts its numbers (statmorph's flag 1; a centroid that wandered off)."""
    LOW_SNR = 2
    """Too faint to trust: fewer than 2.5 sigma a pixel for the morphology."""
    FAILED = 4
    """The tool gave up, or a number of its is not finite."""
    NO_FIT = 8
    """It needs a Sersic fit, and the cutout has none or a failed one."""
    FEW_PIXELS = 16
    """Too few usable pixels, or no source found at the centre."""
    BAD_INPUT = 32
    """The cutout itself cannot be used: see the log for the reason."""

    @property
    def lost(self) -> bool:
        """Whether there are no numbers."""
        return self >= MeasureFlag.FAILED


Measured = tuple[Mapping[str, float], MeasureFlag]
"""Numbers by column name, and what is wrong with them."""


@dataclass(frozen=True)
class Tool:
    """One group of measurements that succeed or fail together.

    Parameters
    ----------
    name : str
        Its flag's column is ``flag_<name>``.
    columns : mapping of str to str
        Unit of each quantity, ``""`` for a pure number.
    run : callable (Frame) -> (mapping of str to float, MeasureFlag)
        May raise: the measurement is then `MeasureFlag.FAILED`.
    """

    name: str
    columns: Mapping[str, str]
    run: Callable[[Frame], Measured]
