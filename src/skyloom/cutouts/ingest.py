"""Read a source, fit every galaxy, count what happened: the work behind ``skyloom ingest``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from skyloom.stamps import Cutout, CutoutSet, Dropped, SersicFit

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["Tally", "fitted", "kept", "shared"]

L = TypeVar("L")
J = TypeVar("J")
R = TypeVar("R")

CHUNK = 64
"""Cutouts fitted together: some batches of each window."""

GALAXIES = 24
"""Galaxies of several bands whose shapes are found together."""


@dataclass
class Tally:
    """What became of a source's galaxies.

    Parameters
    ----------
    read, kept : int
    dropped : Counter of str
        By reason.
    flags : Counter of str
        Fits that raised each `skyloom.stamps.FitFlag`; ``good`` for none.
    """

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)


def kept(stream: Iterable[Cutout | Dropped], tally: Tally) -> Iterator[Cutout]:
    """Pass on the cutouts, count the rest."""
    for item in stream:
        tally.read += 1
        if isinstance(item, Dropped):
            tally.dropped[item.reason] += 1
        else:
            tally.kept += 1
            yield item


def fitted(
    cutouts: Iterable[Cutout], tally: Tally, executor: Executor | None = None, ahead: int = 4
) -> Iterator[Cutout]:
    """Attach Sersic fits, in order; with an executor, `ahead` chunks are fitted at the same time."""
    stream = iter(cutouts)
    chunks = iter(lambda: list(itertools.islice(stream, CHUNK)), [])
    for _, chunk, fits in _each(((None, chunk) for chunk in chunks), _fit, executor, ahead):
        for cutout, fit in zip(chunk, fits, strict=True):
            tally.flags.update(_names(fit))
            yield replace(cutout, fit=fit)


def shared(
    cutouts: CutoutSet, tallies: Sequence[Tally], executor: Executor | None = None, ahead: int = 4
) -> dict[int, SersicFit]:
    """Fits with one shape a galaxy, of the rows of all galaxies that several bands show.

    Parameters
    ----------
    cutouts : CutoutSet
        Fitted, those of each source after the other.
    tallies : sequence of Tally
        Of each source; corrected for the fits that change.
    executor : Executor, optional
        Where to fit, `ahead` chunks at the same time.
    ahead : int
    """
    from skyloom.cutouts.bands_together import galaxies_of

    ids = zip(cutouts.column("source").tolist(), cutouts.column("galaxy_id").tolist(), strict=True)
    groups = iter(galaxies_of(ids))
    source = np.searchsorted(np.cumsum([tally.kept for tally in tallies]), np.arange(len(cutouts)), side="right")
    jobs = (
        (chunk, [[cutouts[row] for row in rows] for rows in chunk])
        for chunk in iter(lambda: list(itertools.islice(groups, GALAXIES)), [])
    )
    fits: dict[int, SersicFit] = {}
    for chunk, galaxies, found in _each(jobs, _share, executor, ahead):
        for row, cutout, fit in zip(*(itertools.chain(*part) for part in (chunk, galaxies, found)), strict=True):
            tally = tallies[source[row]]
            assert cutout.fit is not None
            tally.flags.subtract(_names(cutout.fit))
            tally.flags.update(_names(fit))
            fits[row] = fit
    for tally in tallies:
        tally.flags = +tally.flags  # without those of which none is left
    return fits


def _names(fit: SersicFit) -> list[str]:
    return [flag.name or "" for flag in fit.flags] or ["good"]


def _each(
    jobs: Iterator[tuple[L, J]], work: Callable[[J], R], executor: Executor | None, ahead: int
) -> Iterator[tuple[L, J, R]]:
    """Labels, jobs and results in order, `ahead` of them under way."""
    if executor is None:
        for label, job in jobs:
            yield label, job, work(job)
        return
    waiting = [(label, job, executor.submit(work, job)) for label, job in itertools.islice(jobs, ahead)]
    while waiting:
        label, job, future = waiting.pop(0)
        waiting += [(label_, job_, executor.submit(work, job_)) for label_, job_ in itertools.islice(jobs, 1)]
        yield label, job, future.result()


def _fit(cutouts: list[Cutout]) -> list[SersicFit]:
    import torch

    from skyloom.cutouts.measure import fit_sersic

    torch.set_num_threads(1)  # processes share the work; threads inside would only get in each other's way
    return fit_sersic(cutouts)


def _share(galaxies: list[list[Cutout]]) -> list[list[SersicFit]]:
    import torch

    from skyloom.cutouts.bands_together import share_fitted_shape

    torch.set_num_threads(1)
    return share_fitted_shape(galaxies)
