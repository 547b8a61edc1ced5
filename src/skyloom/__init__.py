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
    from skyloom.populations.read import read_catalogue
    from skyloom.populations.registry import load_population
    from skyloom.profiles import GeneratorSpec, ProfileBatch, ProfileRequest
    from skyloom.render.field import Field, render_field
    from skyloom.stamp_file import read_stamps
    from skyloom.surveys.registry import list_surveys, load_survey

__all__ = [
    "Conditions",
    "Field",
    "GeneratorSpec",
    "LearnedGalaxy",
    "ProfileBatch",
    "ProfileRequest",
    "__version__",
    "draw",
    "list_surveys",
    "load_model",
    "load_population",
    "load_survey",
    "plugin_manager",
    "read_catalogue",
    "read_cutouts",
    "read_stamps",
    "render_field",
]

_HOMES = {
    "Conditions": "skyloom.conditions",
    "Field": "skyloom.render.field",
    "GeneratorSpec": "skyloom.profiles",
    "LearnedGalaxy": "skyloom.galaxy",
    "ProfileBatch": "skyloom.profiles",
    "ProfileRequest": "skyloom.profiles",
    "draw": "skyloom.physics.draw",
    "list_surveys": "skyloom.surveys.registry",
    "load_model": "skyloom.generators.registry",
    "load_population": "skyloom.populations.registry",
    "load_survey": "skyloom.surveys.registry",
    "plugin_manager": "skyloom.manager",
    "read_catalogue": "skyloom.populations.read",
    "read_cutouts": "skyloom.cutouts.hdf5",
    "read_stamps": "skyloom.stamp_file",
    "render_field": "skyloom.render.field",
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
