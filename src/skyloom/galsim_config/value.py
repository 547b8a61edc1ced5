"""``type: LearnedGalaxyValue``: what is known of the galaxy just drawn, for truth tables and other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from galsim.config import GetAllParams, GetFromConfig, RegisterValueType

from skyloom.errors import ConfigError
from skyloom.galsim_config.checks import check_keys

__all__ = ["FIELDS", "learned_galaxy_value", "truth_value"]

FIELDS = (
    "galaxy_id", "mag", "flux", "zero_point", "half_light_radius", "sersic_n", "q", "beta", "wavelength",
    "redshift", "structure_radius", "drawn_from", "generator", "weights", "seed",
)  # fmt: skip
"""Fields of a drawn galaxy, in the units of `skyloom.Conditions`.

They are those of the galaxy before GalSim's own lensing, shear, rotation and the like. ``drawn_from`` is
``learned``, ``clipped`` or ``parametric``.
"""


def learned_galaxy_value(config: dict[str, Any], base: dict[str, Any], value_type: Any) -> tuple[Any, bool]:
    """Value of a `field`, of the galaxy in ``gal`` or in the key that `gal` names (e.g. ``gal.items.0``).

    A number that is not known (a redshift that was not given) is NaN. An integer beyond 32 bits becomes text
    in a truth table.

    Raises
    ------
    ConfigError
        For an unknown field, or when no learned galaxy stands there.
    """
    check_keys(config, "type LearnedGalaxyValue", ["field", "gal"])
    if "field" not in config:
        raise ConfigError(f"type LearnedGalaxyValue: 'field' is missing; it is one of {', '.join(FIELDS)}")
    values, _ = GetAllParams(config, base, req={"field": str}, opt={"gal": str})
    name, where = values["field"], values.get("gal", "gal")
    if name not in FIELDS:
        raise ConfigError(f"type LearnedGalaxyValue: no field '{name}'; there are {', '.join(FIELDS)}")
    section = GetFromConfig(base, where)
    if not isinstance(section, dict) or "_learned_truth" not in section:
        raise ConfigError(f"type LearnedGalaxyValue: no learned galaxy has been drawn in '{where}'")
    if value_type is not None:
        return value_type(section["_learned_truth"].get(name, float("nan"))), False
    return truth_value(section["_learned_truth"], name), False


def truth_value(truth: Mapping[str, Any], field: str) -> Any:
    """Value of a field in a truth table: NaN when it is not known, text for an integer beyond 32 bits.

    A truth table asks for no type, and GalSim writes its integers with 32 bits, whatever is lost.
    """
    value = truth.get(field, float("nan"))
    return str(value) if isinstance(value, int) and not -(2**31) <= value < 2**31 else value


RegisterValueType("LearnedGalaxyValue", learned_galaxy_value, [float, int, str, None])
