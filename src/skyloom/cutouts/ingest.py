"""Read a source, fit every galaxy, count what happened: the work behind ``skyloom ingest``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from skyloom.stamps import Cutout, Dropped, SersicFit

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["Tally", "fitted", "kept"]

CHUNK = 64
"""Cutouts fitted together: some batches of each window."""


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
    if executor is None:
        done: Iterator[tuple[list[Cutout], list[SersicFit]]] = ((c, _fit(c)) for c in chunks)
    else:
        done = _ahead(chunks, executor, ahead)
    for chunk, fits in done:
        for cutout, fit in zip(chunk, fits, strict=True):
            tally.flags.update([flag.name or "" for flag in fit.flags] or ["good"])
            yield replace(cutout, fit=fit)


def _ahead(
    chunks: Iterator[list[Cutout]], executor: Executor, ahead: int
) -> Iterator[tuple[list[Cutout], list[SersicFit]]]:
    waiting = [(chunk, executor.submit(_fit, chunk)) for chunk in itertools.islice(chunks, ahead)]
    while waiting:
        chunk, future = waiting.pop(0)
        waiting += [(c, executor.submit(_fit, c)) for c in itertools.islice(chunks, 1)]
        yield chunk, future.result()


def _fit(cutouts: list[Cutout]) -> list[SersicFit]:
    import torch

    from skyloom.cutouts.measure import fit_sersic

    torch.set_num_threads(1)  # processes share the work; threads inside would only get in each other's way
    return fit_sersic(cutouts)
