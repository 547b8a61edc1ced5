"""A folder that exists under its name only when everything in it is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyloom.errors import BadInputError
from skyloom.files import current_umask

__all__ = ["whole_folder"]


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which becomes `path` when the block ends without an error.

    Parameters
    ----------
    path : pathlib.Path
        Missing, or an empty folder. Missing parents are made.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    BadInputError
        When something is there already, or GalSim could not read a catalogue of this path.
    """
    if path.is_dir() and any(path.iterdir()):
        raise BadInputError(f"'{path}' is not empty: an export needs a folder of its own")
    if path.exists() and not path.is_dir():
        raise BadInputError(f"'{path}' is a file; an export needs a folder")
    if ".fits" in str(path):
        raise BadInputError(
            f"'{path}': GalSim finds a catalogue's companions by replacing '.fits' in its whole path; choose a name "
            "without it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~current_umask())  # mkdtemp's are for their owner alone
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Have the folder's names on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
