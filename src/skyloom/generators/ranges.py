"""Conditions outside what a generator was trained on: refused, moved to the edge, or drawn as a Sersic."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from skyloom.conditions import Conditions
from skyloom.errors import BadInputError, ConditionsError, OutOfRangeError
from skyloom.profiles import GeneratorSpec, OutOfRange

__all__ = ["apply_policy", "condition_values", "surface_brightness"]

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


def apply_policy(
    conditions: Conditions, spec: GeneratorSpec, out_of_range: OutOfRange
) -> tuple[Conditions, NDArray[np.str_], NDArray[np.bool_]]:
    """Do with galaxies outside a generator's ranges what the user chose.

    Flux, size, Sersic index, axis ratio and angle of the profile stay as asked in every case: the conditions
    returned here are what the learned part is drawn for.

    Parameters
    ----------
    conditions : Conditions
        As asked. Values that are not known are in range.
    spec : GeneratorSpec
        Ranges (closed) and required conditions.
    out_of_range : {'error', 'clip', 'parametric'}
        The policy.

    Returns
    -------
    conditions_to_draw : Conditions
        Within the ranges for ``clip``; as asked otherwise.
    drawn_from : ndarray of str, shape (N,)
        ``learned``, ``clipped`` or ``parametric``.
    parametric : ndarray of bool, shape (N,)
        True where the galaxy shall be its Sersic, without a learned part.

    Raises
    ------
    OutOfRangeError
        For ``error``: names the first galaxy, its column, value and the range, and the choices there are.
    ConditionsError
        When a required condition is missing or not known.
    """
    if out_of_range not in get_args(OutOfRange):
        raise BadInputError(f"out_of_range must be one of {', '.join(get_args(OutOfRange))}, not {out_of_range!r}")
    for name in spec.required:
        values = condition_values(conditions, name)
        if values is None:
            raise ConditionsError(f"generator '{spec.name}' needs the column '{name}'")
        if np.isnan(values).any():
            row = int(np.argmax(np.isnan(values)))
            galaxy = f"galaxy {conditions.galaxy_id[row]} (row {row})"
            raise ConditionsError(f"generator '{spec.name}' needs '{name}', which is not known of {galaxy}")
    outside = _outside(conditions, spec)
    any_outside = np.any([bad for bad in outside.values()], axis=0) if outside else np.zeros(len(conditions), bool)
    if out_of_range == "error" and any_outside.any():
        raise OutOfRangeError(_message(conditions, spec, outside, any_outside))
    drawn_from = np.full(len(conditions), "learned", dtype="<U10")
    if out_of_range == "clip":
        drawn_from[any_outside] = "clipped"
        return (
            (_clipped(conditions, spec) if any_outside.any() else conditions),
            drawn_from,
            np.zeros_like(any_outside),
        )
    drawn_from[any_outside] = "parametric"
    return conditions, drawn_from, any_outside


def _outside(conditions: Conditions, spec: GeneratorSpec) -> dict[str, NDArray[np.bool_]]:
    outside = {}
    for name, (low, high) in spec.ranges.items():
        values = condition_values(conditions, name)
        if values is not None:
            outside[name] = (values < low) | (values > high)  # NaN, not known, compares false
    return outside


def _message(
    conditions: Conditions,
    spec: GeneratorSpec,
    outside: dict[str, NDArray[np.bool_]],
    any_outside: NDArray[np.bool_],
) -> str:
    row = int(np.argmax(any_outside))
    name = next(n for n, bad in outside.items() if bad[row])
    values = condition_values(conditions, name)
    assert values is not None
    low, high = spec.ranges[name]
    more = int(any_outside.sum()) - 1
    return (
        f"galaxy {conditions.galaxy_id[row]} (row {row}): {name} = {values[row]:.6g} is outside "
        f"[{low:.6g}, {high:.6g}], the range of generator '{spec.name}'"
        + (f" (and {more} more galax{'y' if more == 1 else 'ies'})" if more else "")
        + "; out_of_range chooses what happens: 'error', 'clip' (the learned part of the nearest condition "
        "in range) or 'parametric' (a Sersic)"
    )


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
    if "mag" in changed:
        changed.pop("flux", None)  # one follows from the other
    for name in ("wavelength", "redshift"):
        if name in changed:
            changed[name] = np.ma.masked_invalid(changed[name])
    return conditions.replace(**changed)
