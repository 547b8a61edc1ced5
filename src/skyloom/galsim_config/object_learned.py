"""``gal.type: LearnedGalaxy``: one galaxy from the generator of ``input.learned_galaxies``."""

from __future__ import annotations

from typing import Any

import galsim
from galsim import Angle
from galsim.config import GetAllParams, GetInputObj, RegisterObjectType

from skyloom.errors import ConfigError
from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.collect import COLLECTOR
from skyloom.galsim_config.decoding import Slot
from skyloom.galsim_config.identity import random_galaxy_id, run_seed
from skyloom.galsim_config.input_learned import LearnedGalaxies
from skyloom.galsim_config.look_ahead import CAPTURE, decode_ahead
from skyloom.galsim_config.pending import PendingTruth

__all__ = ["build_learned_galaxy", "draw_for_config"]

_REQUIRED = {"half_light_radius": float, "sersic_n": float}
_OPTIONAL = {
    "mag": float,
    "flux": float,
    "zero_point": float,
    "q": float,
    "beta": Angle,
    "wavelength": float,
    "redshift": float,
    "structure_radius": float,
    "galaxy_id": int,
}


def build_learned_galaxy(
    config: dict[str, Any], base: dict[str, Any], ignore: list[str], gsparams: dict[str, Any], logger: Any
) -> tuple[Any, bool]:
    """Builder with GalSim's signature.

    GalSim itself applies ``flux``, ``shear``, ``lens`` and the like to what this returns.

    Returns
    -------
    profile : skyloom.LearnedGalaxy
    safe : bool
        Always False: the next object may be another galaxy with the same conditions, and has its own truth.

    Raises
    ------
    ConfigError, ConditionsError, OutOfRangeError
        Name the object, the galaxy and the value.
    """
    galaxies = GetInputObj("learned_galaxies", config, base, "LearnedGalaxy")
    check_keys(config, "gal (type LearnedGalaxy)", [*_REQUIRED, *_OPTIONAL, "num"], ignore)
    for name in _REQUIRED:
        if name not in config:
            raise ConfigError(f"gal (type LearnedGalaxy): '{name}' is missing")
    if ("mag" in config) == ("flux" in config):
        raise ConfigError("gal (type LearnedGalaxy): give exactly one of 'mag' and 'flux'")
    if "sed" in config and "mag" in config:
        raise ConfigError("gal (type LearnedGalaxy): with 'sed' give 'flux', the flux in the bandpass, not 'mag'")
    values, _ = GetAllParams(config, base, req=_REQUIRED, opt=_OPTIONAL, ignore=[*ignore, "num"])
    return draw_for_config(galaxies, values, config, base, gsparams, logger), False


def draw_for_config(
    galaxies: LearnedGalaxies,
    values: dict[str, Any],
    config: dict[str, Any],
    base: dict[str, Any],
    gsparams: dict[str, Any],
    logger: Any,
) -> Any:
    """Draw the galaxy of an object, and leave its truth for `LearnedGalaxyValue`.

    Parameters
    ----------
    galaxies : LearnedGalaxies
        The input object.
    values : dict
        Columns of `skyloom.Conditions`, without those that the input gives by default; ``beta`` may be an
        Angle.
    config, base, gsparams, logger
        As GalSim hands them to a builder.

    Returns
    -------
    skyloom.LearnedGalaxy
        Or what becomes one, where an image draws its galaxies together.
    """
    if "galaxy_id" not in values:
        values["galaxy_id"] = random_galaxy_id(config, base, logger)
    for name in ("zero_point", "wavelength"):
        if values.get(name) is None and getattr(galaxies, name) is not None:
            values[name] = getattr(galaxies, name)
    if "beta" in values:
        values["beta"] = float(values["beta"].rad)
    seed = run_seed(base) if galaxies.seed is None else galaxies.seed
    slot = Slot(galaxies, seed, values, base.get("obj_num", 0))
    if CAPTURE in base:  # somebody only wants to know what will be asked for
        base[CAPTURE].append(slot)
        return galsim.Gaussian(sigma=1.0)
    if COLLECTOR in base:
        config["_learned_truth"] = PendingTruth(slot)
        return base[COLLECTOR].pend(slot, base, gsparams)
    decode_ahead(slot, base)
    config["_learned_truth"] = slot.truth()
    slot.report(logger)
    galaxy = slot.galaxy()
    return galaxy.withGSParams(galsim.GSParams(**gsparams)) if gsparams else galaxy


RegisterObjectType("LearnedGalaxy", build_learned_galaxy, input_type="learned_galaxies")
