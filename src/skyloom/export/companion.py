"""The tables beside a RealGalaxyCatalog: parametric fits and what quality cuts ask for.

Columns and meanings are those of GalSim's COSMOS catalogues (Mandelbaum et al. 2012, MNRAS 420, 1518; columns
described in `galsim.COSMOSCatalog`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyloom.export.extent import sersic_central_brightness
from skyloom.export.settings import ExportSettings
from skyloom.profiles import ProfileBatch

__all__ = ["parametric_columns", "selection_columns"]

_COSMOS_PIXEL = 0.03  # arcsec; the unit of lengths in these tables whatever the stamps' pixels
_FITTED = 1  # the fit's status: converged; GalSim takes 1 to 4 for good
_NO_NOISE = 1e6  # S/N named for stamps without noise


def parametric_columns(batch: ProfileBatch, sizes: NDArray[np.int64], settings: ExportSettings) -> dict[str, Any]:
    """The single Sersic of the requested flux, half-light radius, n, q and beta, N rows.

    Parameters
    ----------
    batch : ProfileBatch
        N galaxies.
    sizes : ndarray of int, shape (N,)
        Pixels of their stamps.
    settings : ExportSettings

    Returns
    -------
    dict of str to ndarray
        ``zphot`` is 0 where the redshift is not known, which GalSim's SEDs can take.
    """
    count = len(batch)
    n, q = np.asarray(batch.sersic_n, dtype=np.float64), np.asarray(batch.q, dtype=np.float64)
    radius, zero = np.asarray(batch.half_light_radius, dtype=np.float64), np.zeros(count)
    at_half = sersic_central_brightness(n) * np.exp(-_b(n)) * batch.flux * (_COSMOS_PIXEL / radius) ** 2
    centre = (sizes + 1) / 2 * settings.pixel_scale / _COSMOS_PIXEL
    shape = [q, zero, centre, centre, batch.beta]
    major = radius / np.sqrt(q) / _COSMOS_PIXEL
    redshift = zero if batch.redshift is None else np.nan_to_num(batch.redshift)
    return {
        "IDENT": batch.galaxy_id,
        "mag_auto": settings.zero_point - 2.5 * np.log10(batch.flux),
        "flux_radius": radius / _COSMOS_PIXEL,
        "zphot": redshift,
        "sersicfit": np.stack([at_half, major, n, *shape], axis=1),
        # No bulge was fitted: a disc and a bulge of the same shape and no light.
        "bulgefit": np.stack([zero, major, zero + 1, *shape, zero, major, zero + 4, *shape], axis=1),
        "fit_status": np.full((count, 5), _FITTED, dtype=np.int32),
        "fit_mad_s": zero,
        "fit_mad_b": zero,
        "fit_dvc_btt": zero,
        "use_bulgefit": np.zeros(count, dtype=np.int32),
        "viable_sersic": np.ones(count, dtype=np.int32),
        "hlr": np.stack([radius, zero, zero], axis=1),
        "flux": np.stack([batch.flux, zero, zero, zero], axis=1),
    }


def selection_columns(stamps: Mapping[str, NDArray[Any]], settings: ExportSettings) -> dict[str, Any]:
    """What `galsim.COSMOSCatalog` cuts on: nothing is masked, and fits agree with the catalogue.

    Parameters
    ----------
    stamps : mapping
        Columns ``ident``, ``size`` (pixels), ``peak`` and ``square`` (sum of the stamp's squares).
    settings : ExportSettings
    """
    zero = np.zeros(len(stamps["ident"]))
    if settings.noise_variance is None:
        signal = zero + _NO_NOISE
    else:
        signal = np.sqrt(stamps["square"] / settings.noise_variance)
    return {
        "IDENT": stamps["ident"],
        "dmag": zero,
        "sn_ellip_gauss": signal,
        "min_mask_dist_pixels": stamps["size"] / 2,
        "average_mask_adjacent_pixel_count": zero,
        "peak_image_pixel_count": stamps["peak"],
    }


def _b(n: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import gammaincinv

    return np.asarray(gammaincinv(2 * n, 0.5))
