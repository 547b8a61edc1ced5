"""Many cutouts: one row each, in parallel, resumable, with a few stamps in memory at a time."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.errors import ConfigError, SkyloomError
from skyloom.stamps import Cutout
from skyloom.validate.drawing import psf_fwhm
from skyloom.validate.measure_flags import MeasureFlag
from skyloom.validate.measure_part import PartFile
from skyloom.validate.measure_tools import FLAGS, QUANTITIES, measure_cutout

__all__ = ["count_flags", "measure_cutouts"]

logger = logging.getLogger(__name__)

_CHUNK = 8
_LABELS: dict[str, type] = {"galaxy_id": np.int64, "band": str, "source": str, "group": str}
_SEEN = {"wavelength": "nm", "psf_fwhm": "arcsec"}
_NUMBERS = (*_SEEN, *QUANTITIES, *FLAGS)
_Row = dict[str, Any]


def measure_cutouts(
    cutouts: Iterable[Cutout],
    *,
    workers: int = 1,
    resume: str | Path | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Table:
    """Measure every cutout.

    Parameters
    ----------
    cutouts : sequence or other iterable of Cutout
        Read one by one: neither a `skyloom.stamps.CutoutSet` nor stamps drawn when asked for fill the
        memory. Rows of a sequence that cannot be read are flagged; an iterable's errors are raised.
    workers : int
        Processes. They are spawned: a script that asks for more than one needs ``if __name__ ==
        "__main__":``. The numbers are the same for any number of workers.
    resume : path, optional
        File that rows are written to as they come. When it exists, what it holds is not measured again.
    progress : callable (done, total), optional
        Called after each cutout; the total is None for an iterable without a length.

    Returns
    -------
    astropy.table.Table
        One row a cutout in their order: ``index``, ``galaxy_id``, ``band``, ``source``, ``group``,
        ``wavelength`` (nm), ``psf_fwhm`` (arcsec), a column of float64 a quantity of
        `skyloom.validate.measure_tools.QUANTITIES` (NaN: not measured), and ``flag_<tool>`` with the bits of
        `skyloom.validate.measure_flags.MeasureFlag`.

    Raises
    ------
    BadInputError
        When `resume` belongs to other cutouts, or the extra ``validate`` is not installed.
    SkyloomError
        When a worker dies.
    """
    if importlib.util.find_spec("statmorph") is None:  # else every morphology would fail, one by one
        raise ConfigError("measuring needs statmorph: pip install 'skyloom[validate]'")
    source = _Source(cutouts)
    rows: dict[int, tuple[tuple[Any, ...], NDArray[np.float64]]] = {}

    def keep(row: int, values: Mapping[str, Any]) -> None:
        numbers = np.array([values[name] for name in _NUMBERS], dtype=np.float64)
        rows[row] = tuple(values[name] for name in _LABELS), numbers

    part = None
    if resume is not None:
        part = PartFile(Path(resume), (*_LABELS, *_NUMBERS), source.identity())
    with nullcontext() if part is None else closing(part):
        if part is not None:
            for row, values in part.rows():
                keep(row, values)
            logger.info("%s: %d cutouts are measured already", part.path, len(rows))
        for row, values in _measured(source.without(set(rows)), workers):
            keep(row, values)
            if part is not None:
                part.append(row, values)
            if progress is not None:
                progress(len(rows), source.total)
    return _table([rows[row] for row in sorted(rows)])


def count_flags(table: Table) -> dict[str, dict[str, int]]:
    """Count how often each tool was good, doubtful or failed, and why.

    Returns
    -------
    dict of str to dict of str to int
        By tool: ``"good"``, and each bit's name in lower case.
    """
    counts = {}
    for column in FLAGS:
        flags = np.asarray(table[column])
        found = {bit.name.lower(): int((flags & bit > 0).sum()) for bit in MeasureFlag if bit.name}
        counts[column.removeprefix("flag_")] = {"good": int((flags == 0).sum()), **found}
    return counts


class _Source:
    """Cutouts with their row, from a sequence or a plain iterable; None for one that cannot be read."""

    def __init__(self, cutouts: Iterable[Cutout]) -> None:
        self._sequence = cutouts if isinstance(cutouts, Sequence) else None
        self._rest = iter(()) if self._sequence is not None else iter(cutouts)
        self.total = len(cutouts) if isinstance(cutouts, Sized) else None

    def identity(self) -> str:
        """Number of the cutouts, and a digest of the first and last: enough to tell samples apart."""
        digest = hashlib.sha256(str(self.total).encode())
        if self._sequence is not None:
            ends = [_read(self._sequence, row) for row in sorted({0, len(self._sequence) - 1} - {-1})]
        else:
            first = next(self._rest, None)
            ends = [first]
            if first is not None:
                self._rest = chain([first], self._rest)
        for cutout in ends:
            if cutout is not None:
                digest.update(f"{cutout.galaxy_id} {cutout.band} {cutout.fit}".encode())
                digest.update(np.ascontiguousarray(cutout.image).tobytes())
        return digest.hexdigest()[:32]

    def without(self, done: set[int]) -> Iterator[tuple[int, Cutout | None]]:
        """All that are not done yet."""
        if self._sequence is not None:
            for row in range(len(self._sequence)):
                if row not in done:
                    yield row, _read(self._sequence, row)
        else:
            yield from ((row, cutout) for row, cutout in enumerate(self._rest) if row not in done)


def _measured(cutouts: Iterator[tuple[int, Cutout | None]], workers: int) -> Iterator[tuple[int, _Row]]:
    if workers <= 1:
        yield from (_measure_row(row, cutout) for row, cutout in cutouts)
        return
    waiting: deque[Future[list[tuple[int, _Row]]]] = deque()
    # spawned: torch and GalSim, if the caller uses their threads, do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        while task := list(islice(cutouts, _CHUNK)):
            waiting.append(pool.submit(_measure_task, task))
            # no more than this is in memory, however many there are
            while len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as exc:
        raise SkyloomError(
            "a process that measured cutouts died (out of memory?); resume= keeps the rows measured so far"
        ) from exc
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)  # one process a core: more threads would fight for it


def _measure_task(task: list[tuple[int, Cutout | None]]) -> list[tuple[int, _Row]]:
    return [_measure_row(row, cutout) for row, cutout in task]


def _measure_row(row: int, cutout: Cutout | None) -> tuple[int, _Row]:
    if cutout is None:
        nothing = dict.fromkeys(_NUMBERS, float("nan")) | dict.fromkeys(FLAGS, int(MeasureFlag.BAD_INPUT))
        return row, {**nothing, "galaxy_id": -1, "band": "", "source": "", "group": ""}
    labels = {name: getattr(cutout, name) for name in _LABELS}
    seen = {"wavelength": cutout.wavelength, "psf_fwhm": psf_fwhm(cutout)}
    return row, {**labels, **seen, **measure_cutout(cutout)}


def _read(cutouts: Sequence[Cutout], row: int) -> Cutout | None:
    try:
        return cutouts[row]
    except SkyloomError as exc:
        logger.warning("cutout %d cannot be read: %s", row, exc)
        return None


def _table(rows: list[tuple[tuple[Any, ...], NDArray[np.float64]]]) -> Table:
    table = Table({"index": np.arange(len(rows))})
    for i, (name, kind) in enumerate(_LABELS.items()):
        table[name] = np.array([labels[i] for labels, _ in rows], dtype=kind)
    numbers = np.array([values for _, values in rows]).reshape(len(rows), len(_NUMBERS))
    for name, column in zip(_NUMBERS, numbers.T, strict=True):
        table[name] = column.astype(np.int64) if name in FLAGS else column.copy()
    for name, unit in {**_SEEN, **QUANTITIES}.items():
        table[name].unit = unit or None
    return table
