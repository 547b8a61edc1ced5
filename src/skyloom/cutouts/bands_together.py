"""One galaxy, one shape: Sersic fits whose centre, axis ratio and angle the bands of a galaxy share."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from skyloom.cutouts.common_shape import common_shapes
from skyloom.cutouts.measure import fit_sersic, fit_sersic_of_shape
from skyloom.stamps import Cutout, FitFlag, SersicFit

__all__ = ["fit_bands_together", "galaxies_of", "share_fitted_shape", "share_shape"]

WORSE = 1.5
"""A shared shape is given up for a band when its chi2 per pixel is this many times that of the band's own
shape, or of 1 where that is less."""


def fit_bands_together(cutouts: Sequence[Cutout]) -> list[SersicFit]:
    """Fit Sersic profiles such that all bands of one galaxy have one centre, axis ratio and angle.

    Each band is fitted by itself first. The centres (in the frame of `Cutout.centre_x`) and the log shears
    are averaged with inverse variances, robustly; then half-light radius, n, flux and sky are fitted again in
    each band, with the shape they share. A band that the shared shape fits much worse than its own (chi2 per
    pixel more than 1.5 times as large, and above 1.5) keeps its own, with `FitFlag.OWN_SHAPE`.

    Parameters
    ----------
    cutouts : sequence of Cutout
        In any order. Those of one galaxy have equal `source` and `galaxy_id`.

    Returns
    -------
    list of SersicFit
        In the same order. Galaxies of one band are fitted as `fit_sersic` does.
    """
    own = fit_sersic(cutouts)
    groups = galaxies_of([(c.source, c.galaxy_id) for c in cutouts])
    members = [i for group in groups for i in group]
    shared = share_shape([[cutouts[i] for i in group] for group in groups], [[own[i] for i in g] for g in groups])
    flat = [fit for fits in shared for fit in fits]
    for i, fit in zip(members, flat, strict=True):
        own[i] = fit
    return own


def galaxies_of(keys: Iterable[Hashable]) -> list[list[int]]:
    """Rows of each galaxy that has several, from every row's (source, galaxy_id), or what else tells galaxies apart."""
    rows: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        rows.setdefault(key, []).append(i)
    return [group for group in rows.values() if len(group) > 1]


def share_fitted_shape(galaxies: Sequence[Sequence[Cutout]]) -> list[list[SersicFit]]:
    """`share_shape` of cutouts that have their own fits."""
    return share_shape(galaxies, [[fit for cutout in bands if (fit := cutout.fit) is not None] for bands in galaxies])


def share_shape(galaxies: Sequence[Sequence[Cutout]], own: Sequence[Sequence[SersicFit]]) -> list[list[SersicFit]]:
    """Fits with a shared shape, from the bands' own.

    Parameters
    ----------
    galaxies : sequence of sequence of Cutout
        The bands of each galaxy.
    own : sequence of sequence of SersicFit
        The fit of each band by itself.

    Returns
    -------
    list of list of SersicFit
    """
    out = [list(fits) for fits in own]
    places, parts = [], []
    for g, (cutouts, fits) in enumerate(zip(galaxies, own, strict=True)):
        shapes = common_shapes(cutouts, fits)
        if shapes is not None:
            places += [(g, b) for b in range(len(cutouts))]
            parts += list(zip(cutouts, shapes, fits, strict=True))
    again = fit_sersic_of_shape(*(list(part) for part in zip(*parts, strict=True))) if parts else []
    for (g, b), fit in zip(places, again, strict=True):
        out[g][b] = _better(own[g][b], fit)
    return out


def _better(own: SersicFit, shared: SersicFit) -> SersicFit:
    if FitFlag.FAILED in own.flags:
        return shared
    if FitFlag.FAILED in shared.flags or not shared.chi2 <= WORSE * max(own.chi2, 1.0):
        return replace(own, flag=int(own.flags | FitFlag.OWN_SHAPE))
    return shared
