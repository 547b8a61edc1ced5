"""Conditions asked and recovered: real galaxies with their own pass, with another's they don't."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.report_verdict import judge
from skyloom.validate.run_samples import default_refit
from skyloom.validate.run_sectors import SECTOR_COLUMNS, sector_scatter

from .test_validate_statistics_broken import ASKED, REAL, conditions, galaxies
from .validate_samples import make_cutout

METRICS = {metric.name: metric for metric in skyloom_metrics()}
CONDITIONS = ("mag", "half_light_radius", "sersic_n", "q")
SCATTER = {"fit_mag": 0.08, "fit_half_light_radius": 0.05, "fit_sersic_n": 0.3, "fit_q": 0.05}


def outcome(condition, model, **context):
    found = METRICS[f"calibration_{condition}"].compute(REAL, model, **context)
    return judge(found["value"], found["error"], found["floor"], 0.0, floor_error=found["floor_error"]).outcome


def sectors(seed):
    rng = np.random.default_rng(seed)
    return {f"sector_{name}": np.abs(rng.normal(0, sigma, len(REAL))) for name, sigma in SCATTER.items()}


def structured(seed):
    """Fits of galaxies whose structure moves them by as much as that of the real ones."""
    rng = np.random.default_rng(seed)
    table = galaxies(ASKED, seed)
    table["fit_mag"] = REAL["fit_mag"] + rng.normal(0, SCATTER["fit_mag"], len(REAL))
    sizes = rng.normal(0, SCATTER["fit_half_light_radius"], len(REAL))
    table["fit_half_light_radius"] = REAL["fit_half_light_radius"] * 10**sizes
    table["fit_sersic_n"] = REAL["fit_sersic_n"] + rng.normal(0, SCATTER["fit_sersic_n"], len(REAL))
    table["fit_q"] = REAL["fit_q"] + rng.normal(0, SCATTER["fit_q"], len(REAL))
    return table


@pytest.mark.parametrize("condition", CONDITIONS)
def test_real_galaxies_with_their_own_conditions_pass(condition):
    assert outcome(condition, REAL, **sectors(1)) == "pass"
    assert outcome(condition, structured(5), **sectors(1)) == "pass"


@pytest.mark.parametrize("condition", ["mag", "half_light_radius", "sersic_n"])
def test_structure_of_real_strength_is_more_than_the_errors_of_the_fit(condition):
    assert outcome(condition, structured(5)) == "falls short"  # without the scatter of the real galaxies


@pytest.mark.parametrize("condition", CONDITIONS)
def test_shuffled_conditions_fall_short(condition):
    assert outcome(condition, galaxies(conditions(7, len(REAL)), 7), **sectors(1)) == "falls short"


def lopsided(r, phi):
    return 0.8 * np.cos(2 * phi - np.pi / 2) * r**2 / (1 + r**2)


@pytest.fixture(scope="module")
def scatter():
    plain = [make_cutout(i, sigma=0.3, size=64, q=0.6) for i in range(8)]
    armed = [make_cutout(i, sigma=0.3, size=64, q=0.6, structure=lopsided) for i in range(8)]
    return [sector_scatter(made, default_refit) for made in (plain, armed)]


def test_sectors_see_structure(scatter):
    plain, armed = scatter
    for name in ("sector_fit_mag", "sector_fit_half_light_radius"):
        assert np.nanmedian(armed[name]) > 3 * np.nanmedian(plain[name])


def test_sectors_of_a_sersic_scatter_as_its_fit_does(scatter):
    fits = default_refit([make_cutout(100 + i, sigma=0.3, size=64, q=0.6) for i in range(40)])
    sigma = np.std([np.log10(f.half_light_radius) for f in fits])
    assert np.nanmedian(scatter[0]["sector_fit_half_light_radius"]) == pytest.approx(0.6745 * sigma, rel=0.9)


def test_a_galaxy_that_cannot_be_halved_is_nan():
    good = make_cutout(1, sigma=0.3, size=64)
    hidden = replace(good, galaxy_id=2, mask=np.zeros((64, 64), bool))
    found = sector_scatter([good, hidden], default_refit)
    assert sorted(found) == sorted(f"sector_{name}" for name in SECTOR_COLUMNS)
    assert np.isfinite(found["sector_fit_q"]).tolist() == [True, False]
