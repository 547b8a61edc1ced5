"""Conditions outside what a generator was trained on: refused, moved to the edge, or drawn as a Sersic."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from skyloom.columns import MAY_BE_UNKNOWN
from skyloom.conditions import PHYSICAL_RANGES, Conditions
from skyloom.errors import BadInputError, ConditionsError, OutOfRangeError
from skyloom.profiles import Generator, GeneratorSpec, OutOfRange

if TYPE_CHECKING:
    from skyloom.generators.density import ConditionDensity

__all__ = ["ConditionCheck", "apply_policy", "check_conditions", "condition_values", "surface_brightness"]

logger = logging.getLogger(__name__)

Column = NDArray[np.float64]


def surface_brightness(mag: Column, half_light_radius: Column) -> Column:
    """Mean AB magnitude per arcsec^2 within the half-light radius: ``mag + 2.5 log10(2 pi r^2)``.

    Half of the light on the area pi r^2; the factor 2 is that half.
    """
    return np.asarray(mag + 2.5 * np.log10(2 * np.pi * half_light_radius**2), dtype=np.float64)


def condition_values(conditions: Conditions, name: str) -> Column | None:
    """One condition of all galaxies, derived ones too; NaN where not known, None without the column."""
    if name == "surface_brightness":
        if conditions.mag is None:
            return None
        return surface_brightness(conditions.mag, conditions.half_light_radius)
    if name not in conditions.columns():
        raise BadInputError(f"a generator's ranges name '{name}', which is no condition")
    values: Column | None = getattr(conditions, name)
    return values


@dataclass(frozen=True, eq=False)
class ConditionCheck:
    """Where galaxies stand in what a generator was trained on.

    Parameters
    ----------
    out_of_range : dict of str to ndarray of bool, shape (N,)
        By condition: True where its value lies outside the range of the spec.
    excess : ndarray of float64, shape (N,)
        Log density of the conditions in the training galaxies, less the least that counts as inside; negative outside.
        Infinite for a generator without a density.
    points : ndarray of float64, shape (N, D), or None
        The conditions as the density takes them.
    """

    out_of_range: dict[str, NDArray[np.bool_]]
    excess: Column
    points: Column | None = None

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Whether a galaxy is in every range and in the density, shape (N,)."""
        inside = np.asarray(self.excess >= 0)
        for bad in self.out_of_range.values():
            inside = inside & ~bad
        return inside


def check_conditions(conditions: Conditions, generator: Generator) -> ConditionCheck:
    """Check a catalogue against what a generator was trained on, without drawing; about a second for a million rows.

    Parameters
    ----------
    conditions : Conditions
    generator : Generator
        Its density is its attribute ``density``, where it has one.
    """
    return _checked(conditions, generator.spec, getattr(generator, "density", None))


def apply_policy(
    conditions: Conditions,
    spec: GeneratorSpec,
    out_of_range: OutOfRange,
    density: ConditionDensity | None = None,
) -> tuple[Conditions, NDArray[np.str_], NDArray[np.bool_]]:
    """Do with galaxies outside what a generator was trained on what the user chose.

    Flux, size, Sersic index, axis ratio and angle of the profile stay as asked in every case: the conditions
    returned here are what the learned part is drawn for.

    Parameters
    ----------
    conditions : Conditions
        As asked. Values that are not known are in range.
    spec : GeneratorSpec
        Ranges (closed) and required conditions.
    out_of_range : {'error', 'clip', 'parametric'}
        The policy. ``clip`` brings each condition into its range, then, where the galaxy is outside the density still,
        goes from there towards the mean of the mixture's likeliest component until inside.
    density : ConditionDensity, optional
        What the training galaxies span jointly. Its hints (a redshift that doesn't go with the rest) count as not
        known.

    Returns
    -------
    conditions_to_draw : Conditions
        Inside ranges and density for ``clip``; as asked otherwise, but for hints that don't go with the rest.
    drawn_from : ndarray of str, shape (N,)
        ``learned``, ``clipped`` or ``parametric``.
    parametric : ndarray of bool, shape (N,)
        True where the galaxy shall be its Sersic, without a learned part.

    Raises
    ------
    OutOfRangeError
        For ``error``: names the first galaxy, its values, how far outside they are, and the choices there are.
    ConditionsError
        When a required condition is missing or not known.
    """
    if out_of_range not in get_args(OutOfRange):
        raise BadInputError(f"out_of_range must be one of {', '.join(get_args(OutOfRange))}, not {out_of_range!r}")
    _require(conditions, spec)
    found = _checked(conditions, spec, density)
    outside = ~found.inside
    if out_of_range == "error" and outside.any():
        raise OutOfRangeError(_message(conditions, spec, density, found, outside))
    drawn_from = np.full(len(conditions), "learned", dtype="<U10")
    parametric = np.zeros(len(conditions), dtype=bool)
    drawn = conditions
    if out_of_range == "clip" and outside.any():
        drawn_from[outside] = "clipped"
        drawn = _clipped(conditions, spec)
    elif out_of_range == "parametric":
        drawn_from[outside] = "parametric"
        parametric = outside
    if density is not None:
        drawn = _joint(drawn, spec, density, found.points if drawn is conditions else None, out_of_range == "clip")
    return drawn, drawn_from, parametric


def _require(conditions: Conditions, spec: GeneratorSpec) -> None:
    for name in spec.required:
        values = condition_values(conditions, name)
        if values is None:
            raise ConditionsError(f"generator '{spec.name}' needs the column '{name}'")
        if np.isnan(values).any():
            row = int(np.argmax(np.isnan(values)))
            galaxy = f"galaxy {conditions.galaxy_id[row]} (row {row})"
            raise ConditionsError(f"generator '{spec.name}' needs '{name}', which is not known of {galaxy}")


