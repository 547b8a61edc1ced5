"""What a generator shows of itself on real galaxies: gain in evidence, exactness, response to shear."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.errors import SkyloomError
from skyloom.galaxy import LearnedGalaxy
from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.counterparts import asked_conditions, sersic_galaxy
from skyloom.validate.exactness import drawn_errors
from skyloom.validate.response import shape_response
from skyloom.validate.sample import batched

__all__ = ["generator_figures"]

logger = logging.getLogger(__name__)

GALAXIES = 100
"""How many are drawn for exactness and response."""


def generator_figures(generator: Generator, cutouts: Sequence[Cutout], *, seed: int = 0) -> dict[str, Any]:
    """What the metrics of a generator itself need, as entries of their context.

    Parameters
    ----------
    generator : Generator
    cutouts : sequence of Cutout
        Real galaxies with fits.
    seed : int

    Returns
    -------
    dict
        ``held_out_gain``, ``held_out_source`` and ``held_out_galaxy``, shape (N,) of the cutouts, where the generator
        has ``held_out(cutouts)``; and, of up to `GALAXIES` of the galaxies, ``exact_flux``,
        ``exact_half_light_radius`` (relative errors), ``exact_floor_flux``, ``exact_floor_half_light_radius`` (of
        Sersic profiles), shape (M,); ``shear_response`` and ``shear_ellipticity`` of the learned galaxy and of its
        Sersic, shape (M, 2, 2), the last axis the components.
    """
    found = _held_out(generator, cutouts)
    chosen = _some(cutouts)
    try:
        profiles = list(generator.sample(asked_conditions(chosen), seed=seed, out_of_range="parametric"))
    except SkyloomError as exc:
        logger.warning("%s gives no galaxies to draw: %s", generator.spec.name, exc)
        return found
    return found | _exactness(profiles) | _responses(profiles, chosen)


def _some(cutouts: Sequence[Cutout]) -> list[Cutout]:
    """Evenly spread in the file, one stamp an id."""
    step = max(1, len(cutouts) // (4 * GALAXIES))  # a galaxy may come in several bands
    by_id = {c.galaxy_id: c for c in (cutouts[i] for i in range(0, len(cutouts), step)) if c.fit is not None}
    unique = list(by_id.values())
    rows = np.unique(np.linspace(0, len(unique) - 1, min(GALAXIES, len(unique))).round().astype(int))
    return [unique[i] for i in rows]


def _held_out(generator: Generator, cutouts: Sequence[Cutout]) -> dict[str, Any]:
    held_out = getattr(generator, "held_out", None)
    if held_out is None:
        return {}
    gains, sources, galaxies = [], [], []
    for batch in batched(cutouts):
        try:
            figures: Mapping[str, NDArray[np.float64]] = held_out(batch)
        except (SkyloomError, RuntimeError, ValueError) as exc:  # e.g. stamps of a size it does not take
            logger.warning("%s cannot give its evidence: %s", generator.spec.name, exc)
            return {}
        gains.append(np.asarray(figures["gain"], dtype=np.float64))
        sources += [c.source for c in batch]
        galaxies += [f"{c.source} {c.galaxy_id}" for c in batch]
    gain = np.concatenate(gains) if gains else np.empty(0)
    return {"held_out_gain": gain, "held_out_source": np.array(sources), "held_out_galaxy": np.array(galaxies)}


def _exactness(profiles: Sequence[LearnedGalaxy]) -> dict[str, Any]:
    def errors(galaxies: Sequence[LearnedGalaxy]) -> NDArray[np.float64]:
        return np.array([drawn_errors(g) for g in galaxies], dtype=np.float64).reshape(-1, 2)

    learned, plain = errors(profiles), errors([_without_residual(g) for g in profiles])
    return {
        "exact_flux": learned[:, 0],
        "exact_half_light_radius": learned[:, 1],
        "exact_floor_flux": plain[:, 0],
        "exact_floor_half_light_radius": plain[:, 1],
    }


def _without_residual(galaxy: LearnedGalaxy) -> LearnedGalaxy:
    jacobian = np.asarray(galaxy.jacobian)
    stretch = galaxy.half_light_radius / np.sqrt(abs(np.linalg.det(jacobian)))
    return LearnedGalaxy(
        sersic_n=galaxy.sersic_n,
        flux=galaxy.flux,
        jacobian=jacobian * stretch,
        half_light_radius=galaxy.half_light_radius,
        q=galaxy.q,
        beta=galaxy.beta,
    )


def _responses(profiles: Sequence[galsim.GSObject], cutouts: Sequence[Cutout]) -> dict[str, Any]:
    pairs = [
        [shape_response(galaxy, cutout), shape_response(sersic_galaxy(cutout.fit), cutout)]
        for galaxy, cutout in zip(profiles, cutouts, strict=True)
        if cutout.fit is not None
    ]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2, 2, 2)  # galaxy, profile, kind, component
    return {"shear_response": both[:, :, 0], "shear_ellipticity": both[:, :, 1]}
