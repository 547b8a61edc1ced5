"""From a minimum to a `SersicFit`: physical units, errors, S/N and flags."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from skyloom.cutouts.fit_start import N_RANGE, Q_MIN, psf_half_light
from skyloom.cutouts.levenberg import Problem, Solution
from skyloom.cutouts.noise import correlation_area
from skyloom.cutouts.sersic_model import DX, DY, ETA1, ETA2, LN_N, LN_R, model_images
from skyloom.stamps import Cutout, FitFlag, SersicFit

__all__ = ["report"]

LOW_SNR, POOR_CHI2, COVERED, SEEN, RESOLVED = 10.0, 3.0, 3.0, 0.4, 0.3


def report(cutouts: list[Cutout], problem: Problem, unit: NDArray[np.float64], solution: Solution) -> list[SersicFit]:
    """One `SersicFit` a stamp.

    Parameters
    ----------
    cutouts : list of Cutout
    problem : Problem
        Of the same stamps.
    unit : ndarray, shape (B,)
        Image units that are 1 in the problem.
    solution : Solution
    """
    image, _ = model_images(problem.instrument, solution.p, jacobian=False)
    model = solution.linear[:, :1, None] * image + solution.linear[:, 1:, None]
    used = (problem.weight > 0) & ~problem.ceiling
    chi2 = (used * problem.weight * (problem.data - model) ** 2).sum((1, 2)) / (used.sum((1, 2)) - 7).clamp(min=1)
    covariance = torch.linalg.pinv(solution.normal.double(), rcond=1e-12)
    fits = []
    for i, cutout in enumerate(cutouts):
        values = (
            solution.p[i].double().numpy(),
            solution.linear[i].double().numpy(),
            covariance[i].numpy(),
            float(chi2[i]),
            bool(solution.converged[i]),
        )
        fits.append(_one(cutout, image[i].numpy(), used[i].numpy(), float(unit[i]), *values))
    return fits


def _one(
    cutout: Cutout,
    image: np.ndarray,
    used: np.ndarray,
    unit: float,
    p: np.ndarray,
    linear: np.ndarray,
    covariance: np.ndarray,
    chi2: float,
    converged: bool,
) -> SersicFit:
    scale, area = cutout.pixel_scale, correlation_area(cutout.noise_correlation)
    errors = np.sqrt(np.clip(np.diag(covariance), 0.0, None) * area)
    eta = float(np.hypot(p[ETA1], p[ETA2]))
    along = np.array([p[ETA1], p[ETA2]]) / max(eta, 1e-9)
    shape = covariance[ETA1 : ETA2 + 1, ETA1 : ETA2 + 1] * area
    eta_error = float(np.sqrt(max(float(along @ shape @ along), 0.0)))
    across = np.array([-along[1], along[0]])
    beta_error = float(np.sqrt(max(float(across @ shape @ across), 0.0))) / (2 * max(eta, 1e-9))
    radius, n, q = float(np.exp(p[LN_R])), float(np.exp(p[LN_N])), float(np.exp(-eta))
    flux, sky = linear * unit
    size = image.shape[0]
    edge = (cutout.image.shape[0] - size) // 2
    variance = cutout.variance[edge : edge + size, edge : edge + size]
    snr = float(np.sqrt(np.sum(np.where(used, (flux * image) ** 2 / variance, 0.0)) / area))
    beta = 0.5 * float(np.arctan2(p[ETA2], p[ETA1]))

    flag = FitFlag(0)
    numbers = [*p, *linear, chi2, snr, *errors]
    if not np.isfinite(numbers).all() or not flux > 0:
        flag |= FitFlag.FAILED
    if not converged:
        flag |= FitFlag.NOT_CONVERGED
    shift = min(6.0, size / 8)
    close = 1e-3
    if (
        not N_RANGE[0] * (1 + close) < n < N_RANGE[1] * (1 - close)
        or q < Q_MIN * (1 + close)
        or np.abs(p[[DX, DY]]).max() > shift * (1 - close)
    ):
        flag |= FitFlag.AT_BOUND
    semi_major = radius / np.sqrt(q)
    if image[used].sum() < SEEN:
        flag |= FitFlag.RUNAWAY_SIZE
    elif COVERED * semi_major > _extent(used) and not cutout.thresholded:
        flag |= FitFlag.TRUNCATED
    if radius < RESOLVED * psf_half_light(cutout):
        flag |= FitFlag.UNRESOLVED
    if snr < LOW_SNR:
        flag |= FitFlag.LOW_SNR
    if chi2 > POOR_CHI2:
        flag |= FitFlag.POOR_FIT
    yy, xx = np.mgrid[:size, :size] - (size - 1) / 2
    if not used[np.hypot(xx - p[DX], yy - p[DY]) < 2.5].all():
        flag |= FitFlag.MASKED_CENTRE
    return SersicFit(
        dx=float(p[DX]) * scale,
        dy=float(p[DY]) * scale,
        half_light_radius=radius * scale,
        sersic_n=n,
        q=q,
        beta=beta,
        flux=float(flux),
        sky=float(sky),
        dx_error=float(errors[DX]) * scale,
        dy_error=float(errors[DY]) * scale,
        half_light_radius_error=float(errors[LN_R]) * radius * scale,
        sersic_n_error=float(errors[LN_N]) * n,
        q_error=eta_error * q,
        beta_error=min(beta_error, np.pi / np.sqrt(12)),  # of an angle that is not known at all
        flux_error=float(errors[6]) * unit,
        sky_error=float(errors[7]) * unit if not cutout.thresholded else 0.0,
        chi2=chi2,
        snr=snr,
        flag=int(flag),
    )


def _extent(used: np.ndarray) -> float:
    """Radius, pixels, within which nine tenths of the pixels are used, at most half the window."""
    half = used.shape[0] / 2
    yy, xx = np.mgrid[: used.shape[0], : used.shape[1]] - (used.shape[0] - 1) / 2
    radius = np.hypot(xx, yy)
    for r in np.arange(half, 1.0, -1.0):
        if used[radius < r].mean() > 0.9:
            return float(r)
    return 1.0
