"""Demands in place of a floor, and zero points that cannot be right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.report_bins import bin_tables
from skyloom.validate.report_data import Line, Sample
from skyloom.validate.report_verdict import cautions, judge, verdict
from skyloom.validate.run_scores import metric_lines
from skyloom.validate.sample_zero_points import Magnitude, odd_zero_points

from .test_validate_statistics_broken import REAL

METRICS = {metric.name: metric for metric in skyloom_metrics()}


@pytest.mark.parametrize(
    ("value", "error", "outcome"),
    [
        (1.01, 0.001, "pass"),
        (0.985, 0.001, "pass"),
        (1.07, 0.02, "pass"),
        (1.1, 0.02, "falls short"),
        (56, 22, "falls short"),
    ],
)
def test_a_tolerance_takes_the_place_of_the_floor(value, error, outcome):
    told = judge(value, error, math.nan, 1.0, tolerance=0.02)
    assert told.outcome == outcome
    assert math.isnan(told.multiple)


def chi2(bright):
    mag = np.linspace(20, 25, 500)
    level = np.where(mag < 21, bright, 1.0) + np.random.default_rng(1).normal(0, 0.05, 500)
    return METRICS["posterior_chi2"].compute(
        None, None, reconstruction_chi2_floor=level, reconstruction_mag=mag,
        reconstruction_sersic_chi2_floor=np.full(500, 3.0),
    )  # fmt: skip


def test_every_magnitude_bin_is_reported_and_judged():
    line = metric_lines(METRICS["posterior_chi2"], REAL[:0], {"model": chi2(1.3)})
    (table,) = bin_tables([line])
    assert [row.mean.outcome for row in table.rows] == ["falls short", "pass", "pass", "pass", "pass"]
    assert table.asked == "1 ± 0.02"
    assert table.rows[0].count == 100
    assert table.rows[0].sersic == 3.0
    assert line.scores["model"].outcome == "falls short"
    good = metric_lines(METRICS["posterior_chi2"], REAL[:0], {"model": chi2(1.0)})
    assert good.scores["model"].outcome == "pass"


def test_the_verdict_says_what_was_asked_and_not_a_multiple():
    line = metric_lines(METRICS["posterior_chi2"], REAL[:0], {"model": chi2(3.2)})
    sample = Sample("model", "model", REAL)
    text = verdict("model", [line], sample, Sample("real", "real", REAL))
    assert "(3.2 where 1 ± 0.02 is asked)" in text
    assert "× the floor" not in text


def test_the_verdict_says_which_measures_cannot_tell_a_sersic():
    def line(metric, label, value):
        return Line(metric, label, "g", "lower", 0.0, {n: judge(value, 0.01, 0.1, 0.0) for n in ("model", "Sersic")})

    lines = [line("wasserstein_asymmetry", "asymmetry", 0.9), line("wasserstein_smoothness", "smoothness", 0.14)]
    text = verdict("model", lines, Sample("model", "model", REAL), Sample("real", "real", REAL))
    assert "plain Sersic profiles from real galaxies, these do: asymmetry." in text
    assert "cannot on galaxies as many and as noisy as these: smoothness (0.14 against a floor of 0.1)." in text


def test_an_odd_zero_point_is_noticed_and_one_of_another_exposure_is_not():
    usual = [Magnitude("a", "F814W", 25.9, 20 + 0.3 * i) for i in range(10)]
    odd = Magnitude("a", "F814W", 0.0, -4.0)
    short = Magnitude("a", "F814W", 24.0, 21.5)  # counts of a shorter exposure
    other = Magnitude("a", "F606W", 0.0, -4.0)  # nothing to compare with
    found = odd_zero_points([*usual, odd, short, other])
    assert list(found) == [10]
    assert "others of a F814W have 25.9" in found[10]


def test_a_sample_of_other_magnitudes_makes_its_zero_point_doubtful():
    off = REAL.copy()
    off["fit_mag"] = off["fit_mag"] + 5
    real = Sample("real", "real", REAL)
    said = cautions(real, {"real": real, "mock": Sample("mock", "mock", off)})
    assert any("mock are 5.0 mag fainter" in text for text in said)
    assert not any("mag fainter" in text for text in cautions(real, {"real": real, "mock": real}))
