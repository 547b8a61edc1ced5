"""Plugins of a few lines for the tests of fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from astropy.table import Table

from skyloom.hookspecs import hookimpl
from skyloom.manager import plugin_manager


@contextmanager
def plugin(name: str = "toy", **hooks: Any) -> Iterator[None]:
    """A plugin whose implementations are the given functions, while the block lasts."""

    class Plugin:
        pass

    toy = Plugin()
    for hook, function in hooks.items():
        function.__name__ = hook
        setattr(toy, hook, function if hasattr(function, "skyloom_impl") else hookimpl(function))
    manager = plugin_manager()
    manager.register_version(toy, name, "1.2")
    try:
        yield
    finally:
        manager.unregister(toy)
        manager.broken.clear()


def galaxies(count: int = 8, seed: int = 3, side: tuple[int, int] = (240, 200), **columns: Any) -> Table:
    """A table of galaxies with places, some near or over the edges."""
    rng = np.random.default_rng(seed)
    return Table(
        {
            "galaxy_id": rng.permutation(1000)[:count],
            "flux": rng.uniform(1e3, 2e4, count),
            "half_light_radius": rng.uniform(0.2, 0.5, count),
            "sersic_n": rng.uniform(0.8, 2.0, count),
            "q": rng.uniform(0.4, 1.0, count),
            "beta": rng.uniform(-1.5, 1.5, count),
            "x": rng.uniform(-5, side[0] + 5, count),
            "y": rng.uniform(-5, side[1] + 5, count),
            **{name: np.broadcast_to(values, count) for name, values in columns.items()},
        }
    )
