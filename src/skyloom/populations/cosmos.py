"""The population `cosmos`: galaxies of the sky by magnitude, in F814W and F160W.

A Gaussian mixture in `skyloom.populations.coordinates` gives size, Sersic index, axis ratio, redshift and colour
of a galaxy of a given magnitude; number counts say how many there are. scripts/fit_population.py fits both.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyloom.columns import read_ids
from skyloom.conditions import Conditions
from skyloom.errors import ConditionsError
from skyloom.populations.coordinates import NAMES, from_coordinates
from skyloom.populations.mixture import Mixture
from skyloom.rng import check_seed, galaxy_rng

__all__ = ["BANDS", "MAG_LIMITS", "CosmosPopulation", "load_cosmos"]

Column = NDArray[np.float64]

BANDS: dict[str, float] = {"f814w": 807.3, "f160w": 1537.0}
"""Effective wavelength of each band, nm."""
MAG_LIMITS = (18.0, 26.0)
"""Magnitudes, in either band, between which the fit holds."""
LIMITS: dict[str, tuple[float, float]] = {
    "half_light_radius": (0.01, 6.0),
    "sersic_n": (0.3, 6.2),
    "q": (0.05, 1.0),
    "redshift": (0.005, 7.0),
    "colour": (-1.0, 5.0),
}
"""Where a galaxy is drawn anew: beyond what was fitted, or what GalSim's Sersic can draw."""
TRIES = 8
PURPOSE = "population cosmos"


@dataclass(frozen=True, eq=False)
class CosmosPopulation:
    """Number counts and a mixture.

    Parameters
    ----------
    mixture : Mixture
        In the coordinates `NAMES`, of F160W.
    counts : mapping of str to ndarray
        By band: coefficients, highest power first, of log10(galaxies / deg^2 / mag) in (mag - 23).
    shift : ndarray, shape (6,)
        What is added to the coordinates for shapes in F814W.
    """

    mixture: Mixture
    counts: Mapping[str, Column]
    shift: Column

    def sample(
        self,
        size: int,
        *,
        seed: int,
        band: str = "f814w",
        mag: Sequence[float] = (18.0, 25.0),
        select_band: str | None = None,
        galaxy_id: ArrayLike | None = None,
        zero_point: float = 30.0,
    ) -> Conditions:
        """Draw galaxies; one id, seed, selection and range of magnitudes always give the same galaxy.

        Parameters
        ----------
        size : int
        seed : int
            In [0, 2**128).
        band : str
            Band of the magnitudes and shapes that are returned, a key of `BANDS`.
        mag : (float, float)
            AB magnitudes in `select_band`; within `MAG_LIMITS`.
        select_band : str, optional
            Band in which `mag` selects; `band` by default. The same galaxies in another band: another `band`,
            the same `select_band`.
        galaxy_id : array_like of int, optional
            Counts from 0 by default.
        zero_point : float
            AB magnitude that gives one electron over the exposure; replace it with the survey's.

        Returns
        -------
        Conditions
            With redshift, uniform position angles in [0, pi) and the band's wavelength.

        Raises
        ------
        ConditionsError
            For a band that is not there or magnitudes outside the fit.
        """
        low, high, chosen = _selection(mag, select_band or band)
        _check_band(band)
        if not _is_count(size):
            raise ConditionsError(f"the number of galaxies must be an integer from 0, not {size!r}")
        check_seed(seed)
        ids = read_ids(galaxy_id, int(size))
        x, beta = self._draw(ids, seed, chosen, low, high)
        shown = from_coordinates(x + self.shift if band == "f814w" else x)
        colour = x[:, 1] if band == "f814w" else 0.0
        return Conditions(
            galaxy_id=ids,
            mag=x[:, 0] + colour,
            zero_point=zero_point,
            half_light_radius=shown["half_light_radius"],
            sersic_n=shown["sersic_n"],
            q=shown["q"],
            redshift=shown["redshift"],
            beta=beta,
            wavelength=BANDS[band],
        )

    def density(
        self, *, band: str = "f814w", mag: Sequence[float] = (18.0, 25.0), select_band: str | None = None, **_: Any
    ) -> float:
        """Galaxies per square degree in a range of magnitudes, for the options of `sample`."""
        low, high, chosen = _selection(mag, select_band or band)
        grid = np.linspace(low, high, 513)
        return float(np.trapezoid(self.number_counts(grid, band=chosen), grid))

    def number_counts(self, mag: ArrayLike, *, band: str = "f814w") -> Column:
        """Galaxies per square degree and magnitude at `mag` (AB)."""
        _check_band(band)
        return np.asarray(10.0 ** np.polyval(self.counts[band], np.asarray(mag, dtype=np.float64) - 23.0))

    def _draw(self, ids: NDArray[np.int64], seed: int, band: str, low: float, high: float) -> tuple[Column, Column]:
        """Coordinates (N, 6) in F160W, and position angles: all numbers of a galaxy from its own stream."""
        size, width = len(ids), len(NAMES)
        streams = [galaxy_rng(seed, int(i), PURPOSE) for i in ids]
        first = np.array([s.random(2) for s in streams]).reshape(size, 2)
        grid = np.linspace(low, high, 2049)
        number = self.number_counts(grid, band=band)
        cumulative = np.append(0.0, np.cumsum((number[1:] + number[:-1]) / 2 * np.diff(grid)))
        mags = np.interp(first[:, 0] * cumulative[-1], cumulative, grid)
        direction = np.zeros(width)
        direction[:2] = 1.0, float(band == "f814w")
        x = np.empty((size, width))
        open_rows = np.arange(size)
        while len(open_rows):
            uniform = np.empty((len(open_rows), TRIES))
            normals = np.empty((len(open_rows), TRIES, width))
            for place, row in enumerate(open_rows):
                uniform[place] = streams[row].random(TRIES)
                normals[place] = streams[row].standard_normal((TRIES, width))
            tried = self.mixture.given(
                np.repeat(mags[open_rows], TRIES), direction, uniform.ravel(), normals.reshape(-1, width)
            )
            good = (self._inside(tried) & self._inside(tried + self.shift)).reshape(-1, TRIES)
            x[open_rows] = tried.reshape(-1, TRIES, width)[np.arange(len(open_rows)), good.argmax(axis=1)]
            open_rows = open_rows[~good.any(axis=1)]
        return x, first[:, 1] * math.pi

    @staticmethod
    def _inside(x: Column) -> NDArray[np.bool_]:
        values = from_coordinates(x)
        good = np.ones(len(x), dtype=bool)
        for name, (low, high) in LIMITS.items():
            good &= (values[name] >= low) & (values[name] <= high)
        return good


