"""The files that a configuration names, and their hashes: another catalogue is another configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import galsim

from skyloom.render.products import file_sha256

__all__ = ["NamedFiles"]

_NAMES = ("file_name", "image", "pupil_plane_im", "e_power_function", "b_power_function")
"""Keys whose value is, or may be, the name of a file; beside those that end in ``_file`` or ``_file_name``."""
_MADE = ("file_name", "dir")  # in `output` they say where things go
_NO_NAMES = ("type", "root", "modules", "current")


class NamedFiles:
    """Hashes files by path, each once.

    Parameters
    ----------
    config : dict
        The document, as it stands.
    hashes : dict
        SHA-256 by path of files met before; added to.
    """

    def __init__(self, config: dict[str, Any], hashes: dict[str, str]) -> None:
        self._hashes = hashes
        sections = {key: value for key, value in config.items() if key not in ("input", *_NO_NAMES)}
        self._written = self._hash(name for key, value in sections.items() for name in _strings(value, "", key))

    def of_file(self, config: dict[str, Any]) -> dict[str, str]:
        """SHA-256 by path of the files that count for one output file.

        Parameters
        ----------
        config : dict
            Set up for that file, a copy: what gives a name is evaluated in it.
        """
        sections = {key: value for key, value in config.items() if not key.startswith("_") and key not in _NO_NAMES}
        names = (name for key, value in sections.items() for name in _evaluated(value, config, key))
        return dict(sorted({**self._written, **self._hash(names)}.items()))

    def _hash(self, names: Iterator[str]) -> dict[str, str]:
        found = {}
        for name in names:
            if name not in self._hashes:
                try:
                    self._hashes[name] = file_sha256(Path(name)) if os.path.isfile(name) else ""
                except OSError:  # GalSim itself says what is wrong with it, when it reads it
                    self._hashes[name] = ""
            if self._hashes[name]:
                found[name] = self._hashes[name]
        return found


def _strings(value: Any, folder: str, section: str) -> Iterator[str]:
    """Every string as it is written, by itself and in the `dir` of the mapping around it."""
    if isinstance(value, str):
        if value and value[0] not in "$@":
            yield value
            if folder:
                yield os.path.join(folder, value)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, folder, section)
    elif isinstance(value, dict):
        given = value.get("dir")
        folder = given if isinstance(given, str) and given[:1] not in ("$", "@") else folder
        for key, item in value.items():
            if not _is_skipped(key, section):
                yield from _strings(item, folder, section)


def _evaluated(value: Any, base: dict[str, Any], section: str, folder: str = "") -> Iterator[str]:
    """The names that keys for files have now; under ``input``, also its other strings."""
    if isinstance(value, str) and section == "input":
        yield from _strings(value, folder, section)
    elif isinstance(value, list):
        for item in value:
            yield from _evaluated(item, base, section, folder)
    elif isinstance(value, dict):
        folder = _text(value, "dir", base) or folder
        for key, item in value.items():
            if _is_skipped(key, section):
                continue
            name = _text(value, key, base) if _is_name(key) else None
            if name is None:
                yield from _evaluated(item, base, section, folder)
            else:
                yield os.path.join(folder, name)


def _is_name(key: Any) -> bool:
    return key in _NAMES or str(key).endswith(("_file", "_file_name"))


def _is_skipped(key: Any, section: str) -> bool:
    return key in _NO_NAMES or str(key).startswith("_") or (section == "output" and key in _MADE)


def _text(section: dict[str, Any], key: str, base: dict[str, Any]) -> str | None:
    """A value as text, where it can be had of a file as a whole."""
    if not isinstance(section.get(key), (str, dict)):
        return None
    try:
        return str(galsim.config.ParseValue(section, key, base, str)[0])
    except Exception:  # it follows an object, or is not what it looks like
        return None
