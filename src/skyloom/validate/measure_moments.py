"""Adaptive moments of the image as it is, PSF and all."""

from __future__ import annotations

import numpy as np

from skyloom.validate.measure_flags import Measured, MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame

__all__ = ["MOMENTS", "measure_moments"]


def measure_moments(frame: Frame) -> Measured:
    """Measure moments with the elliptical Gaussian that fits best as weight.

    `galsim.hsm.FindAdaptiveMom` (Bernstein & Jarvis 2002, AJ 123, 583; Hirata & Seljak 2003, MNRAS 343, 459).
    The ellipticity is the distortion (a^2 - b^2)/(a^2 + b^2), the size sigma = det(M)^(1/4), and rho4 the
    weighted mean of the fourth power of the radius: 2 for a Gaussian, more for a cuspy profile. g is the
    shear of the same axis ratio, (a - b)/(a + b).

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
    """
    import galsim

    x, y = frame.centre
    image = galsim.Image(np.ascontiguousarray(frame.image), xmin=0, ymin=0)
    # in a thresholded stamp, pixels beyond the isophote count as empty: the weight function reaches them
    usable = np.ones_like(frame.mask) if frame.cutout.thresholded else frame.mask
    weight = galsim.Image(usable.astype(np.int32), xmin=0, ymin=0)
    guess = frame.half_light_radius if frame.fit is not None else 3.0
    found = galsim.hsm.FindAdaptiveMom(
        image,
        weight=weight,
        guess_sig=float(np.clip(np.hypot(guess, frame.psf_fwhm / 2.355), 1.0, image.array.shape[0] / 4)),
        guess_centroid=galsim.PositionD(x, y),
        strict=False,
    )
    if found.moments_status != 0 or found.moments_sigma <= 0:
        return {}, MeasureFlag.FAILED
    away = np.hypot(found.moments_centroid.x - x, found.moments_centroid.y - y)
    flag = MeasureFlag.SUSPECT if away > max(2.0, found.moments_sigma) else MeasureFlag(0)
    shape = found.observed_shape
    return {
        "moments_sigma": found.moments_sigma * frame.scale,
        "moments_e1": shape.e1,
        "moments_e2": shape.e2,
        "moments_ellipticity": shape.e,
        "moments_g1": shape.g1,
        "moments_g2": shape.g2,
        "moments_rho4": found.moments_rho4,
    }, flag


MOMENTS = Tool(
    "moments",
    {
        "moments_sigma": "arcsec",
        "moments_e1": "",
        "moments_e2": "",
        "moments_ellipticity": "",
        "moments_g1": "",
        "moments_g2": "",
        "moments_rho4": "",
    },
    measure_moments,
)
