"""Metrics of a generator itself: gain in evidence, exactness of what is drawn, response to shear."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyloom.descriptors import Metric
from skyloom.validate.metrics_columns import generator_of
from skyloom.validate.statistics_score import bootstrap, score
from skyloom.validate.statistics_simple import mean_and_error

__all__ = ["EXACT", "generator_metrics"]

EXACT = 1e-3
"""Relative error of flux and half-light radius that a model may have."""

_HUFF = "Huff & Mandelbaum 2017, arXiv:1702.02600"


def generator_metrics() -> list[Metric]:
    """Give the metrics of what `skyloom.validate.generator_figures` puts into the context; NaN without it."""
    return [
        Metric(
            "elbo_gain",
            _gain,
            "gain in held-out evidence over f = 0, the Sersic alone; above 0: the model explains more than it costs",
            "mean over stamps of ELBO - ln p(image | Sersic), nats",
            "Kingma & Welling 2014, ICLR",
            better="none",
            label="gain in evidence over Sersic",
            group="reconstruction",
        ),
        *(
            Metric(
                f"exact_{name}",
                partial(_exact, name),
                f"{label} of a profile drawn without a PSF against what was asked for, up to 100 galaxies",
                "rms of drawn / asked - 1",
                label=f"exactness of {label}",
                group="exactness",
            )
            for name, label in (("flux", "flux"), ("half_light_radius", "half-light radius"))
        ),
        Metric(
            "shear_response",
            _response,
            "response of moments to shear, learned galaxies against their Sersics; no calibration",
            "mean R_learned / mean R_Sersic - 1, R the mean of R_11 and R_22",
            _HUFF,
            better="none",
            label="shear response against Sersic (m)",
            group="shear response",
        ),
        *(
            Metric(
                f"shear_offset_{i}",
                partial(_offset, i),
                f"e{i} without shear, learned galaxies less their Sersics, as a shear; no calibration",
                f"mean e{i}_learned / mean R_learned - mean e{i}_Sersic / mean R_Sersic",
                _HUFF,
                better="none",
                label=f"shear offset against Sersic (c{i})",
                group="shear response",
            )
            for i in (1, 2)
        ),
    ]


def _gain(real: Table, model: Table, **context: Any) -> dict[str, float]:
    """By source too: ``gain_<source>`` and ``error_<source>``, and the ``share`` of stamps above 0."""
    del real, model
    gain = context.get("held_out_gain")
    if gain is None or len(gain) == 0:
        return score(float("nan"))
    sources, galaxies = (np.asarray(context[f"held_out_{name}"]) for name in ("source", "galaxy"))
    good = np.isfinite(gain)
    more: dict[str, float] = {}
    for source in np.unique(sources[good]):
        own = good & (sources == source)
        more[f"gain_{source}"], more[f"error_{source}"] = _mean(gain[own], galaxies[own])
        more[f"n_{source}"] = float(own.sum())
    value, error = _mean(gain[good], galaxies[good])
    share = float((gain[good] > 0).mean()) if good.any() else float("nan")
    return score(value, error, n_real=int(good.sum()), left_out_real=int((~good).sum()), share=share, **more)


def _mean(x: NDArray[np.float64], galaxies: NDArray[np.str_]) -> tuple[float, float]:
    mean, error = mean_and_error(x, np.unique(galaxies, return_inverse=True)[1].astype(np.int64))
    return float(x.mean()) if len(x) else mean, error


def _exact(name: str, real: Table, model: Table, **context: Any) -> dict[str, float]:
    """The floor is `EXACT`, or what Sersic profiles of GalSim's give, if that is more; ``worst`` has its sign."""
    del real, model
    away, plain = context.get(f"exact_{name}"), context.get(f"exact_floor_{name}")
    if away is None or plain is None or len(away) < 2:
        return score(float("nan"))
    good = away[np.isfinite(away)]
    lost = {"n_model": len(good), "left_out_model": len(away) - len(good)}
    if len(good) < 2:
        return score(float("nan"), **lost)
    rms = float(np.sqrt(np.mean(good**2)))
    sersic = float(np.sqrt(np.nanmean(plain**2)))
    error = float(np.std(good**2)) / np.sqrt(len(good)) / (2 * rms) if rms > 0 else 0.0
    return score(rms, error, max(EXACT, sersic), worst=float(good[np.abs(good).argmax()]), sersic=sersic, **lost)


def _response(real: Table, model: Table, **context: Any) -> dict[str, float]:
    def ratio(response: NDArray[np.float64], ellipticity: NDArray[np.float64]) -> float:
        del ellipticity
        learned, plain = response.mean(axis=(0, 2))
        return float(learned / plain) - 1

    del real, model
    return _differences(ratio, context)


def _offset(component: int, real: Table, model: Table, **context: Any) -> dict[str, float]:
    def difference(response: NDArray[np.float64], ellipticity: NDArray[np.float64]) -> float:
        learned, plain = ellipticity[:, :, component - 1].mean(axis=0) / response.mean(axis=(0, 2))
        return float(learned - plain)

    del real, model
    return _differences(difference, context)


def _differences(statistic: Any, context: dict[str, Any]) -> dict[str, float]:
    """Learned galaxy and Sersic are drawn again together: they share conditions, PSF and stamp."""
    response, ellipticity = context.get("shear_response"), context.get("shear_ellipticity")
    if response is None or ellipticity is None:
        return score(float("nan"))
    good = np.isfinite(response + ellipticity).all(axis=(1, 2))
    response, ellipticity = response[good], ellipticity[good]
    counts = {"n_model": int(good.sum()), "left_out_model": int((~good).sum())}
    if good.sum() < 8:
        return score(float("nan"), **counts)
    draws = bootstrap(
        lambda i, _: statistic(response[i], ellipticity[i]), len(response), 1, generator_of(context, 30), 200
    )
    learned, plain = response.mean(axis=(0, 2))
    more = {"response": float(learned), "response_sersic": float(plain), **counts}
    return score(statistic(response, ellipticity), float(draws.std()), **more)
