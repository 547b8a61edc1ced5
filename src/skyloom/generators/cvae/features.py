"""Physical inputs as the network reads them: scaled to order one, with a flag for each that may be unknown."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skyloom.conditions import Conditions
from skyloom.generators.ranges import condition_values

__all__ = [
    "FEATURES",
    "HINTS",
    "OPTIONAL",
    "REFERENCE",
    "STEP",
    "WIDTH",
    "condition_features",
    "hide",
    "known_values",
    "set_step",
    "wavelength_known",
    "with_wavelength",
    "without_band",
]

FEATURES = ("sersic_n", "q", "half_light_radius", "surface_brightness", "wavelength", "redshift")
OPTIONAL = ("surface_brightness", "wavelength", "redshift")
"""Inputs that may be unknown; each has a flag after the values, 1 where unknown."""
BAND_DEPENDENT = ("surface_brightness", "wavelength")
"""Inputs that differ between the bands of one galaxy: the decoder's, not the prior's."""
HINTS = {"redshift": (0.2, 5.2)}
"""Inputs that help where known and refuse nothing: outside these ranges they count as not known."""
STEP = len(FEATURES) + len(OPTIONAL)
"""Column of the distance in (scaled, logarithmic) wavelength from that at which the galaxy's latents are defined."""
WIDTH = STEP + 1
REFERENCE = 1.5
"""That wavelength in samples, and where priors learn of real galaxies: 2.4 micron, scaled. Encoders choose it by a
galaxy's stamps."""

_SCALE: dict[str, tuple[float, float]] = {  # centre, width; logarithms where marked below
    "sersic_n": (0.2, 0.6),
    "q": (0.55, 0.25),
    "half_light_radius": (-1.4, 0.7),
    "surface_brightness": (21.5, 1.5),
    "wavelength": (6.9, 0.6),
    "redshift": (0.6, 0.35),
}
_LOGARITHM = ("sersic_n", "half_light_radius", "wavelength")


def condition_features(conditions: Conditions) -> Tensor:
    """Inputs of the network.

    Returns
    -------
    Tensor of float32, shape (N, `WIDTH`)
        The scaled `FEATURES`, clipped to +-3, zero where unknown; the unknown flags of `OPTIONAL`; and the step from
        `REFERENCE`, zero where the wavelength is unknown.
    """
    n = len(conditions)
    values = np.zeros((n, WIDTH))
    for column, name in enumerate(FEATURES):
        raw = condition_values(conditions, name)
        x = np.full(n, np.nan) if raw is None else np.array(raw)
        if name in HINTS:
            x[(x < HINTS[name][0]) | (x > HINTS[name][1])] = np.nan
        if name in _LOGARITHM:
            x = np.log(x)
        elif name == "redshift":
            x = np.log1p(x)
        centre, width = _SCALE[name]
        x = np.clip((x - centre) / width, -3, 3)
        unknown = np.isnan(x)
        values[:, column] = np.where(unknown, 0.0, x)
        if name in OPTIONAL:
            values[:, _flag(name)] = unknown
    features = torch.from_numpy(values.astype(np.float32))
    set_step(features, REFERENCE)
    return features


def _flag(name: str) -> int:
    """Column that says of an optional input whether it is unknown."""
    return len(FEATURES) + OPTIONAL.index(name)


def wavelength_known(y: Tensor) -> Tensor:
    """Whether it is, bool, shape (N,)."""
    return y[:, _flag("wavelength")] < 0.5


def set_step(y: Tensor, reference: Tensor | float) -> None:
    """Fill the column `STEP` of features (N, `WIDTH`), in place, for scaled reference wavelengths, shape (N,)."""
    y[:, STEP] = (y[:, FEATURES.index("wavelength")] - reference) * wavelength_known(y)


def hide(y: Tensor, name: str, rows: Tensor) -> None:
    """Make an optional condition unknown, in place, for some rows (a bool Tensor of shape (N,))."""
    y[rows, FEATURES.index(name)] = 0.0
    y[rows, _flag(name)] = 1.0
    if name == "wavelength":
        y[rows, STEP] = 0.0


def with_wavelength(y: Tensor, wavelength: Tensor) -> Tensor:
    """Features as seen at another wavelength, the surface brightness not known there.

    Parameters
    ----------
    y : Tensor, shape (N, `WIDTH`)
    wavelength : Tensor, shape (N,)
        Nanometre.

    Returns
    -------
    Tensor, shape (N, `WIDTH`)
    """
    y = without_band(y)
    centre, width = _SCALE["wavelength"]
    y[:, FEATURES.index("wavelength")] = ((torch.log(wavelength) - centre) / width).clamp(-3, 3)
    y[:, _flag("wavelength")] = 0.0
    set_step(y, REFERENCE)
    return y


def without_band(y: Tensor) -> Tensor:
    """Features without what differs between the bands of one galaxy: what the prior of its latents may know.

    Parameters
    ----------
    y : Tensor, shape (N, `WIDTH`)

    Returns
    -------
    Tensor, shape (N, `WIDTH`)
        A copy with wavelength and surface brightness unknown. The half-light radius differs between bands as well:
        that which they share is the caller's to give (`skyloom.Conditions.structure_radius`).
    """
    y = y.clone()
    everyone = torch.ones(len(y), dtype=torch.bool)
    for name in BAND_DEPENDENT:
        hide(y, name, everyone)
    return y


def known_values(features: Tensor, name: str) -> Tensor:
    """What `condition_features` was given for one input, NaN where unknown; shape (N,)."""
    centre, width = _SCALE[name]
    x = features[:, FEATURES.index(name)] * width + centre
    if name in _LOGARITHM:
        x = torch.exp(x)
    elif name == "redshift":
        x = torch.expm1(x)
    if name not in OPTIONAL:
        return x
    unknown = features[:, _flag(name)] > 0.5
    return torch.where(unknown, torch.full_like(x, torch.nan), x)
