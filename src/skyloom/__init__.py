"""Learned galaxies for GalSim image simulations.

Importing it loads neither torch nor a model; names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from skyloom.conditions import Conditions
    from skyloom.cutouts.hdf5 import read_cutouts
    from skyloom.galaxy import LearnedGalaxy
    from skyloom.generators.registry import load_model
    from skyloom.manager import plugin_manager
    from skyloom.physics.draw import draw
    from skyloom.profiles import GeneratorSpec, ProfileBatch, ProfileRequest

__all__ = [
    "Conditions",
    "GeneratorSpec",
    "LearnedGalaxy",
    "ProfileBatch",
    "ProfileRequest",
    "__version__",
    "draw",
    "load_model",
    "plugin_manager",
    "read_cutouts",
]

_HOMES = {
    "Conditions": "skyloom.conditions",
    "GeneratorSpec": "skyloom.profiles",
    "LearnedGalaxy": "skyloom.galaxy",
    "ProfileBatch": "skyloom.profiles",
    "ProfileRequest": "skyloom.profiles",
    "draw": "skyloom.physics.draw",
    "load_model": "skyloom.generators.registry",
    "plugin_manager": "skyloom.manager",
    "read_cutouts": "skyloom.cutouts.hdf5",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skyloom' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# Last, for it uses the names above: GalSim's `modules: [skyloom]` is an import, and must register the types.
importlib.import_module("skyloom.galsim_config")
