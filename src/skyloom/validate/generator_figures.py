"""What a generator shows of itself on real galaxies: gain in evidence, exactness, response to shear."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.errors import SkyloomError
from skyloom.galaxy import LearnedGalaxy
from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.counterparts import asked_conditions
from skyloom.validate.drawing import known_fit, sersic_galaxy
from skyloom.validate.exactness import drawn_errors
from skyloom.validate.response import shape_response
from skyloom.validate.run_kept import Keeper, Progress, blockwise
from skyloom.validate.sample import BATCH

__all__ = ["generator_figures"]

logger = logging.getLogger(__name__)

_EXACT = ("exact_flux", "exact_half_light_radius", "exact_floor_flux", "exact_floor_half_light_radius")
_SHEARED = tuple(f"{of}_{kind}_{i}" for of in ("learned", "sersic") for kind in ("response", "e") for i in (1, 2))
_Pair = tuple[LearnedGalaxy, Cutout]

GALAXIES = 100
"""How many are drawn for exactness and response."""


def generator_figures(
    generator: Generator,
    cutouts: Sequence[Cutout],
    *,
    seed: int = 0,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> dict[str, Any]:
    """What the metrics of a generator itself need, as entries of their context.

    Parameters
    ----------
    generator : Generator
    cutouts : sequence of Cutout
        Real galaxies with fits.
    seed : int
    progress : callable, optional
    keeper : Keeper, optional
        Where results are kept.

    Returns
    -------
    dict
        ``held_out_gain``, ``held_out_source`` and ``held_out_galaxy``, shape (N,) of the cutouts, where the generator
        has ``held_out(cutouts)``; and, of up to `GALAXIES` of the galaxies, ``exact_flux``,
        ``exact_half_light_radius`` (relative errors), ``exact_floor_flux``, ``exact_floor_half_light_radius`` (of
        Sersic profiles), shape (M,); ``shear_response`` and ``shear_ellipticity`` of the learned galaxy and of its
        Sersic, shape (M, 2, 2), the last axis the components.
    """
    found = _held_out(generator, cutouts, progress, keeper)
    chosen = _some(cutouts)
    try:
        profiles = list(generator.sample(asked_conditions(chosen), seed=seed, out_of_range="parametric"))
    except SkyloomError as exc:
        logger.warning("%s gives no galaxies to draw: %s", generator.spec.name, exc)
        return found
    pairs = list(zip(profiles, chosen, strict=True))
    name = generator.spec.name
    exact = blockwise(
        pairs, _exactness, _EXACT, stage="exactness", block=10, keeper=keeper, progress=progress,
        shown=f"drawing {name} exactly",
    )  # fmt: skip
    sheared = blockwise(
        pairs, _responses, _SHEARED, stage="sheared", block=10, keeper=keeper, progress=progress,
        shown=f"shearing {name}",
    )  # fmt: skip
    both = np.array([[row[column] for column in _SHEARED] for row in sheared], dtype=np.float64)
    both = both.reshape(-1, 2, 2, 2)  # galaxy, profile, kind, component
    return {
        **found,
        **{column: np.array([row[column] for row in exact], dtype=np.float64) for column in _EXACT},
        "shear_response": both[:, :, 0],
        "shear_ellipticity": both[:, :, 1],
    }


def _some(cutouts: Sequence[Cutout]) -> list[Cutout]:
    """Evenly spread in the file, one stamp an id."""
    step = max(1, len(cutouts) // (4 * GALAXIES))  # a galaxy may come in several bands
    by_id = {c.galaxy_id: c for c in (cutouts[i] for i in range(0, len(cutouts), step)) if c.fit is not None}
    unique = list(by_id.values())
    rows = np.unique(np.linspace(0, len(unique) - 1, min(GALAXIES, len(unique))).round().astype(int))
    return [unique[i] for i in rows]


def _held_out(
    generator: Generator, cutouts: Sequence[Cutout], progress: Progress | None, keeper: Keeper | None
) -> dict[str, Any]:
    held_out = getattr(generator, "held_out", None)
    if held_out is None:
        return {}

    def compute(batch: list[Cutout]) -> list[dict[str, Any]]:
        figures: Mapping[str, NDArray[np.float64]] = held_out(batch)
        gains = np.asarray(figures["gain"], dtype=np.float64)
        return [
            {"gain": float(gain), "source": c.source, "galaxy": f"{c.source} {c.galaxy_id}"}
            for gain, c in zip(gains, batch, strict=True)
        ]

    columns = ("gain", "source", "galaxy")
    shown = f"evidence of {generator.spec.name}"
    try:
        rows = blockwise(
            cutouts, compute, columns, stage="evidence", block=BATCH, keeper=keeper, progress=progress, shown=shown
        )
    except (SkyloomError, RuntimeError, ValueError) as exc:  # e.g. stamps of a size it does not take
        logger.warning("%s cannot give its evidence: %s", generator.spec.name, exc)
        return {}
    return {f"held_out_{column}": np.array([row[column] for row in rows]) for column in columns}


def _exactness(pairs: Sequence[_Pair]) -> list[dict[str, Any]]:
    return [
        dict(zip(_EXACT, (*drawn_errors(galaxy), *drawn_errors(_without_residual(galaxy))), strict=True))
        for galaxy, _ in pairs
    ]


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


def _responses(pairs: Sequence[_Pair]) -> list[dict[str, Any]]:
    rows = []
    for galaxy, cutout in pairs:
        both = [shape_response(profile, cutout) for profile in (galaxy, sersic_galaxy(known_fit(cutout)))]
        rows.append(dict(zip(_SHEARED, np.array(both).ravel().tolist(), strict=True)))
    return rows
