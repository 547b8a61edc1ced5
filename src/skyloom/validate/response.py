"""How the shape of a galaxy's image answers to shear, by finite differences, without noise."""

from __future__ import annotations

import galsim
import numpy as np
from numpy.typing import NDArray

from skyloom.errors import SkyloomError
from skyloom.stamps import Cutout
from skyloom.validate.drawing import psf_of, seen_through

__all__ = ["shape_response"]

SHEAR = 0.02
"""Of the finite differences, to either side."""


def shape_response(galaxy: galsim.GSObject, cutout: Cutout) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Response of a galaxy's ellipticity to shear, and its ellipticity without: means with itself turned by 90 deg.

    The distortion e of the adaptive moments (Hirata & Seljak 2003, MNRAS 343, 459) of the image through the cutout's
    PSF is measured with the profile sheared by g_i = +-0.02 before the PSF:

        R_i = (e_i(+g_i) - e_i(-g_i)) / 2 g_i,    e_i = (e_i(+g_i) + e_i(-g_i)) / 2,

    the response of Huff & Mandelbaum 2017 (arXiv:1702.02600), but on the known profile in place of a
    deconvolved image. The turned pair takes the galaxy's own ellipticity off.

    Parameters
    ----------
    galaxy : galsim.GSObject
        Centred.
    cutout : Cutout
        Whose PSF, pixels and stamp are used.

    Returns
    -------
    response, ellipticity : ndarray, shape (2,)
        NaN when a moment cannot be measured.
    """
    psf, quarter = psf_of(cutout), np.array([[0.0, -1.0], [1.0, 0.0]])
    signs = (1, -1)
    e = np.array(
        [
            [[_distortion(galaxy, _shear(i, sign * SHEAR) @ turn, psf, cutout)[i] for i in range(2)] for sign in signs]
            for turn in (np.eye(2), quarter)
        ]
    ).mean(axis=0)
    return (e[0] - e[1]) / (2 * SHEAR), (e[0] + e[1]) / 2


def _shear(component: int, g: float) -> NDArray[np.float64]:
    return np.asarray(galsim.Shear(**{f"g{component + 1}": g}).getMatrix())


def _distortion(
    galaxy: galsim.GSObject, matrix: NDArray[np.float64], psf: galsim.GSObject, cutout: Cutout
) -> tuple[float, float]:
    try:
        image = galsim.Image(seen_through(galaxy, cutout, matrix=matrix, psf=psf), scale=cutout.pixel_scale)
        found = galsim.hsm.FindAdaptiveMom(image, strict=False)
    except (galsim.GalSimError, SkyloomError):
        return float("nan"), float("nan")
    if found.moments_status != 0:
        return float("nan"), float("nan")
    return found.observed_shape.e1, found.observed_shape.e2
