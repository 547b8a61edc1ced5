"""Checks of what a GalSim object is made from, with GalSim's errors."""

from __future__ import annotations

import math
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.frames import profile_jacobian

__all__ = ["check_ellipse", "finite", "known", "square_grid", "within"]

_TOLERANCE = 1e-6


def finite(name: str, values: Any, shape: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """Copy as a read-only float64 array of this shape.

    Raises
    ------
    galsim.GalSimValueError
        For another shape, or entries that aren't finite numbers.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise galsim.GalSimValueError(f"{name} must be numbers", values) from exc
    if array.shape != shape:
        raise galsim.GalSimValueError(f"{name} must have shape {shape}, not {array.shape}", values)
    if not np.isfinite(array).all():
        raise galsim.GalSimValueError(f"{name} is not finite", values)
    array.flags.writeable = False
    return array


def within(name: str, value: Any, low: float = math.ulp(0.0), high: float = math.inf) -> float:
    """Return `value` as a float in [low, high]; by default any positive number.

    Raises
    ------
    galsim.GalSimValueError
        When it isn't a finite number.
    galsim.GalSimRangeError
        When it is outside.
    """
    number = float(finite(name, value))
    if not low <= number <= high:
        raise galsim.GalSimRangeError(f"{name} is out of range", number, low, high)
    return number


def square_grid(name: str, values: Any) -> NDArray[np.float32]:
    """Copy as a read-only square float32 array.

    Raises
    ------
    galsim.GalSimValueError
        For another shape, or entries that aren't finite numbers of float32.
    """
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused below
            array = np.array(values, dtype=np.float32, order="C")
    except (TypeError, ValueError) as exc:
        raise galsim.GalSimValueError(f"{name} must be numbers", type(values)) from exc
    if array.ndim != 2 or array.shape[0] != array.shape[1] or len(array) < 2:
        raise galsim.GalSimValueError(f"{name} must be a square grid", array.shape)
    if not np.isfinite(array).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise galsim.GalSimValueError(f"{name} is not finite at row {row}, column {column}", float(array[row, column]))
    array.flags.writeable = False
    return array


def check_ellipse(jacobian: NDArray[np.float64], q: float, beta: float) -> None:
    """Check that a Jacobian maps circles to ellipses of axis ratio `q` at position angle `beta` (radians).

    Raises
    ------
    galsim.GalSimValueError
        When it is singular.
    galsim.GalSimIncompatibleValuesError
        When the ellipse is another one.
    """
    det = abs(float(np.linalg.det(jacobian)))
    if not det > 0:
        raise galsim.GalSimValueError("jacobian is singular", jacobian.tolist())
    unit = profile_jacobian(1.0, q, beta)
    wanted, found = unit @ unit.T, jacobian @ jacobian.T / det
    if not np.abs(found - wanted).max() <= _TOLERANCE * np.abs(wanted).max():
        raise galsim.GalSimIncompatibleValuesError(
            "the jacobian's ellipse is not that of q and beta", jacobian=jacobian.tolist(), q=q, beta=beta
        )


def known(value: Any) -> float | None:
    """None for a value that is missing, which in tables is NaN."""
    return None if value is None or math.isnan(value) else float(value)
