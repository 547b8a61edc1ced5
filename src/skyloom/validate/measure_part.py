"""Measured rows on disk as they come, so that an interrupted run goes on where it stopped.

One JSON object a line: a line that was cut off by a crash is all that is lost. The first line says which
measurements and which cutouts the file belongs to.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skyloom.errors import BadInputError

__all__ = ["PartFile"]


class PartFile:
    """A file of measured rows that grows.

    Parameters
    ----------
    path : Path
        Made when it is missing.
    columns : sequence of str
        Of a row.
    identity : str
        What the rows were measured on.

    Raises
    ------
    BadInputError
        For a file of other columns or of other cutouts.
    """

    def __init__(self, path: Path, columns: Sequence[str], identity: str) -> None:
        self.path = Path(path)
        self._columns = tuple(columns)
        digest = hashlib.sha256("\n".join(columns).encode()).hexdigest()[:16]
        self._head = {"skyloom": "measurements", "columns": digest, "cutouts": identity}
        self._file: Any = None

    def rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Read what is there, cut off a torn end and open the file for more; use it up before `append`."""
        good = 0
        if self.path.exists():
            with self.path.open("rb") as file:
                for number, line in enumerate(file):
                    entry = _parse(line)
                    if number == 0:
                        self._check(entry)
                    elif entry is None or len(entry.get("values", ())) != len(self._columns):
                        break
                    else:
                        values = [math.nan if v is None else v for v in entry["values"]]
                        yield int(entry["row"]), dict(zip(self._columns, values, strict=True))
                    good += len(line)
        self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        self._file.truncate(good)
        self._file.seek(good)
        if good == 0:
            self._write(self._head)

    def append(self, row: int, values: Mapping[str, Any]) -> None:
        """Write one row."""
        numbers = [values[name] for name in self._columns]
        plain = [None if isinstance(v, float) and not math.isfinite(v) else v for v in numbers]
        self._write({"row": row, "values": plain})

    def close(self) -> None:
        """Make sure that all is on disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def _check(self, entry: Mapping[str, Any] | None) -> None:
        if entry is None or entry.get("skyloom") != "measurements":
            raise BadInputError(f"{self.path} is not a file of measurements; name another one to resume from")
        for key, what in (("columns", "other quantities"), ("cutouts", "other cutouts")):
            if entry.get(key) != self._head[key]:
                raise BadInputError(f"{self.path} holds measurements of {what}; remove it or name another file")


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
