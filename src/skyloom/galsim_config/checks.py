"""One clear message for a key that a configuration section does not know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from galsim.config.value import standard_ignore

from skyloom.errors import ConfigError

__all__ = ["check_keys"]


def check_keys(section: Mapping[str, Any], where: str, known: Iterable[str], ignore: Iterable[str] = ()) -> None:
    """Refuse keys of `section` that are neither in `known` nor GalSim's own.

    Parameters
    ----------
    section : mapping
        The part of the configuration.
    where : str
        What to call it in the message, e.g. ``input.learned_galaxies``.
    known : iterable of str
        Keys it takes; the message lists them.
    ignore : iterable of str
        Keys that GalSim itself reads there.

    Raises
    ------
    ConfigError
        Names the key, and the nearest one that exists.
    """
    known = list(known)
    allowed = {*known, *ignore, *standard_ignore}
    for key in section:
        if key not in allowed and not key.startswith("_"):
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{where}: unknown key '{key}'" + (f" (did you mean '{near[0]}'?)" if near else "")
                + f"; it takes {', '.join(known)}"
            )  # fmt: skip
