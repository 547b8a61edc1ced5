"""Arms, bars and rings in an encoder's maps: how coherent, how wound, how barred."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.validate.coherence import log_polar_modes, mode_statistics

__all__ = ["RADII", "armed", "in_log_radius", "map_statistics"]

logger = logging.getLogger(__name__)

RADII = (0.45, 3.2)
"""Range of radii looked at, half-light radii: inside the PSF reigns, outside the noise."""

ROWS = 32
"""Points in ln r."""

COHERENCE = ("ring", "chirality", "abs_chirality", "strongest", "m1", "m2", "m3", "m4")

MIN_CHIRALITY, MIN_RMS, MAX_PITCH = 0.3, 0.08, 45.0
"""What a map needs to have arms whose pitch means something: |chirality| and rms of f, and arms that wind (degrees)."""


def in_log_radius(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maps on rows evenly spaced in ln r within `RADII`, where a logarithmic spiral is one wave.

    Parameters
    ----------
    maps : ndarray, shape (N, R, P)
        On the nodes of `skyloom.generators.cvae.frame`.

    Returns
    -------
    ndarray, shape (N, 32, P)
        Linear between the nodes.
    """
    from skyloom.generators.cvae.frame import node_radii

    nodes = node_radii(maps.shape[1]).double().numpy()
    place = np.interp(np.geomspace(*RADII, ROWS), nodes, np.arange(len(nodes)))
    below = np.minimum(place.astype(int), len(nodes) - 2)
    share = (place - below)[:, None]
    return np.asarray(maps[:, below] * (1 - share) + maps[:, below + 1] * share)


def map_statistics(maps: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Numbers of each map.

    Parameters
    ----------
    maps : ndarray, shape (N, 32, 64)

    Returns
    -------
    dict of str to ndarray, shape (N,)
        ``ring``, ``chirality``, ``abs_chirality``, ``strongest`` and ``m1`` to ``m4`` as
        `skyloom.validate.coherence.mode_statistics` defines them, of `in_log_radius`; ``rms`` of f there
        about its mean; ``pitch`` (degrees) and ``bar`` (strength). NaN where a map has no structure, or nothing
        measures it.
    """
    even = in_log_radius(maps)
    rows = [mode_statistics(log_polar_modes(field)) for field in even]
    found = {
        name: np.array([row.get(f"coherence_{name}", np.nan) for row in rows], dtype=np.float64) for name in COHERENCE
    }
    found["rms"] = even.std((1, 2)) if len(even) else np.empty(0)  # a constant is flux, which an encoder leaves open
    return found | {"pitch": _structure("measured_pitch", maps), "bar": _structure("bar_strength", maps)}


def armed(statistics: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which maps have arms with a pitch angle: enough structure, wound one way, and wound at all.

    Parameters
    ----------
    statistics : mapping or Table
        With the ``abs_chirality``, ``rms`` and ``pitch`` of `map_statistics`.
    """
    chirality, rms, pitch = (np.asarray(statistics[name], dtype=float) for name in ("abs_chirality", "rms", "pitch"))
    with np.errstate(invalid="ignore"):
        return np.asarray((chirality >= MIN_CHIRALITY) & (rms >= MIN_RMS) & (pitch <= MAX_PITCH))


def _structure(name: str, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """A measurement that the generators bring along; NaN where it is not available."""
    import torch

    from skyloom.generators.cvae import structure

    measure: Callable[[Any], Any] | None = getattr(structure, name, None)
    if measure is None or not len(maps):
        return np.full(len(maps), np.nan)
    return np.asarray(measure(torch.from_numpy(maps.astype(np.float32))).double().numpy())
