"""Classifiers among resolved galaxies: what only small stamps show is no difference there."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import vstack

from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.measure import measure_cutouts
from skyloom.validate.metrics_columns import resolved_rows

from .test_validate_statistics_broken import ASKED, REAL, galaxies
from .validate_samples import make_cutout

METRICS = {metric.name: metric for metric in skyloom_metrics()}
RADII = np.asarray(REAL["fit_half_light_radius"])
WIDTH = float(np.median(RADII))


def seen(name="psf_fwhm", width=WIDTH):
    """The real galaxies' table with the PSF's width beside."""
    table = REAL.copy()
    table[name] = np.full(len(table), width)
    return table


@pytest.mark.parametrize("kind", ["logistic", "forest"])
def test_a_difference_of_small_galaxies_alone_is_left_out(kind):
    model = galaxies(ASKED, 3)
    model["residual_rms"] = np.where(RADII < WIDTH, np.asarray(model["residual_rms"]) + 3, model["residual_rms"])
    everywhere = METRICS[f"auc_{kind}"].compute(seen(), model)
    resolved = METRICS[f"auc_{kind}_resolved"].compute(seen(), model)
    assert everywhere["value"] > 0.6
    assert abs(resolved["value"] - 0.5) < 0.08
    assert resolved["n_real"] == (RADII >= WIDTH).sum()


@pytest.mark.parametrize("kind", ["logistic", "forest"])
def test_a_difference_of_large_ones_is_found(kind):
    model = galaxies(ASKED, 3)
    model["residual_rms"] = np.where(RADII >= WIDTH, np.asarray(model["residual_rms"]) + 3, model["residual_rms"])
    assert METRICS[f"auc_{kind}_resolved"].compute(seen(), model)["value"] > 0.9


def test_rows_follow_the_real_galaxy_and_not_the_sample_s_own_fit():
    model = vstack([galaxies(ASKED, 3)[::-1], galaxies(ASKED, 4)])
    model["fit_half_light_radius"] = 1e-3
    large, others = resolved_rows(seen(), model)
    np.testing.assert_array_equal(large, RADII >= WIDTH)
    np.testing.assert_array_equal(others, np.concatenate([large[::-1], large]))


def test_a_reference_has_its_own_column_and_without_any_nothing_is_judged():
    large, _ = resolved_rows(seen("cutout_psf_fwhm"), REAL)
    assert 0 < large.sum() < len(large)
    assert not any(rows.any() for rows in resolved_rows(REAL, REAL))
    assert np.isnan(METRICS["auc_forest_resolved"].compute(REAL, galaxies(ASKED, 3))["value"])
    assert not resolved_rows(seen(width=np.nan), REAL)[0].any()


@pytest.mark.parametrize("fwhm", [0.15, 0.3])
def test_the_psf_s_width_is_measured(fwhm):
    table = measure_cutouts([make_cutout(psf_fwhm=fwhm)])
    assert table["psf_fwhm"][0] == pytest.approx(fwhm, rel=0.03)
    assert str(table["psf_fwhm"].unit) == "arcsec"
