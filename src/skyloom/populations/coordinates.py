"""The coordinates in which the population is a Gaussian mixture: unbounded, and as straight as may be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAMES", "from_coordinates", "to_coordinates"]

NAMES = ("f160w", "colour", "half_light_radius", "sersic_n", "q", "redshift")
"""F160W (AB mag), F814W - F160W (mag), log10 arcsec, and log odds or log of what follows."""

N_BOUNDS = (0.2, 8.0)
"""GALFIT's constraint on the Sersic index in van der Wel et al. (2012); the log of n lies between."""
Q_BOUNDS = (0.03, 1.0)

Column = NDArray[np.float64]


def to_coordinates(values: Mapping[str, Column]) -> Column:
    """Coordinates of galaxies, shape (N, 6).

    Parameters
    ----------
    values : mapping
        `NAMES`: magnitudes, circularised half-light radius (arcsec), Sersic index, axis ratio, redshift.
    """
    return np.stack(
        [
            np.asarray(values["f160w"], dtype=np.float64),
            np.asarray(values["colour"], dtype=np.float64),
            np.log10(values["half_light_radius"]),
            _log_odds(np.log(values["sersic_n"]), *np.log(N_BOUNDS)),
            _log_odds(values["q"], *Q_BOUNDS),
            np.log1p(values["redshift"]),
        ],
        axis=1,
    )


def from_coordinates(x: Column) -> dict[str, Column]:
    """Physical values of coordinates of shape (N, 6); the inverse of `to_coordinates`."""
    return {
        "f160w": x[:, 0],
        "colour": x[:, 1],
        "half_light_radius": 10.0 ** x[:, 2],
        "sersic_n": np.exp(_from_log_odds(x[:, 3], *np.log(N_BOUNDS))),
        "q": _from_log_odds(x[:, 4], *Q_BOUNDS),
        "redshift": np.expm1(x[:, 5]),
    }


def _log_odds(values: Column, low: float, high: float) -> Column:
    part = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    return np.log(part / (1 - part))


def _from_log_odds(x: Column, low: float, high: float) -> Column:
    return low + (high - low) / (1 + np.exp(-x))
