"""Tasks on the workers of dask.distributed: of this machine, or of a scheduler elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skyloom.errors import BadInputError, RenderError
from skyloom.render.build import Outcome, build_task
from skyloom.render.documents import Document
from skyloom.render.tasks import Task

__all__ = ["ANSWER", "run_dask"]

_DEATHS = 2  # of a task's worker that are forgiven; the next one ends the task
_PATIENCE = "300s"  # a busy machine takes its time to start a process
ANSWER = "30s"
"""How long a scheduler may take to answer."""
_LINES = 200  # of GalSim's log that a task sends home
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**25}
"""Of glibc, bytes. Dask's own 64 KiB have a worker return its memory after every batch and fault it in again, which
doubles its processor time; any value ends glibc's own adaptation, so the second has to be given as well."""


def run_dask(
    tasks: Sequence[Task],
    documents: Mapping[int, Document],
    out: Path,
    scratch: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    quicklook: bool = False,
    logger: logging.Logger | None = None,
) -> Iterator[Outcome]:
    """Outcomes of the tasks, as they end.

    A task whose worker dies is done again. One that takes several workers with it is tried once more when
    nothing else runs, so that no other file is blamed, and then counts as failed.

    Parameters
    ----------
    tasks, documents, out, scratch, quicklook, logger
        As `run_local`. With a scheduler elsewhere, `out` is a folder that its workers see too.
    workers : int
        Processes to start here.
    scheduler : str, optional
        Address of a scheduler whose workers to use instead.

    Raises
    ------
    BadInputError
        When dask.distributed is not installed, or no scheduler answers.
    """
    level = logging.WARNING if logger is None else logger.getEffectiveLevel()
    work = {
        task.name: (task, documents[task.document], out.resolve(), scratch.resolve(), quicklook, level)
        for task in tasks
    }
    with _client(workers, scheduler) as client:
        suspects = []
        for name, outcome in _results(client, work, max(workers, 1) if scheduler is None else None):
            if outcome is None:
                suspects.append(name)
                continue
            _repeat_log(outcome, logger)
            yield outcome
        for suspect in suspects:
            for name, outcome in _results(client, {suspect: work[suspect]}, 1):
                yield outcome or Outcome(
                    name, reason="its worker died each time, as from a lack of memory or a crash in compiled code"
                )


def _results(
    client: Any, work: Mapping[str, tuple[Any, ...]], width: int | None
) -> Iterator[tuple[str, Outcome | None]]:
    """Keep every worker busy with one task; None for a task that killed its workers."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    waiting = deque(work)
    running: dict[Any, str] = {}
    pool = as_completed()
    while waiting or running:
        while waiting and len(running) < (width or max(len(client.scheduler_info()["workers"]), 1)):
            name = waiting.popleft()
            future = client.submit(_remote, *work[name], pure=False)
            running[future] = name
            pool.add(future)
        future = next(pool)
        name = running.pop(future)
        error = future.exception() if future.status == "error" else None
        if future.status == "finished":
            yield name, future.result()
        elif isinstance(error, KilledWorker):
            yield name, None
        else:
            yield name, Outcome(name, reason=f"{type(error).__name__}: {error}" if error else future.status)
        future.release()


def _remote(task: Task, document: Document, out: Path, scratch: Path, quicklook: bool, level: int) -> Outcome:
    """What a worker does."""
    import dataclasses
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    logger, lines = logging.Logger("galsim", level), _Lines()
    logger.addHandler(lines)
    outcome = build_task(task, document, out, scratch, quicklook=quicklook, logger=logger)
    return dataclasses.replace(outcome, log=list(lines.kept))


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.kept: deque[tuple[int, str]] = deque(maxlen=_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelno, record.getMessage()))


def _repeat_log(outcome: Outcome, logger: logging.Logger | None) -> None:
    for level, message in outcome.log if logger else ():
        logger.log(level, "%s", message)  # type: ignore[union-attr]


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as exc:
        raise BadInputError(
            "several workers need dask.distributed: pip install 'skyloom[cluster]'; one worker does without"
        ) from exc
    settings = {
        "distributed.worker.daemon": False,  # else no image.nproc in a worker
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.scheduler.work-stealing": False,
        "distributed.worker.memory.terminate": False,  # the system's own limit decides
        "distributed.worker.memory.pause": False,
        "distributed.admin.tick.limit": "1h",
        "distributed.comm.timeouts.connect": _PATIENCE if scheduler is None else ANSWER,
        "distributed.comm.timeouts.tcp": _PATIENCE,
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in _MALLOC.items()},
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if scheduler is None:
            try:
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=workers, threads_per_worker=1, processes=True, silence_logs=logging.CRITICAL,
                        dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False},
                    )
                )  # fmt: skip
                client = stack.enter_context(Client(cluster, timeout=_PATIENCE))
            except (OSError, RuntimeError, TimeoutError) as exc:
                raise RenderError(f"{workers} workers could not be started: {type(exc).__name__}: {exc}") from exc
            yield client
            return
        try:
            client = stack.enter_context(Client(scheduler, timeout=ANSWER))
        except (OSError, ValueError, TimeoutError) as exc:
            raise BadInputError(f"no scheduler answers at '{scheduler}': {exc}") from exc
        if not client.scheduler_info()["workers"]:
            raise RenderError(f"the scheduler at '{scheduler}' has no workers")
        yield client
