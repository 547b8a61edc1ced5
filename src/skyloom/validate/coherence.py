"""Whether the residual hangs together: Fourier modes of its log-polar map in the face-on disc.

Mottle has the same power spectrum as spiral arms; what tells them apart is that arms put it into few modes
(m, k) of azimuth and ln r, all wound the same way. A logarithmic spiral of m arms and pitch angle alpha is
one mode, k = -m / tan(alpha) (Kalnajs 1975, in La dynamique des galaxies spirales, CNRS 241, 103; Considere &
Athanassoula 1988, A&AS 76, 365), and a ring is m = 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from skyloom.validate.measure_flags import Measured, MeasureFlag, Tool
from skyloom.validate.measure_frame import Frame
from skyloom.validate.measure_noise import gaussian_kernel, smooth

__all__ = ["COHERENCE", "log_polar_modes", "measure_coherence", "mode_statistics"]

RADII = (0.4, 3.2)
"""Range of the map, half-light radii."""

SHAPE = (32, 64)
"""Points in ln r and in azimuth."""

MAX_M, MAX_K = 8, 10
"""Highest mode in azimuth, and in ln r."""

MIN_COVERED = 0.8
"""Share of the map that must be usable."""


def measure_coherence(frame: Frame) -> Measured:
    """Measure the coherence of the residual.

    The map is the fractional residual D/M (image minus PSF-convolved fit over that fit, both smoothed by the
    PSF's width), each ring weighted by its S/N up to 3, and tapered in ln r.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    mapping of str to float, MeasureFlag
        See `mode_statistics`.
    """
    if frame.fit is None:
        return {}, MeasureFlag.NO_FIT
    kernel = gaussian_kernel(frame.psf_fwhm)
    mask = smooth(frame.mask.astype(float), kernel)
    residual, model = (smooth(a, kernel) for a in (frame.residual, np.where(frame.mask, frame.model, 0.0)))
    noise = np.sqrt(np.median(frame.variance[frame.mask]))
    where = _positions(frame)
    residual, model, mask = (map_coordinates(a, where, order=1, cval=0.0) for a in (residual, model, mask))
    good = (mask > 0.5) & (model > 0)
    if good.mean() < MIN_COVERED:
        return {}, MeasureFlag.FEW_PIXELS
    fraction = np.where(good, residual / np.where(good, model, 1.0), 0.0)
    weight = np.clip(np.median(model, axis=1, keepdims=True) / (noise + 1e-300), 0.0, 3.0) / 3.0
    return mode_statistics(log_polar_modes(fraction * weight)), MeasureFlag(0)


def log_polar_modes(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power of each mode of a map over ln r and azimuth.

    Parameters
    ----------
    field : ndarray, shape (U, P)
        Rows evenly spaced in ln r, columns evenly over the full circle.

    Returns
    -------
    ndarray, shape (9, 21)
        Of m = 0 to 8, and k = -10 to 10 cycles over the map; the mean, m = k = 0, is 0. A real field has the
        same power at (m, k) and (-m, -k), so m < 0 is left out.
    """
    taper = np.hanning(field.shape[0] + 2)[1:-1, None]
    # without its mean, which the taper would spread from (0, 0) to its neighbours
    centred = field - (field.mean(axis=1, keepdims=True) * taper).sum() / taper.sum()
    modes = np.fft.fft(np.fft.rfft(centred * taper, axis=1)[:, : MAX_M + 1], axis=0)
    power = np.abs(np.concatenate([modes[-MAX_K:], modes[: MAX_K + 1]])).T ** 2
    power[0, MAX_K] = 0.0
    power[0] /= 2  # m = 0 holds both signs of k of one real wave; the others have theirs at -m
    return np.asarray(power)


def mode_statistics(power: NDArray[np.float64]) -> dict[str, float]:
    """Numbers that say how coherent a map is.

    Parameters
    ----------
    power : ndarray, shape (9, 21)
        Of `log_polar_modes`.

    Returns
    -------
    dict of str to float
        ``coherence_ring``: share of m = 0 in all power. Of the rest, m >= 1: ``coherence_chirality``, the
        difference of the power at k > 0 and k < 0 over their sum, -1 to 1, and its modulus
        ``coherence_abs_chirality``; ``coherence_strongest``, share of the strongest (m, k); ``coherence_m1``
        to ``coherence_m4``, share of each m.
    """
    total, turning = float(power.sum()), power[1:]
    rest = float(turning.sum())
    if not rest > 0:
        return {}
    ahead, behind = float(turning[:, MAX_K + 1 :].sum()), float(turning[:, :MAX_K].sum())
    chirality = (ahead - behind) / max(ahead + behind, 1e-300)
    return {
        "coherence_ring": float(power[0].sum()) / total,
        "coherence_chirality": chirality,
        "coherence_abs_chirality": abs(chirality),
        "coherence_strongest": float(turning.max()) / rest,
        **{f"coherence_m{m}": float(power[m].sum()) / rest for m in range(1, 5)},
    }


def _positions(frame: Frame) -> NDArray[np.float64]:
    """Rows and columns (pixels) of the map's points, shape (2, U, P)."""
    fit = frame.fit
    assert fit is not None
    r = np.geomspace(*RADII, SHAPE[0])[:, None] * frame.half_light_radius
    phi = np.arange(SHAPE[1]) * (2 * np.pi / SHAPE[1])
    root = np.sqrt(fit.q)
    major, minor = r * np.cos(phi) / root, r * np.sin(phi) * root
    c, s = np.cos(fit.beta), np.sin(fit.beta)
    x, y = frame.centre
    return np.stack([y + s * major + c * minor, x + c * major - s * minor])


COHERENCE = Tool(
    "coherence",
    dict.fromkeys(
        (
            "coherence_ring",
            "coherence_chirality",
            "coherence_abs_chirality",
            "coherence_strongest",
            "coherence_m1",
            "coherence_m2",
            "coherence_m3",
            "coherence_m4",
        ),
        "",
    ),
    measure_coherence,
)
