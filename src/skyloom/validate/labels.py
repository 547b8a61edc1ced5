"""What measured quantities are called where people read them."""

from __future__ import annotations

__all__ = ["CONDITION_LABELS", "LABELS"]

LABELS: dict[str, str] = {
    "moments_sigma": "size (adaptive moments)",
    "moments_ellipticity": "ellipticity",
    "moments_rho4": "rho4",
    "growth_mag": "magnitude (growth curve)",
    "growth_half_light_radius": "half-light radius (growth curve)",
    "concentration": "concentration",
    "asymmetry": "asymmetry",
    "smoothness": "smoothness",
    "gini": "Gini",
    "m20": "M20",
    "multimode": "multimode",
    "intensity": "intensity",
    "deviation": "deviation",
    "pixels_p99": "brightest pixels",
    "pixels_skewness": "pixel skewness",
    "residual_rms": "residual after the best Sersic",
    "residual_rms_smoothed": "residual, smoothed",
    "residual_asymmetry": "residual asymmetry",
    "coherence_ring": "rings",
    "coherence_abs_chirality": "|chirality|",
    "coherence_strongest": "strongest mode",
    "coherence_m1": "share of m = 1",
    "coherence_m2": "share of m = 2",
    "coherence_m3": "share of m = 3",
    "coherence_m4": "share of m = 4",
}
"""By the measured column."""

CONDITION_LABELS: dict[str, str] = {
    "mag": "magnitude",
    "half_light_radius": "half-light radius",
    "sersic_n": "Sersic index n",
    "q": "axis ratio q",
}
"""By the condition."""
