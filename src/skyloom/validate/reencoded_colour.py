"""The same galaxy in two bands: how alike its structure is, of real galaxies and of a model's.

Noise makes two maps of one galaxy less alike. So the model's galaxies, one latent each, are drawn in every band that
the real one was seen in, through that band's PSF and noise, and fitted and encoded as the real ones are. All bands of
one share the position angle and the radius that the structure is scaled with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.errors import SkyloomError
from skyloom.profiles import Generator
from skyloom.stamps import Cutout
from skyloom.validate.counterparts_shape import bands_of, counterparts_as_real
from skyloom.validate.reencoded import MapEncoder, judged_rows
from skyloom.validate.reencoded_maps import RADII
from skyloom.validate.sample import Refit, fit_fault

__all__ = ["colour_figures", "one_orientation", "pair_table"]

logger = logging.getLogger(__name__)

MIN_SNR = 40.0
"""S/N in each band: below that of coherence, for a band may be the faint one of a bright galaxy."""

MIN_SHARE = 0.6
"""Share of the nodes that must lie on the other band's map."""


def colour_figures(
    encoder: MapEncoder, generator: Generator, cutouts: Sequence[Cutout], refit: Refit, *, seed: int = 0
) -> dict[str, Any]:
    """Likeness of structure between bands, as entries of the metrics' context.

    Parameters
    ----------
    encoder : MapEncoder
    generator : Generator
    cutouts : sequence of Cutout
        Real galaxies with fits, in several bands.
    refit : callable
        The Sersic fit that the real cutouts had.
    seed : int

    Returns
    -------
    dict
        ``colour_real`` and ``colour_model``, tables of `pair_table`; empty where no galaxy has two bands or they
        cannot be encoded.
    """
    chosen = one_orientation(_in_several_bands([cutouts[i] for i in judged_rows(cutouts, min_snr=MIN_SNR)]))
    if not chosen:
        return {}
    try:
        made, _ = counterparts_as_real(chosen, generator, refit, seed=seed)
        model = [c for c in made if fit_fault(c.fit) is None]
        return {"colour_real": pair_table(encoder, chosen), "colour_model": pair_table(encoder, model)}
    except (SkyloomError, RuntimeError, ValueError) as exc:  # e.g. stamps of a size it does not take
        logger.warning("the bands of a galaxy cannot be compared: %s", exc)
        return {}


def _in_several_bands(cutouts: Sequence[Cutout]) -> list[Cutout]:
    galaxies = bands_of(cutouts)
    return [cutouts[i] for rows in galaxies.values() if len(rows) > 1 for i in rows]


def one_orientation(cutouts: Sequence[Cutout]) -> list[Cutout]:
    """Cutouts whose fits have, in all bands of a galaxy, the position angle of its best band.

    A model turns its structure with the position angle it is asked for. That of a round galaxy is noise, band by band,
    and any may come out turned by half a turn: it would draw a different sky in each band.
    """
    found = list(cutouts)
    for rows in bands_of(cutouts).values():
        fits = [found[i].fit for i in rows]
        best = max((fit for fit in fits if fit is not None), key=lambda fit: fit.snr * (1 - fit.q))
        for i, fit in zip(rows, fits, strict=True):
            if fit is not None:
                found[i] = replace(found[i], fit=replace(fit, beta=best.beta))
    return found


def pair_table(encoder: MapEncoder, cutouts: Sequence[Cutout]) -> Table:
    """Correlation of the maps of each pair of bands of each galaxy.

    The part of f that depends on azimuth, within 0.45 to 3.2 half-light radii of the shorter band's disc.

    Returns
    -------
    Table
        ``source``, ``galaxy_id``, ``band`` (both), ``ratio`` (longer over shorter wavelength), ``sky``, the correlation
        at the same places in the sky, and ``disc``, that at the same places of either band's own disc.
    """
    maps = np.asarray(encoder.encode_maps(cutouts), dtype=np.float64)
    rows = [
        (
            *galaxy,
            f"{cutouts[i].band} {cutouts[j].band}",
            cutouts[j].wavelength / cutouts[i].wavelength,
            *_correlations(cutouts[i], cutouts[j], maps[i], maps[j]),
        )
        for galaxy, bands in bands_of(cutouts).items()
        for i, j in combinations(bands, 2)
        if cutouts[j].wavelength > cutouts[i].wavelength
    ]
    names = ("source", "galaxy_id", "band", "ratio", "sky", "disc")
    return Table([list(column) for column in zip(*rows, strict=True)] or [[] for _ in names], names=names)


def _correlations(
    short: Cutout, long: Cutout, first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float, float]:
    """At the same places in the sky, and of the disc."""
    import torch

    from skyloom.generators.cvae.frame import R_MAX, map_coordinates, node_radii, nodes, sample_map

    r = node_radii(first.shape[0]).double().numpy()
    rows = (r > RADII[0]) & (r < RADII[1])
    (to_sky, centre), (other_sky, other_centre) = (_disc_to_sky(c) for c in (short, long))
    places = nodes(*first.shape).double().numpy()[rows] @ to_sky.T + (centre - other_centre)
    places = places @ np.linalg.inv(other_sky).T
    where = map_coordinates(torch.from_numpy(places.astype(np.float32)))[None]
    seen = sample_map(torch.from_numpy(second.astype(np.float32))[None], where)[0].double().numpy()
    inside = np.hypot(places[..., 0], places[..., 1]) < R_MAX
    return _correlation(first[rows], seen, inside), _correlation(first[rows], second[rows], np.ones_like(inside))


def _disc_to_sky(cutout: Cutout) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix from the face-on disc (half-light radii) to arcsec, and the centre's place."""
    fit = cutout.fit
    assert fit is not None  # chosen so
    c, s, root = np.cos(fit.beta), np.sin(fit.beta), np.sqrt(fit.q)
    turn = np.array([[c, -s], [s, c]])
    return fit.half_light_radius * turn @ np.diag([1 / root, root]), np.array([fit.dx, fit.dy])


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """Of what depends on azimuth; NaN where either map has nothing of it, or they hardly overlap."""
    if inside.mean() < MIN_SHARE:
        return float("nan")
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    a, b = (np.where(inside, x - np.where(inside, x, 0.0).sum(axis=1, keepdims=True) / count, 0.0) for x in (a, b))
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 1e-12 else float("nan")
