"""Sizes that no image has: refused before anything is allocated for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import galsim

from skyloom.errors import ConfigError
from skyloom.surveys.observing import RANGES

__all__ = ["MAX_SIDE", "check_limits"]

MAX_SIDE = 100_000
"""Pixels along a side of an image or a stamp."""

_SIDES = {
    "image": ("size", "xsize", "ysize", "stamp_size", "stamp_xsize", "stamp_ysize", "nx_tiles", "ny_tiles"),
    "stamp": ("size", "xsize", "ysize"),
}


def check_limits(config: dict[str, Any], root: str) -> None:
    """Refuse pixels too small and images or stamps too large to be meant.

    GalSim allocates what it is asked for, and its FFT of a far too small pixel ends the process. Values that follow
    from others are looked at as they are for the first file; those that need an object or random numbers are left
    to GalSim.

    Parameters
    ----------
    config : dict
        With its inputs processed; not altered.
    root : str
        Name of the configuration, for messages.

    Raises
    ------
    ConfigError
        Names the key and its value.
    """
    config = galsim.config.CopyConfig(config)
    low = RANGES["pixel_scale"][0]
    for name, value in _numbers(config):
        if name == "image.pixel_scale" and not value >= low:
            raise ConfigError(f"configuration '{root}': {name} is {value:g} arcsec; at least {low:g} is needed")
        if name != "image.pixel_scale" and value > MAX_SIDE:
            raise ConfigError(f"configuration '{root}': {name} is {value:g}; an image or stamp has at most {MAX_SIDE}")


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Those of the keys that have a number already."""
    for section, keys in (("image", ("pixel_scale",)), *_SIDES.items()):
        found = config.get(section)
        if not isinstance(found, dict):
            continue
        for key in keys:
            if key in found:
                try:
                    yield f"{section}.{key}", float(galsim.config.ParseValue(found, key, config, float)[0])
                except Exception:  # GalSim says what is wrong with it, or knows it later
                    continue
