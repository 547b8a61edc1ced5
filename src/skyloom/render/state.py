"""What a run keeps in the hidden folder ``.skyloom`` of its output: locks, configurations, unfinished files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skyloom.errors import ConfigError, RenderError
from skyloom.files import current_umask, whole_file
from skyloom.render.documents import Document, differences
from skyloom.render.products import sync_folder
from skyloom.render.receipts import Origin, listed_files, origin_changes, read_receipt, receipt_path
from skyloom.render.tasks import Task

__all__ = [
    "claim_seed",
    "discard_files",
    "fresh_scratch",
    "keep_documents",
    "refuse_changes",
    "refuse_receipts",
    "seed_of",
    "state_folder",
]

_SHOWN = 12  # changes that a message lists
_WRITING = 2.0  # seconds that another shard may take to write a number, where there are no hard links


def state_folder(out: Path) -> Path:
    """The hidden folder."""
    return out / ".skyloom"


def fresh_scratch(out: Path, shard: tuple[int, int] | None) -> Path:
    """An empty folder for unfinished files; what a killed run left there is removed.

    A whole run holds the folder alone, and so removes what killed shards left as well, of whatever division.
    """
    name = "unfinished" if shard is None else f"unfinished-{shard[0]}-of-{shard[1]}"
    scratch = state_folder(out) / name
    for left in [scratch] if shard else state_folder(out).glob("unfinished*"):
        shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def seed_of(out: Path) -> int | None:
    """Seed that an earlier run into this folder drew for a configuration without one."""
    try:
        return int(_seed_path(out).read_text())
    except (OSError, ValueError):
        return None


def claim_seed(out: Path, seed: int) -> int:
    """Keep a drawn seed, or learn that another shard was first with its own.

    Raises
    ------
    RenderError
        When a seed is kept but cannot be read, for no other may take its place; when it cannot be written.
    """
    path = _seed_path(out)
    try:
        if path.exists() or not _write_new(path, str(seed)):
            return _kept_seed(path)
    except OSError as exc:
        raise RenderError(f"cannot write '{path}': {exc.strerror or exc}") from exc
    return seed


def _seed_path(out: Path) -> Path:
    return state_folder(out) / "seed"


def _kept_seed(path: Path) -> int:
    end = time.monotonic() + _WRITING
    while True:
        text = path.read_text(errors="replace")
        with contextlib.suppress(ValueError):
            if (seed := int(text)) > 0:
                return seed
        if time.monotonic() > end:
            raise RenderError(
                f"'{path}' holds no seed but {text[:20]!r}: write into it the one that the receipts here name "
                "(origin.seed), or remove it where there are none"
            )
        time.sleep(0.05)


def _write_new(path: Path, text: str) -> bool:
    """Write a file that appears with its content, unless there is one already: then False."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~current_umask())  # shards may be another's
        try:
            os.link(name, path)
        except FileExistsError:
            return False
        except OSError:  # no hard links here: the content comes a moment after the name
            try:
                with path.open("x") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            except FileExistsError:
                return False
        sync_folder(path.parent)
        return True
    finally:
        Path(name).unlink(missing_ok=True)


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


def discard_files(out: Path, todo: Iterable[Task], others: Iterable[Task]) -> None:
    """Remove what an earlier run made of these tasks: the new run may not make all of it.

    Parameters
    ----------
    out : pathlib.Path
        Output folder. What a receipt names outside of it is left alone.
    todo : iterable of Task
        Tasks that will be made.
    others : iterable of Task
        Tasks whose files stay, also those that the tasks of `todo` once made.
    """
    stay = {name for task in others for name in (task.name, *task.extras, *listed_files(out, task.name))}
    for task in todo:
        for name in listed_files(out, task.name):
            path = out / name
            if os.path.normpath(name) not in stay and _is_inside(path, out) and path.is_file():
                path.unlink(missing_ok=True)
        receipt_path(out, task.name).unlink(missing_ok=True)  # last: until then it says what is left to remove


def _is_inside(path: Path, out: Path) -> bool:
    folder, whole = path.parent.resolve(), out.resolve()
    return folder.is_relative_to(whole) and not folder.is_relative_to(state_folder(whole)) and path.name != ".."


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
