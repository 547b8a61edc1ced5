"""Writing files that exist under their final name only when they are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["current_umask", "whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, which becomes `path` when the block ends without an error.

    Parameters
    ----------
    path : pathlib.Path
        The final name; a file there is replaced in one step. Missing folders are made.

    Yields
    ------
    pathlib.Path
        Where to write; it has the suffix of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~current_umask())  # mkstemp's files are for their owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def current_umask() -> int:
    """Permissions that new files do not have; the system only tells when it is changed."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
