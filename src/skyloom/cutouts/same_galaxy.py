"""One id for a galaxy that fields of several bands show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["shared_ids"]

TOLERANCE = 0.15
"""Arcsec between the positions of one galaxy in two bands."""


def shared_ids(
    rows: Sequence[Mapping[str, Any]],
    fields: Mapping[tuple[int, str], tuple[float, str, tuple[int, int]]],
) -> list[int]:
    """Ids of detections, the same for one galaxy in several bands.

    Fields have no common coordinates, but two of one group that show the same piece of sky in different
    bands have their sources at the same places from their centres: at least three, and at least 60 % of the
    bright ones of the field with fewer.

    Parameters
    ----------
    rows : sequence of mapping
        Detections with ``stamp``, ``band``, ``x``, ``y``, ``sn``, ``index``.
    fields : mapping of (stamp, band) to (pixel scale, group, (height, width))

    Returns
    -------
    list of int
        For each row: 10000 x stamp + its number in the field, of the galaxy's first band.
    """
    members: dict[tuple[int, str], list[Mapping[str, Any]]] = {key: [] for key in fields}
    ids = []
    for row in rows:
        key = (row["stamp"], row["band"])
        ids.append(10_000 * row["stamp"] + len(members[key]))
        members[key].append(row)
    sky = {key: _from_centre(members[key], fields[key]) for key in fields}
    bright = {key: np.array([r["sn"] > 30 for r in members[key]], dtype=bool) for key in fields}
    for one, two in combinations(sorted(fields), 2):
        if one[1] == two[1] or fields[one][1] != fields[two][1] or not len(sky[one]) or not len(sky[two]):
            continue
        distance = np.hypot(*(sky[two][:, None] - sky[one][None]).transpose(2, 0, 1))
        nearest = distance.argmin(1)
        close = (distance.min(1) < TOLERANCE) & (distance.argmin(0)[nearest] == np.arange(len(nearest)))
        both = close & bright[two] & bright[one][nearest]
        if both.sum() < max(3, 0.6 * min(bright[one].sum(), bright[two].sum())):
            continue
        for j in np.nonzero(close)[0]:
            ids[members[two][j]["index"]] = ids[members[one][nearest[j]]["index"]]
    return ids


def _from_centre(rows: Sequence[Mapping[str, Any]], field: tuple[float, str, tuple[int, int]]) -> NDArray[np.float64]:
    scale, _, (height, width) = field
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return (np.array([[r["x"], r["y"]] for r in rows]).reshape(-1, 2) - centre) * scale
