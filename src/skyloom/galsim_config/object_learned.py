"""``gal.type: LearnedGalaxy``: one galaxy from the generator of ``input.learned_galaxies``."""

from __future__ import annotations

from typing import Any

from galsim import Angle, GSParams
from galsim.config import GetAllParams, GetInputObj, RegisterObjectType

from skyloom.errors import BadInputError, ConfigError
from skyloom.galsim_config.checks import check_keys
from skyloom.galsim_config.identity import random_galaxy_id, run_seed
from skyloom.galsim_config.input_learned import LearnedGalaxies

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
    """
    if "galaxy_id" not in values:
        values["galaxy_id"] = random_galaxy_id(config, base, logger)
    for name in ("zero_point", "wavelength"):
        if values.get(name) is None and getattr(galaxies, name) is not None:
            values[name] = getattr(galaxies, name)
    if "beta" in values:
        values["beta"] = float(values["beta"].rad)
    obj_num = base.get("obj_num", 0)
    try:
        drawn = galaxies.draw(run_seed(base), **values)
    except BadInputError as exc:  # its row is one of one galaxy: the object says more
        galaxy = f"galaxy {values['galaxy_id']}"
        text = str(exc).removeprefix(f"{galaxy} (row 0): ").replace(f", row 0 ({galaxy})", "")
        raise type(exc)(f"object {obj_num}, {galaxy}: {text}") from exc
    config["_learned_truth"] = drawn.truth
    if logger:
        logger.debug("obj %d: LearnedGalaxy %s", obj_num, drawn.truth)
        if drawn.truth["drawn_from"] in ("clipped", "parametric") and galaxies.spec.grid_size:
            logger.info(
                "obj %d: galaxy %d is outside the range of %s: %s",
                obj_num, values["galaxy_id"], galaxies.model, drawn.truth["drawn_from"],
            )  # fmt: skip
    return drawn.profile.withGSParams(GSParams(**gsparams)) if gsparams else drawn.profile


RegisterObjectType("LearnedGalaxy", build_learned_galaxy, input_type="learned_galaxies")
