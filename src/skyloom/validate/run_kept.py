"""Results of a slow stage, kept on disk block by block, so that a stopped run goes on from them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from skyloom.validate.measure_part import PartFile

__all__ = ["Keeper", "Progress", "blockwise"]

Item = TypeVar("Item")
Row = dict[str, Any]

Progress = Callable[[str, int, int], None]
"""Told of a stage's name, what is done and how much there is."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keeper:
    """Where the results of one generator on one set of cutouts are kept.

    Parameters
    ----------
    folder : Path
    name : str
        Begins the names of the files.
    identity : str
        All that the results depend on: cutouts, weights, seed, versions. Those of another identity are in other files.
    """

    folder: Path
    name: str
    identity: str

    def path(self, stage: str) -> Path:
        """The file of a stage."""
        mark = hashlib.sha256(self.identity.encode()).hexdigest()[:12]
        return self.folder / f"{stage}-{self.name}-{mark}.jsonl"


def blockwise(
    items: Sequence[Item],
    compute: Callable[[list[Item]], Sequence[Row]],
    columns: Sequence[str],
    *,
    stage: str,
    block: int,
    keeper: Keeper | None = None,
    progress: Progress | None = None,
    shown: str = "",
) -> list[Row]:
    """Compute a row for each item, a block of them at a time; blocks that an earlier run finished are taken from it.

    Blocks are always the same items, so that results don't depend on where a run was stopped.

    Parameters
    ----------
    items : sequence
        Read block by block.
    compute : callable (list of items) -> rows
        Plain numbers and strings by column.
    columns : sequence of str
    stage : str
        Names the file.
    block : int
        Items at a time.
    keeper : Keeper, optional
        Without one nothing is kept.
    progress : callable, optional
    shown : str
        What `progress` calls the stage.

    Returns
    -------
    list of dict
    """
    part = PartFile(keeper.path(stage), columns, keeper.identity) if keeper is not None else None
    with nullcontext() if part is None else closing(part):
        known = {row: dict(values) for row, values in part.rows()} if part is not None else {}
        if known:
            logger.info("%s: %d of %d are there already", shown or stage, len(known), len(items))
        rows: list[Row] = []
        for first in range(0, len(items), block):
            numbers = range(first, min(first + block, len(items)))
            if all(i in known for i in numbers):
                rows += [known[i] for i in numbers]
            else:
                found = compute([items[i] for i in numbers])
                rows += [{name: row[name] for name in columns} for row in found]
                if part is not None:
                    for i, row in zip(numbers, found, strict=True):
                        part.append(i, row)
            if progress is not None:
                progress(shown or stage, len(rows), len(items))
    return rows