def _checked(conditions: Conditions, spec: GeneratorSpec, density: ConditionDensity | None) -> ConditionCheck:
    outside = {}
    for name, (low, high) in spec.ranges.items():
        values = condition_values(conditions, name)
        if values is not None:
            outside[name] = (values < low) | (values > high)  # NaN, not known, compares false
    if density is None:
        return ConditionCheck(outside, np.full(len(conditions), np.inf))
    points = _points(conditions, density)
    return ConditionCheck(outside, density.excess(points), points)


def _points(conditions: Conditions, density: ConditionDensity) -> Column:
    return density.points({name: condition_values(conditions, name) for name in density.names}, len(conditions))


def _limits(spec: GeneratorSpec) -> dict[str, tuple[float, float]]:
    return PHYSICAL_RANGES | dict(spec.ranges)


def _joint(
    conditions: Conditions, spec: GeneratorSpec, density: ConditionDensity, points: Column | None, clip: bool
) -> Conditions:
    """Move galaxies inside the density, if that is asked for, and forget hints that don't go with the rest."""
    points = _points(conditions, density) if points is None else points
    moved = density.nearest(points, density.limits(_limits(spec))) if clip else points
    new_values = density.values(moved) if clip else {}
    touched = np.zeros(len(conditions), dtype=bool)
    changed: dict[str, Column] = {}
    for d, name in enumerate(density.names):
        old = condition_values(conditions, name)
        rows = (moved[:, d] != points[:, d]) & ~np.isnan(moved[:, d])
        forgotten = np.zeros_like(rows)
        if density.is_hint[d] and old is not None:
            forgotten = np.isnan(moved[:, d]) & ~np.isnan(old)
        if old is not None and (rows.any() or forgotten.any()):
            low, high = _limits(spec).get(name, (-np.inf, np.inf))  # rounding may carry a value an ulp beyond
            new = np.clip(new_values.get(name, old), low, high)
            changed[name] = np.where(rows, new, np.where(forgotten, np.nan, old))
            touched |= rows
        if forgotten.any():
            logger.info("%s of %d galaxies does not go with the rest: taken as not known", name, forgotten.sum())
    if conditions.mag is not None and ("surface_brightness" in changed or "half_light_radius" in changed):
        radius = changed.get("half_light_radius", conditions.half_light_radius)
        brightness = changed.get("surface_brightness", condition_values(conditions, "surface_brightness"))
        assert brightness is not None
        changed["mag"] = np.where(
            touched, brightness - surface_brightness(np.zeros_like(radius), radius), conditions.mag
        )
    changed.pop("surface_brightness", None)
    return _replaced(conditions, changed) if changed else conditions


def _message(
    conditions: Conditions,
    spec: GeneratorSpec,
    density: ConditionDensity | None,
    found: ConditionCheck,
    outside: NDArray[np.bool_],
) -> str:
    row = int(np.argmax(outside))
    galaxy = f"galaxy {conditions.galaxy_id[row]} (row {row})"
    names = [name for name, bad in found.out_of_range.items() if bad[row]]
    if names:
        values = condition_values(conditions, names[0])
        assert values is not None
        low, high = spec.ranges[names[0]]
        reason = (
            f"{names[0]} = {values[row]:.6g} is outside [{low:.6g}, {high:.6g}], the range of generator '{spec.name}'"
        )
    else:
        assert density is not None
        assert found.points is not None
        reason = (
            f"{_listed(density, found.points[[row]])} are each in range, but no galaxy that generator '{spec.name}' "
            f"was trained on is near them all: log density {-found.excess[row]:.3g} below the least inside"
        )
    if density is not None and found.points is not None:
        near = density.nearest(found.points[[row]], density.limits(_limits(spec)))
        reason += f"; the nearest inside is {_listed(density, near)}"
    more = int(outside.sum()) - 1
    return (
        f"{galaxy}: {reason}"
        + (f" (and {more} more galax{'y' if more == 1 else 'ies'})" if more else "")
        + "; out_of_range chooses what happens: 'error', 'clip' (the learned part of the nearest condition "
        "in range) or 'parametric' (a Sersic)"
    )


def _listed(density: ConditionDensity, point: Column) -> str:
    return ", ".join(f"{name} = {v[0]:.4g}" for name, v in density.values(point).items() if not np.isnan(v[0]))


def _clipped(conditions: Conditions, spec: GeneratorSpec) -> Conditions:
    changed: dict[str, Column] = {}
    for name, limits in spec.ranges.items():
        values = None if name == "surface_brightness" else condition_values(conditions, name)
        if values is not None:
            changed[name] = np.clip(values, *limits)
    if "surface_brightness" in spec.ranges and conditions.mag is not None:
        # The magnitude moves as far as its own range lets it, the size goes the rest of the way.
        mag = changed.get("mag", conditions.mag)
        radius = changed.get("half_light_radius", conditions.half_light_radius)
        now = surface_brightness(mag, radius)
        excess = now - np.clip(now, *spec.ranges["surface_brightness"])
        new_mag = np.clip(mag - excess, *spec.ranges.get("mag", (-np.inf, np.inf)))
        rest = excess - (mag - new_mag)
        radius = np.clip(radius * 10 ** (-rest / 5), *spec.ranges.get("half_light_radius", (0, np.inf)))
        changed["mag"], changed["half_light_radius"] = new_mag, radius
    return _replaced(conditions, changed)


def _replaced(conditions: Conditions, changed: dict[str, Column]) -> Conditions:
    if "mag" in changed:
        changed.pop("flux", None)  # one follows from the other
    for name in MAY_BE_UNKNOWN:
        if name in changed:
            changed[name] = np.ma.masked_invalid(changed[name])
    return conditions.replace(**changed)
