"""Zero points that cannot be right beside those of the same source and band."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Magnitude", "odd_zero_points"]

FEWEST = 5
"""Galaxies of a source and band that share a zero point, for another to be odd."""

OFF = 0.5
"""Magnitudes by which zero points differ that are not the same."""

BEYOND = 1.0
"""Magnitudes outside the range of the others."""


@dataclass(frozen=True)
class Magnitude:
    """A cutout's zero point, and the magnitude that it gives the galaxy."""

    source: str
    band: str
    zero_point: float
    mag: float


def odd_zero_points(found: Sequence[Magnitude]) -> dict[int, str]:
    """Which cutouts have a zero point that makes them brighter or fainter than all others of their source and band.

    Zero points may differ with the exposure: one is odd only if it is `OFF` away from that of most of the source and
    band, and takes the galaxy more than `BEYOND` outside the range of their magnitudes.

    Parameters
    ----------
    found : sequence of Magnitude

    Returns
    -------
    dict of int to str
        By its place in `found`: the values at fault.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, one in enumerate(found):
        groups[one.source, one.band].append(i)
    odd = {}
    for (source, band), members in groups.items():
        usual = float(np.median([found[i].zero_point for i in members]))
        mags = [found[i].mag for i in members if abs(found[i].zero_point - usual) <= OFF]
        if len(mags) < FEWEST:
            continue
        low, high = min(mags), max(mags)
        for i in members:
            one = found[i]
            if abs(one.zero_point - usual) > OFF and not low - BEYOND < one.mag < high + BEYOND:
                odd[i] = (
                    f"{one.zero_point:g} makes it magnitude {one.mag:.1f}; others of {source} {band} have {usual:g} and"
                    f" {low:.1f} to {high:.1f}"
                )
    return odd
