"""Render a configuration: plan its tasks, keep what is whole, make the rest, and account for all of it."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skyloom.errors import BadInputError, ConfigError, RenderError
from skyloom.render.build import Outcome, forget_prepared, prepared
from skyloom.render.dask_cluster import run_dask
from skyloom.render.documents import Document, config_message, read_documents
from skyloom.render.limits import check_limits
from skyloom.render.local import run_local
from skyloom.render.lock import folder_lock
from skyloom.render.progress import QuietReporter, Reporter
from skyloom.render.receipts import read_receipt
from skyloom.render.stamps import STAMPS
from skyloom.render.state import (
    claim_seed,
    discard_files,
    fresh_scratch,
    keep_documents,
    refuse_changes,
    refuse_receipts,
    seed_of,
    state_folder,
)
from skyloom.render.summary import Summary, write_summary
from skyloom.render.tasks import Task, plan_tasks, shard_of

__all__ = ["RenderedFiles", "render_config"]


@dataclass(frozen=True)
class RenderedFiles:
    """What became of the image files of a configuration."""

    written: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by file name."""
    kept: list[Path] = field(default_factory=list)
    """Files of an earlier run that are whole."""
    repaired: dict[str, str] = field(default_factory=dict)
    """Files of an earlier run that were not, and what was wrong with them."""
    stopped: str = ""
    """Why the run ended before its last file: the disk took no more."""
    summary: Summary | None = None


def render_config(
    config_file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overrides: dict[str, Any] | None = None,
    nproc: int = 1,
    workers: int = 1,
    scheduler: str | None = None,
    shard: tuple[int, int] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quicklook: bool = False,
    stamps: bool = False,
    logger: logging.Logger | None = None,
    reporter: Reporter | None = None,
) -> RenderedFiles:
    """Make the images of a GalSim configuration file in the folder `out`.

    A configuration is a program: its ``modules`` are imported and its ``$`` strings evaluated. Run only
    those you trust.

    Parameters
    ----------
    config_file : path
        YAML or JSON, as the `galsim` program takes it. Relative names of inputs in it are relative to the
        current folder, as there.
    out : path
        Replaces ``output.dir``, also of the truth table and other extra outputs.
    overrides : dict, optional
        Values by key (``image.random_seed``), applied after templates.
    nproc : int, optional
        Processes for the galaxies of one image. The pixels are the same.
    workers : int, optional
        Processes for the files; more than one needs dask.distributed. The pixels are the same. A script
        that asks for several needs ``if __name__ == "__main__":``, as with `multiprocessing`.
    scheduler : str, optional
        Address of a dask scheduler whose workers make the files instead.
    shard : (int, int), optional
        Number from 1, and count: make only the files of this shard.
    resume : bool, optional
        Keep the files that are whole by their receipts, and make the others.
    overwrite : bool, optional
        Replace files of an earlier run.
    quicklook : bool, optional
        A small PNG beside each image.
    stamps : bool, optional
        A file of stamps beside each image: every object by itself without noise, its PSF, and a segmentation. Read
        it with `skyloom.read_stamps`.
    logger : logging.Logger, optional
        Gets GalSim's messages.
    reporter : Reporter, optional
        Is told of the progress.

    Returns
    -------
    RenderedFiles

    Raises
    ------
    ConfigError
        When the file cannot be read or GalSim refuses what it says; when there are files of an earlier run
        and neither `resume` nor `overwrite`; when configuration, seed or weights are others at `resume`.
    RenderError
        When the folder cannot be written, or another run has it.
    """
    _check(workers, shard, resume, overwrite)
    out = Path(out)
    logger = _silent() if logger is None else logger
    seed = seed_of(out) or secrets.randbelow(2**31 - 1) + 1
    extras = [STAMPS] if stamps else []
    documents = read_documents(
        Path(config_file), overrides or {}, nproc=nproc, seed=seed, extras=extras, logger=logger
    )  # fmt: skip
    try:
        tasks = _plan(documents, logger)
        with _folder(out, shard) as scratch:
            if any(document.seed_drawn for document in documents):
                claimed = claim_seed(out, seed)
                if claimed != seed:
                    documents = read_documents(
                        Path(config_file), overrides or {}, nproc=nproc, seed=claimed, extras=extras, logger=logger
                    )
                    tasks = _plan(documents, logger)
                logger.warning("no image.random_seed: %d is taken, and kept for --resume", claimed)
            summary = Summary(str(config_file), workers, f"{shard[0]}/{shard[1]}" if shard else None)
            by_index = {document.index: document for document in documents}
            mine = shard_of(tasks, shard)
            if resume:
                refuse_changes(out, tasks, by_index)
            elif not overwrite:
                refuse_receipts(out, mine)
            todo = _to_do(out, mine, resume, summary)
            if todo:
                making = {task.name for task in todo}
                discard_files(out, todo, [task for task in tasks if task.name not in making])
            if not todo or (workers == 1 and scheduler is None):
                outcomes = run_local(todo, by_index, out, scratch, quicklook=quicklook, logger=logger)
            else:
                forget_prepared()  # the workers read the inputs themselves
                outcomes = run_dask(
                    todo, by_index, out, scratch,
                    workers=workers, scheduler=scheduler, quicklook=quicklook, logger=logger,
                )  # fmt: skip
            keep_documents(out, documents)
            return _run(outcomes, todo, out, summary, reporter or QuietReporter(), logger)
    finally:
        forget_prepared()


