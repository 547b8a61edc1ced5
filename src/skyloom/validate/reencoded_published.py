"""Published numbers on arms and bars that the structure of samples is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BARRED", "BAR_FRACTIONS", "HART_PITCH", "published_bar_fraction"]

HART_PITCH: dict[int, float] = {16: 12.0, 50: 18.0, 84: 26.0}
"""Percentiles of the pitch angles of nearby spirals, degrees (Hart et al. 2017, MNRAS 472, 2263)."""

BARRED = 0.5
"""Amplitude of m = 2 over the mean around a circle (`bar_strength`) from which a map counts as barred.

Half of all real discs reach 0.3, where ovals and clumps count; 0.5 leaves about the share that people see bars in."""

BAR_FRACTIONS: tuple[tuple[float, float, float, float, float], ...] = (
    (0.5, 1.0, 0.388, 0.055, 0.062),
    (1.0, 1.5, 0.267, 0.042, 0.052),
    (1.5, 2.0, 0.204, 0.034, 0.045),
    (2.0, 2.5, 0.175, 0.038, 0.058),
    (2.5, 3.0, 0.087, 0.026, 0.060),
    (3.0, 4.0, 0.061, 0.020, 0.070),
)
"""Redshift from and to, share of discs with a bar seen by eye in CEERS images, error below and above, without the
corrections for what the images do not show (Geron et al. 2025, arXiv:2505.01421): so are ours."""


def published_bar_fraction(redshift: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bar fraction and its error (mean of both sides) at redshifts; NaN outside the table's, 0.5 to 4.

    Parameters
    ----------
    redshift : ndarray, shape (N,)

    Returns
    -------
    fraction, error : ndarray, shape (N,)
    """
    fraction, error = np.full((2, len(redshift)), np.nan)
    for low, high, share, below, above in BAR_FRACTIONS:
        inside = (redshift >= low) & (redshift < high)
        fraction[inside], error[inside] = share, (below + above) / 2
    return fraction, error