@functools.lru_cache(maxsize=1)
def load_cosmos() -> CosmosPopulation:
    """Read the fitted numbers."""
    document = json.loads(files("skyloom.populations").joinpath("cosmos.json").read_text(encoding="utf-8"))
    width = len(document["coordinates"])
    if document["coordinates"] != list(NAMES):
        raise ConditionsError(f"cosmos.json has the coordinates {document['coordinates']}, not {list(NAMES)}")
    lower = np.tril_indices(width)
    covariances = np.zeros((len(document["weights"]), width, width))
    for covariance, numbers in zip(covariances, document["covariances"], strict=True):
        covariance[lower] = numbers
        covariance.T[lower] = numbers
    weights = np.array(document["weights"])
    return CosmosPopulation(
        Mixture(weights / weights.sum(), np.array(document["means"]), covariances),
        {band: np.array(c) for band, c in document["counts"].items()},
        np.array(document["shift_to_f814w"]),
    )


def _is_count(size: Any) -> bool:
    return isinstance(size, (int, np.integer)) and not isinstance(size, bool) and int(size) >= 0


def _check_band(band: str) -> None:
    if band not in BANDS:
        raise ConditionsError(f"population 'cosmos' has no band {band!r:.40}; there are {', '.join(BANDS)}")


def _selection(mag: Sequence[float], band: str) -> tuple[float, float, str]:
    _check_band(band)
    try:
        low, high = (float(m) for m in mag)
    except (TypeError, ValueError):
        raise ConditionsError(f"a range of magnitudes is two numbers, not {mag!r:.60}") from None
    if not MAG_LIMITS[0] <= low < high <= MAG_LIMITS[1]:
        raise ConditionsError(
            f"population 'cosmos' knows {band} magnitudes {MAG_LIMITS[0]:g} to {MAG_LIMITS[1]:g}, "
            f"the brighter one first; {low:g} to {high:g} was asked for"
        )
    return low, high, band