def _run(
    outcomes: Iterator[Outcome],
    todo: Sequence[Task],
    out: Path,
    summary: Summary,
    reporter: Reporter,
    logger: logging.Logger,
) -> RenderedFiles:
    start, stopped, bad_input = time.perf_counter(), "", True
    summary.interrupted = True  # until the end is reached
    reporter.start(todo, len(summary.kept))
    try:
        with contextlib.closing(outcomes):  # type: ignore[type-var]
            for outcome in outcomes:
                _count(outcome, summary)
                reporter.done(outcome)
                if outcome.failed:
                    logger.debug("%s", outcome.traceback)
                    bad_input &= outcome.bad_input
                if outcome.disk:
                    stopped = outcome.reason
                    break
        summary.interrupted = bool(stopped)
    finally:
        summary.seconds = round(time.perf_counter() - start, 3)
        summary.galaxies_per_second = round(summary.galaxies / max(summary.seconds, 1e-3), 2)
        with contextlib.suppress(OSError):  # a full disk has been named already
            write_summary(out, summary)
    if summary.failed and bad_input and not (summary.made or summary.kept or stopped):
        raise ConfigError(next(iter(summary.failed.values())))
    return RenderedFiles(
        written=[out / name for name in summary.made],
        failed={str(out / name): reason for name, reason in summary.failed.items()},
        kept=[out / name for name in summary.kept],
        repaired={str(out / name): reason for name, reason in summary.repaired.items()},
        stopped=stopped,
        summary=summary,
    )


def _count(outcome: Outcome, summary: Summary) -> None:
    summary.galaxies += outcome.galaxies
    summary.cpu_seconds = round(summary.cpu_seconds + outcome.cpu_seconds, 3)
    if outcome.failed:
        summary.failed[outcome.name] = outcome.reason
    elif outcome.made:
        summary.made.append(outcome.name)
    else:
        summary.skipped.append(outcome.name)


def _to_do(out: Path, tasks: Sequence[Task], resume: bool, summary: Summary) -> list[Task]:
    todo = []
    for task in tasks:
        receipt = read_receipt(out, task.name) if resume else None
        wrong = receipt if isinstance(receipt, str) else None if receipt is None else receipt.damage(out)
        if receipt is not None and wrong is None:
            summary.kept.append(task.name)
            continue
        if wrong is not None:
            summary.repaired[task.name] = wrong
        todo.append(task)
    summary.files = len(tasks)
    return todo


def _plan(documents: Sequence[Document], logger: logging.Logger) -> list[Task]:
    tasks: list[Task] = []
    hashes: dict[str, str] = {}  # each file is read once
    for document in documents:
        try:
            base = prepared(document, logger)
        except Exception as exc:
            raise config_message(document.root, exc) from exc
        check_limits(base, document.root)
        tasks += plan_tasks(document, base, logger, hashes=hashes)
    shard_of(tasks, None)  # before anything is written: no two files of one name
    return tasks


@contextlib.contextmanager
def _folder(out: Path, shard: tuple[int, int] | None) -> Iterator[Path]:
    """The lock of the output folder, and a place for unfinished files in it."""
    with contextlib.ExitStack() as stack:
        try:
            state_folder(out).mkdir(parents=True, exist_ok=True)
            stack.enter_context(folder_lock(state_folder(out), shard))
            scratch = fresh_scratch(out, shard)
        except OSError as exc:
            raise RenderError(f"cannot write into '{out}': {exc.strerror or exc}") from exc
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _check(workers: int, shard: tuple[int, int] | None, resume: bool, overwrite: bool) -> None:
    if workers < 1:
        raise BadInputError(f"workers: at least 1, not {workers}")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise BadInputError(f"shard {shard[0]}/{shard[1]}: the number goes from 1 to the count")
    if resume and overwrite:
        raise BadInputError("resume keeps files and overwrite replaces them: choose one")


def _silent() -> logging.Logger:
    logger = logging.Logger("skyloom.render", level=logging.WARNING)
    logger.addHandler(logging.NullHandler())
    return logger
