"""What a run keeps in the hidden folder ``.skyloom`` of its output: locks, configurations, unfinished files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skyloom.errors import ConfigError
from skyloom.files import whole_file
from skyloom.render.documents import Document, differences
from skyloom.render.receipts import Origin, origin_changes, read_receipt, receipt_path
from skyloom.render.tasks import Task

__all__ = [
    "claim_seed",
    "fresh_scratch",
    "keep_documents",
    "refuse_changes",
    "refuse_receipts",
    "seed_of",
    "state_folder",
]

_SHOWN = 12  # changes that a message lists


def state_folder(out: Path) -> Path:
    """The hidden folder."""
    return out / ".skyloom"


def fresh_scratch(out: Path, shard: tuple[int, int] | None) -> Path:
    """An empty folder for unfinished files; what a killed run left there is removed."""
    name = "unfinished" if shard is None else f"unfinished-{shard[0]}-of-{shard[1]}"
    scratch = state_folder(out) / name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def seed_of(out: Path) -> int | None:
    """Seed that an earlier run into this folder drew for a configuration without one."""
    try:
        return int((state_folder(out) / "seed").read_text())
    except (OSError, ValueError):
        return None


def claim_seed(out: Path, seed: int) -> int:
    """Keep a drawn seed, or learn that another shard was first with its own."""
    try:
        with (state_folder(out) / "seed").open("x") as file:
            file.write(str(seed))
    except FileExistsError:
        return seed_of(out) or seed
    return seed


def keep_documents(out: Path, documents: Iterable[Document]) -> None:
    """Write the configurations as they were hashed, so that a later run can say what changed."""
    for document in documents:
        path = _document_path(out, document.sha256)
        if not path.exists():
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(document.hashed, indent=1, default=repr) + "\n")


def refuse_receipts(out: Path, tasks: Iterable[Task]) -> None:
    """Refuse to begin anew where files of these names have been made.

    Raises
    ------
    ConfigError
        Names the first of them.
    """
    there = [task.name for task in tasks if receipt_path(out, task.name).exists()]
    if there:
        raise ConfigError(
            f"'{out}' has {len(there)} files of an earlier run ({there[0]}, ...): go on with --resume, "
            "or replace them with --overwrite"
        )


def refuse_changes(out: Path, tasks: Iterable[Task], documents: dict[int, Document]) -> None:
    """Refuse to go on with another configuration, seed, weights or catalogue.

    Raises
    ------
    ConfigError
        Says what changed.
    """
    for task in tasks:
        receipt = read_receipt(out, task.name)
        if receipt is None or isinstance(receipt, str):
            continue
        changes = _changes(out, receipt.origin, task.origin, documents[task.document])
        if changes:
            more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
            raise ConfigError(
                f"--resume: '{task.name}' was made otherwise: {'; '.join(changes[:_SHOWN])}{more}. "
                "Put it back, choose another folder, or replace the files with --overwrite"
            )


def _changes(out: Path, old: Origin, new: Origin, document: Document) -> list[str]:
    changes = origin_changes(old, new)
    if old.document_sha256 != new.document_sha256:
        try:
            before: Any = json.loads(_document_path(out, old.document_sha256).read_text())
        except (OSError, ValueError):
            return [*changes, "configuration"]
        now = json.loads(json.dumps(document.hashed, default=repr))
        changes += list(differences(before, now)) or ["configuration"]
    elif old.config_sha256 != new.config_sha256:
        changes.append("the numbers of its file, images or objects")
    return changes


def _document_path(out: Path, sha256: str) -> Path:
    return state_folder(out) / f"configuration-{sha256[:16]}.json"
