"""Centre, axis ratio and position angle of one galaxy from its fits in several bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyloom.stamps import Cutout, FitFlag, SersicFit

__all__ = ["Shape", "common_shapes", "log_shear"]

UNFIT = FitFlag.FAILED | FitFlag.RUNAWAY_SIZE | FitFlag.MASKED_CENTRE | FitFlag.UNRESOLVED
"""Fits that are not asked for a galaxy's shape while another band can tell it."""

ETA_SCATTER, CENTRE_SCATTER = 0.03, 0.05
"""What galaxies themselves differ by between neighbouring bands: log shear a component, and centre in units of
the half-light radius. Added to the errors, or the brightest band alone would decide."""

TAIL = 3.0
"""Sigmas at which a band's weight has halved: one that has fitted a neighbour or a clump must not pull."""


@dataclass(frozen=True)
class Shape:
    """What the bands of a galaxy share, as one of its cutouts sees it.

    Parameters
    ----------
    dx, dy : float
        Centre from the stamp's true centre, arcsec. NaN: the bands' frames are not known to be one.
    eta1, eta2 : float
        Log shear: ``q = exp(-|eta|)``, ``beta = atan2(eta2, eta1) / 2``.
    centre_error, eta_error : float
        One sigma, a component.
    """

    dx: float
    dy: float
    eta1: float
    eta2: float
    centre_error: float
    eta_error: float

    @property
    def eta(self) -> float:
        """Size of the log shear."""
        return float(np.hypot(self.eta1, self.eta2))

    @property
    def q(self) -> float:
        """Axis ratio."""
        return float(np.exp(-self.eta))


def log_shear(fit: SersicFit) -> tuple[NDArray[np.float64], float]:
    """Log shear of a fit, shape (2,), and its error, a component.

    Unlike an angle it is a vector: means need no care about where beta begins again, and a round galaxy's,
    whose angle is not known, is near 0 whatever the angle.
    """
    eta = -np.log(fit.q)
    along, across = fit.q_error / fit.q, 2 * eta * fit.beta_error
    return eta * np.array([np.cos(2 * fit.beta), np.sin(2 * fit.beta)]), float(np.sqrt((along**2 + across**2) / 2))


def common_shapes(cutouts: Sequence[Cutout], fits: Sequence[SersicFit]) -> list[Shape] | None:
    """The shape that the bands of one galaxy share: a mean weighted by inverse variance.

    Parameters
    ----------
    cutouts : sequence of Cutout
        Of one galaxy, one a band.
    fits : sequence of SersicFit
        Of each band by itself.

    Returns
    -------
    list of Shape or None
        As each cutout sees it; None when all have failed.
    """
    told = [i for i, fit in enumerate(fits) if not fit.flags & UNFIT]
    # With none to be trusted, what there is: one galaxy has one shape all the same.
    told = told or [i for i, fit in enumerate(fits) if not fit.flags & FitFlag.FAILED]
    if not told:
        return None
    shears = [log_shear(fits[i]) for i in told]
    radius = float(np.median([fits[i].half_light_radius for i in told]))
    eta, eta_error = _mean(np.array([s[0] for s in shears]), np.hypot([s[1] for s in shears], ETA_SCATTER))
    frames = np.array([[c.centre_x, c.centre_y] for c in cutouts])
    found = np.array([[fits[i].dx, fits[i].dy] for i in told]) + frames[told]
    errors = [np.hypot(fits[i].dx_error, fits[i].dy_error) / np.sqrt(2) for i in told]
    centre, centre_error = np.full(2, np.nan), float("nan")
    if np.isfinite(frames).all():
        centre, centre_error = _mean(found, np.hypot(errors, CENTRE_SCATTER * radius))
    return [
        Shape(
            dx=float(centre[0] - frame[0]),
            dy=float(centre[1] - frame[1]),
            eta1=float(eta[0]),
            eta2=float(eta[1]),
            centre_error=centre_error,
            eta_error=eta_error,
        )
        for frame in frames
    ]


def _mean(points: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Mean of points (N, 2) by inverse variance, those far out with less weight, and its error."""
    weight = errors**-2.0
    mean = np.average(points, axis=0, weights=weight)
    if len(points) > 2:  # of two, neither is the odd one out
        mean = np.median(points, axis=0)
        for _ in range(20):
            far = ((points - mean) ** 2).sum(1) / errors**2 / TAIL**2
            weight = errors**-2.0 / (1 + far)
            mean = np.average(points, axis=0, weights=weight)
    return mean, float(1 / np.sqrt(weight.sum()))
