"""Counterparts fitted as the real cutouts were: with one shape for all bands of a galaxy, where theirs have one.

A fit that shares centre, axis ratio and angle between bands leaves more of each band's structure than a fit of that
band alone. Judged by what fits leave, samples fitted band by band would look smoother than they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from skyloom.profiles import Generator
from skyloom.stamps import Cutout, FitFlag, SersicFit
from skyloom.validate.counterparts import Counterparts
from skyloom.validate.sample import Refit, batched

__all__ = ["MAX_RATIO", "bands_of", "counterparts_as_real", "shape_is_shared", "shapes_as_real", "shared_radii"]

MAX_RATIO = 3.0
"""Of sizes in two bands of one galaxy; a model's structure is not stretched further."""

_GALAXIES = 16  # whose fits are revised at a time


def counterparts_as_real(
    real: Sequence[Cutout], generator: Generator | None, refit: Refit, *, seed: int = 0, draws: int = 1
) -> tuple[list[Cutout], list[int]]:
    """Make counterparts whose bands share the radius that structure is scaled with, fitted by `shapes_as_real`.

    Parameters
    ----------
    real, generator, refit, seed, draws
        See `Counterparts`.

    Returns
    -------
    cutouts : list of Cutout
    rows : list of int
        The row of the real cutout of each.
    """
    source = Counterparts(real, generator, refit, seed=seed, draws=draws, structure_radius=shared_radii(real))
    made = list(source)
    fits = shapes_as_real(real, made, source.rows, source.draws_of)
    return [replace(cutout, fit=fits.get(i, cutout.fit)) for i, cutout in enumerate(made)], source.rows


def bands_of(cutouts: Sequence[Cutout]) -> dict[tuple[str, int], list[int]]:
    """Rows of each galaxy, from short to long wavelengths; without those of unknown wavelength."""
    known = [(cutout.wavelength, i, (cutout.source, cutout.galaxy_id)) for i, cutout in enumerate(cutouts)]
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for wavelength, i, galaxy in sorted(known):
        if np.isfinite(wavelength):
            found[galaxy].append(i)
    return found


def shared_radii(cutouts: Sequence[Cutout]) -> dict[tuple[str, int], float]:
    """Half-light radius (arcsec) of each galaxy, the median of ln r over its bands as in training.

    Galaxies with a band more than `MAX_RATIO` times larger or smaller are left out: a fit of theirs went wrong.
    """
    sizes: dict[tuple[str, int], list[float]] = defaultdict(list)
    for cutout in cutouts:
        if cutout.fit is not None and np.isfinite(cutout.wavelength):
            sizes[cutout.source, cutout.galaxy_id].append(float(np.log(cutout.fit.half_light_radius)))
    middle = {galaxy: float(np.median(own)) for galaxy, own in sizes.items()}
    return {
        galaxy: float(np.exp(middle[galaxy]))
        for galaxy, own in sizes.items()
        if np.abs(np.array(own) - middle[galaxy]).max() < np.log(MAX_RATIO)
    }


def shape_is_shared(fits: Sequence[SersicFit | None]) -> bool:
    """Whether fits of the bands of one galaxy have one axis ratio and angle, but for bands that gave it up."""
    shapes = [(fit.q, fit.beta) for fit in fits if fit is not None and FitFlag.OWN_SHAPE not in fit.flags]
    gave_up = any(fit is not None and FitFlag.OWN_SHAPE in fit.flags for fit in fits)
    return len(set(shapes)) <= 1 and (len(shapes) > 1 or gave_up)


def shapes_as_real(
    real: Sequence[Cutout], made: Sequence[Cutout], rows: Sequence[int], draws: Sequence[int]
) -> dict[int, SersicFit]:
    """Fits of counterparts with one shape a galaxy, where the fits of the real bands have one.

    Parameters
    ----------
    real : sequence of Cutout
        With fits.
    made : sequence of Cutout
        Counterparts, each fitted by itself.
    rows, draws : sequence of int
        Of each counterpart: the row of its real cutout, and which draw it is.

    Returns
    -------
    dict
        By row of `made`, the fits to put in place of its own.
    """
    from skyloom.cutouts.bands_together import galaxies_of, share_fitted_shape

    galaxies: list[tuple[str, int]] = []
    bands: dict[tuple[str, int], list[SersicFit | None]] = defaultdict(list)
    for cutout in real:
        galaxies.append((cutout.source, cutout.galaxy_id))
        bands[galaxies[-1]].append(cutout.fit)
    shared = {galaxy: shape_is_shared(fits) for galaxy, fits in bands.items()}
    chosen = [place for place, row in enumerate(rows) if shared[galaxies[row]]]
    several = galaxies_of((galaxies[rows[place]], draws[place]) for place in chosen)
    fits: dict[int, SersicFit] = {}
    for part in batched(several, _GALAXIES):
        places = [[chosen[i] for i in group] for group in part]
        found = share_fitted_shape([[made[place] for place in group] for group in places])
        fits |= dict(zip(chain(*places), chain(*found), strict=True))
    return fits
