"""Stars: the built-in profile of rows of the kind ``star``."""

from __future__ import annotations

import numpy as np

from skyloom.profiles import ProfileBatch, ProfileRequest

__all__ = ["point_sources"]

_RADIUS = 1e-4  # arcsec; a Gaussian's, which no telescope tells from a point


def point_sources(request: ProfileRequest) -> ProfileBatch:
    """Point sources with the fluxes of a request, whatever its sizes and shapes.

    Parameters
    ----------
    request : ProfileRequest
        N rows.

    Returns
    -------
    ProfileBatch
        Of the generator ``star``; round Gaussians (Sersic index 0.5) of half-light radius 1e-4 arcsec.
    """
    conditions, count = request.conditions, len(request.conditions)
    return ProfileBatch(
        galaxy_id=conditions.galaxy_id,
        sersic_n=np.full(count, 0.5),
        flux=conditions.flux,
        half_light_radius=np.full(count, _RADIUS),
        q=np.ones(count),
        beta=np.zeros(count),
        jacobian=np.tile(_RADIUS * np.eye(2), (count, 1, 1)),
        wavelength=conditions.wavelength,
        redshift=conditions.redshift,
        generator="star",
        seed=request.seed,
    )
