"""One metric a quantity: Wasserstein-1 distance of its distribution."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

from astropy.table import Table

from skyloom.descriptors import Metric
from skyloom.validate.labels import LABELS
from skyloom.validate.metrics_columns import finite_rows, galaxies_in, galaxy_labels, generator_of, values
from skyloom.validate.statistics_marginal import compare_marginal

__all__ = ["COHERENCE_SNR", "marginal_metrics"]

COHERENCE_SNR = 50.0
"""S/N of the fit from which a residual shows its structure rather than the noise's."""

_LOTZ = "Lotz, Primack & Madau 2004, AJ 128, 163"
_FREEMAN = "Freeman et al. 2013, MNRAS 434, 282"
_HIRATA = "Hirata & Seljak 2003, MNRAS 343, 459"

# (quantity, group, what it sees, reference)
_QUANTITIES = (
    ("moments_sigma", "size and shape", "size, log10 arcsec", _HIRATA),
    ("moments_ellipticity", "size and shape", "roundness", _HIRATA),
    ("moments_rho4", "size and shape", "how cuspy the profile is", _HIRATA),
    ("growth_mag", "size and shape", "flux, AB mag", ""),
    ("growth_half_light_radius", "size and shape", "size, log10 arcsec", ""),
    ("concentration", "morphology", "light at the centre", _LOTZ),
    ("asymmetry", "morphology", "lopsidedness", _LOTZ),
    ("smoothness", "morphology", "clumps", _LOTZ),
    ("gini", "morphology", "how unevenly light is shared out", _LOTZ),
    ("m20", "morphology", "where the brightest pixels are", _LOTZ),
    ("multimode", "morphology", "double nuclei", _FREEMAN),
    ("intensity", "morphology", "the second brightest clump", _FREEMAN),
    ("deviation", "morphology", "an off-centre peak", _FREEMAN),
    ("pixels_p99", "pixels", "99th percentile of the pixels over their mean", ""),
    ("pixels_skewness", "pixels", "shape of the pixels' histogram", ""),
    ("residual_rms", "residual", "structure of all scales", ""),
    ("residual_rms_smoothed", "residual", "structure larger than half a half-light radius", ""),
    ("residual_asymmetry", "residual", "lopsided structure", ""),
    ("coherence_ring", "coherence", "share of axisymmetric structure", ""),
    ("coherence_abs_chirality", "coherence", "structure wound one way, as spiral arms are", ""),
    ("coherence_strongest", "coherence", "structure in one mode (m, k): mottle has many", ""),
    ("coherence_m1", "coherence", "one-armed or lopsided structure", ""),
    ("coherence_m2", "coherence", "bars and two arms", ""),
    ("coherence_m3", "coherence", "three arms", ""),
    ("coherence_m4", "coherence", "four arms", ""),
)


def marginal_metrics() -> list[Metric]:
    """Give ``wasserstein_<quantity>`` for each quantity whose distribution is judged."""
    return [
        Metric(
            f"wasserstein_{quantity}",
            partial(_compare, quantity),
            summary=f"distribution of {LABELS[quantity]}: {sees}",
            formula="W1(real, model) / std(real)",
            reference=reference,
            label=LABELS[quantity],
            group=group,
            quantity=quantity,
        )
        for quantity, group, sees, reference in _QUANTITIES
    ]


def _compare(quantity: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    least = COHERENCE_SNR if quantity.startswith("coherence_") else 0.0
    rows, others = finite_rows(real, quantity, least), finite_rows(model, quantity, least)
    rng = generator_of(context, zlib.crc32(quantity.encode()))
    labels = galaxy_labels(real[rows], model[others])
    found = compare_marginal(
        values(real, quantity)[rows],
        values(model, quantity)[others],
        rng,
        labels=labels,
        size=galaxies_in(model[others]),
    )
    left_out = {"left_out_real": len(real) - len(rows), "left_out_model": len(model) - len(others)}
    return found | {name: float(number) for name, number in left_out.items()}
