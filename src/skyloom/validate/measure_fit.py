"""The numbers of the Sersic fit that a cutout brings along."""

from __future__ import annotations

import numpy as np

from skyloom.validate.measure_flags import Measured, MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame

__all__ = ["FIT", "copy_fit"]

_BARE = ("half_light_radius", "sersic_n", "q", "beta", "flux", "chi2", "snr", "dx", "dy")
_ERRORS = ("half_light_radius_error", "sersic_n_error", "q_error")


def copy_fit(frame: Frame) -> Measured:
    """Copy the fit, with its flux as an AB magnitude beside; a fit with any bit set is suspect.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
    """
    fit = frame.fit
    if fit is None:
        return {}, MeasureFlag.NO_FIT
    values = {f"fit_{name}": float(getattr(fit, name)) for name in (*_BARE, *_ERRORS)}
    values["fit_mag"] = frame.cutout.zero_point - 2.5 * float(np.log10(fit.flux))
    values["fit_mag_error"] = 2.5 / float(np.log(10)) * fit.flux_error / fit.flux
    return values, MeasureFlag.SUSPECT if fit.flag else MeasureFlag(0)


_UNITS = {
    "fit_half_light_radius": "arcsec",
    "fit_half_light_radius_error": "arcsec",
    "fit_beta": "rad",
    "fit_dx": "arcsec",
    "fit_dy": "arcsec",
    "fit_mag": "mag",
    "fit_mag_error": "mag",
}
FIT = Tool(
    "fit",
    {name: _UNITS.get(name, "") for name in ("fit_mag", "fit_mag_error", *(f"fit_{n}" for n in (*_BARE, *_ERRORS)))},
    copy_fit,
)
