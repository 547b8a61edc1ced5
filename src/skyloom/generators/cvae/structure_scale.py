"""One size of the structure for all bands of a galaxy: arms stay put on the sky, the Sersic's radius does not."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyloom.conditions import Conditions
from skyloom.errors import ConditionsError
from skyloom.generators.cvae.frame import R0, R_MAX, ROWS, node_radii, outer_edge
from skyloom.profiles import GeneratorSpec

__all__ = ["SCALES", "scaled_maps", "shared_conditions", "structure_scale"]

SCALES = (0.3, 3.0)
"""Half-light radii over structure radius that are drawn; beyond, too little of the map would lie on the galaxy."""

_SPAN = float(np.log1p(R_MAX / R0))
_CUBIC = -0.75  # the kernel of `sample_map`


def structure_scale(conditions: Conditions, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Half-light radius over the radius that the bands share; 1 where none is given.

    Parameters
    ----------
    conditions : Conditions
    rows : ndarray of int, shape (N,)
        Those that shall have structure.

    Returns
    -------
    ndarray, shape (N,)

    Raises
    ------
    ConditionsError
        When it is outside `SCALES`.
    """
    if conditions.structure_radius is None:
        return np.ones(len(rows))
    radius, shared = conditions.half_light_radius[rows], conditions.structure_radius[rows]
    scale = np.where(np.isnan(shared), 1.0, radius / shared)
    bad = (scale < SCALES[0]) | (scale > SCALES[1])
    if bad.any():
        k, row = int(np.argmax(bad)), int(rows[np.argmax(bad)])
        more = int(bad.sum()) - 1
        raise ConditionsError(
            f"galaxy {conditions.galaxy_id[row]} (row {row}): half_light_radius = {radius[k]:.6g} arcsec is "
            f"{scale[k]:.3g} times structure_radius = {shared[k]:.6g} arcsec, not within "
            f"[{SCALES[0]:g}, {SCALES[1]:g}] times it" + (f" (and {more} more row{'s' * (more > 1)})" if more else "")
        )
    return scale


def shared_conditions(conditions: Conditions, spec: GeneratorSpec) -> Conditions:
    """Conditions with the radius that the bands share, in the range of `spec`: the prior's, for one latent in all."""
    if conditions.structure_radius is None:
        return conditions
    radius = np.clip(conditions.structure_radius, *spec.ranges.get("half_light_radius", (0, np.inf)))
    return conditions.replace(half_light_radius=np.where(np.isnan(radius), conditions.half_light_radius, radius))


def scaled_maps(f: Tensor, scale: Tensor) -> Tensor:
    """Maps in the galaxy's own half-light radii to maps in a band's: f'(r) = f(r scale).

    Interpolated along the rows by the same cubic as `skyloom.generators.cvae.frame.sample_map`, inside the first row
    through the centre as there; beyond the last row the map fades as the decoder lets it fade.

    Parameters
    ----------
    f : Tensor, shape (B, ROWS, COLUMNS)
    scale : Tensor, shape (B,)
        Where it is exactly 1 the map comes back as it was.

    Returns
    -------
    Tensor, shape (B, ROWS, COLUMNS)
    """
    if bool((scale == 1).all()):
        return f
    r = node_radii().to(f) * scale[:, None]
    row = torch.log1p(r / R0) / _SPAN * ROWS - 0.5
    beyond = (row > ROWS - 1)[..., None]
    row = row.clamp(max=ROWS - 1) + 2  # two rows seen from the other side of the centre come first
    across = torch.roll(f[:, :2], f.shape[2] // 2, 2).flip(1)
    padded = torch.cat([across, f, f[:, -1:], f[:, -1:]], 1)
    below = row.floor()
    t = row - below
    distances = (1 + t, t, 1 - t, 2 - t)
    found = torch.zeros_like(f)
    for k, distance in enumerate(distances):
        at = (below.long() + k - 1)[..., None].expand(-1, -1, f.shape[2])
        found = found + _kernel(distance)[..., None] * padded.gather(1, at)
    fade = (outer_edge(r) / outer_edge(node_radii()[-1:]).to(f))[..., None]
    found = torch.where(beyond, found * fade, found)
    return torch.where((scale == 1)[:, None, None], f, found)


def _kernel(x: Tensor) -> Tensor:
    """Cubic convolution at distances of 0 to 2 rows (Keys 1981)."""
    a = _CUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, far)
