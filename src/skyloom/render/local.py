"""Tasks one after another in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from skyloom.render.build import Outcome, build_task
from skyloom.render.documents import Document
from skyloom.render.tasks import Task

__all__ = ["run_local"]


def run_local(
    tasks: Sequence[Task],
    documents: Mapping[int, Document],
    out: Path,
    scratch: Path,
    *,
    quicklook: bool = False,
    logger: logging.Logger | None = None,
) -> Iterator[Outcome]:
    """Outcomes of the tasks, in their order."""
    for task in tasks:
        yield build_task(task, documents[task.document], out, scratch, quicklook=quicklook, logger=logger)
