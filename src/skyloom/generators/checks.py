"""Whether a batch is what was asked for: a plugin's mistake is caught here, not in an image."""

from __future__ import annotations

import numpy as np

from skyloom.conditions import Conditions
from skyloom.errors import PluginError
from skyloom.profiles import ProfileBatch

__all__ = ["check_batch"]

_POSITIVE = ("flux", "half_light_radius", "sersic_n", "q")
_FINITE = (*_POSITIVE, "beta", "jacobian", "offset", "residual")


def check_batch(batch: object, conditions: Conditions, who: str) -> None:
    """Raise unless `batch` has one finite profile for each row of `conditions`, in their order.

    Parameters
    ----------
    batch : ProfileBatch
        As returned by a plugin.
    conditions : Conditions
        As asked.
    who : str
        The generator, plugin and version to blame.

    Raises
    ------
    PluginError
        Names `who`, and the galaxy and value where one is to blame; its attribute ``galaxy_id`` is that
        galaxy's.
    """
    if not isinstance(batch, ProfileBatch):
        raise PluginError(f"{who} returned a {type(batch).__name__} instead of a ProfileBatch")
    if len(batch) != len(conditions):
        raise PluginError(f"{who} returned {len(batch)} profiles for {len(conditions)} galaxies")
    different = np.flatnonzero(batch.galaxy_id != conditions.galaxy_id)
    if different.size:
        row = different[0]
        raise PluginError(
            f"{who} returned galaxy {batch.galaxy_id[row]} in row {row}, where "
            f"{conditions.galaxy_id[row]} was asked for"
        )
    if not len(batch):
        return
    for name in _FINITE:
        values = getattr(batch, name)
        if values is None:
            continue
        rows = np.asarray(values).reshape(len(batch), -1)
        # A sum is finite when all terms are; it is cheaper than a mask as large as the residuals.
        good = np.isfinite(rows.sum(axis=1, dtype=np.float64))
        if name in _POSITIVE:
            good &= rows[:, 0] > 0
        if not good.all():
            row = int(np.argmin(good))
            value = rows[row][~np.isfinite(rows[row])][:1] if not np.isfinite(rows[row]).all() else rows[row][:1]
            galaxy_id = int(conditions.galaxy_id[row])
            error = PluginError(f"{who}: galaxy {galaxy_id} has {name} = {value[0]}")
            error.galaxy_id = galaxy_id
            raise error
