"""Models that are broken on purpose: each is caught by the metric meant for it, and a faithful one by none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from skyloom.manager import collect
from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.measure import measure_cutouts
from skyloom.validate.measure_flags import MeasureFlag, Tool
from skyloom.validate.measure_morphology import MORPHOLOGY
from skyloom.validate.measure_tools import FLAGS, QUANTITIES, TOOLS
from skyloom.validate.metrics_columns import FEATURES

from .validate_samples import make_cutout, spiral, window

METRICS = {metric.name: metric for metric in skyloom_metrics()}
NO_MORPHOLOGY = Tool(MORPHOLOGY.name, MORPHOLOGY.columns, lambda frame: ({}, MeasureFlag.FEW_PIXELS))
IDEAL = {"lower": 0.0, "zero": 0.0, "higher": 1.0, "one": 1.0, "half": 0.5, "none": np.nan}


def floors(name, real, model, **context):
    """How many floors a sample is away from the ideal."""
    metric = METRICS[name]
    found = metric.compute(real, model, **context)
    ideal = IDEAL[metric.better]
    return abs(found["value"] - ideal) / abs(found["floor"] - ideal)


# --- tables -------------------------------------------------------------------------------------------------


def conditions(seed, n):
    rng = np.random.default_rng(seed)
    return {
        "fit_mag": rng.uniform(21, 25, n),
        "fit_half_light_radius": 10 ** rng.normal(-0.4, 0.2, n),
        "fit_sersic_n": 10 ** rng.normal(0.1, 0.2, n),
        "fit_q": rng.uniform(0.2, 1, n),
        "fit_beta": rng.uniform(-np.pi / 2, np.pi / 2, n),
    }


def galaxies(asked, seed):
    """A table of everything that could be measured, for galaxies of these conditions."""
    rng = np.random.default_rng(seed)
    n = len(asked["fit_mag"])
    table = Table({"galaxy_id": np.arange(n), "band": ["F814W"] * n})
    bright, size = 23 - asked["fit_mag"], np.log10(asked["fit_half_light_radius"])
    for i, name in enumerate(QUANTITIES):
        table[name] = 1 + 0.3 * np.sin(i) * bright + np.cos(i) * size + 0.3 * rng.normal(size=n)
    table["moments_sigma"] = asked["fit_half_light_radius"] * 10 ** rng.normal(0, 0.05, n)
    for name, values in asked.items():
        error = 0.03
        noise = rng.normal(0, error, n)
        table[name] = values * np.exp(noise) if "radius" in name or "_n" in name else values + noise
        if name != "fit_beta":
            table[f"{name}_error"] = error * values if "radius" in name or "_n" in name else np.full(n, error)
    table["fit_q"] = np.clip(table["fit_q"], 0.05, 1)
    table["fit_snr"] = 200 * 10 ** (0.4 * bright)
    for flag in FLAGS:
        table[flag] = 0
    return table


ASKED = conditions(1, 500)
REAL = galaxies(ASKED, 2)


def test_a_faithful_model_is_caught_by_almost_nothing():
    faithful = galaxies(ASKED, 3)
    away = {name: floors(name, REAL, faithful, train=galaxies(conditions(9, 500), 9)) for name in METRICS}
    away = {name: value for name, value in away.items() if np.isfinite(value)}
    assert len(away) >= 50  # no generator's figures were given
    # each passes twice its floor in most samples: a few of fifty may not
    assert sum(value > 2 for value in away.values()) <= 3, away
    assert max(away.values()) < 4, away


def test_shuffled_conditions_are_caught_by_calibration_and_bias():
    shuffled = galaxies(ASKED, 3)
    order = np.random.default_rng(4).permutation(len(shuffled))
    shuffled = shuffled[order]
    shuffled["galaxy_id"] = np.arange(len(shuffled))
    for name in ("calibration_mag", "calibration_half_light_radius", "calibration_q", "bias_moments_sigma"):
        assert floors(name, REAL, shuffled) > 3, name
    for name in ("wasserstein_moments_sigma", "wasserstein_gini", "coverage", "sliced_wasserstein"):
        assert floors(name, REAL, shuffled) < 2.5, name  # blind to it


def test_mode_collapse_is_caught_by_recall_and_coverage():
    few = np.random.default_rng(5).choice(500, 12, replace=False)
    collapsed = galaxies(ASKED, 3)
    rng = np.random.default_rng(6)
    source = rng.choice(few, 500)
    for name in QUANTITIES:
        collapsed[name] = np.asarray(REAL[name])[source] * (1 + 0.01 * rng.normal(size=500))
    assert METRICS["coverage"].compute(REAL, collapsed)["value"] < 0.5
    assert METRICS["recall"].compute(REAL, collapsed)["value"] < 0.3
    assert floors("coverage", REAL, collapsed) > 5
    assert METRICS["precision"].compute(REAL, collapsed)["value"] > 0.9  # blind to it


def test_a_replayed_training_set_is_caught_by_memorisation():
    train = galaxies(conditions(8, 500), 8)
    rng = np.random.default_rng(7)
    replayed = train[rng.permutation(500)]
    for name in FEATURES:
        replayed[name] = replayed[name] * (1 + 0.005 * rng.normal(size=500))
    found = METRICS["memorisation"].compute(REAL, replayed, train=train)
    assert found["value"] > 0.95
    assert floors("memorisation", REAL, replayed, train=train) > 5
    assert floors("coverage", REAL, replayed) < 2  # blind to it
    honest = METRICS["memorisation"].compute(REAL, galaxies(ASKED, 3), train=train)
    assert honest["value"] == pytest.approx(0.5, abs=3 * honest["error"])


# --- pixels -------------------------------------------------------------------------------------------------


def mottle(seed, strength):
    """A Gaussian field with structure of the arms' size, without their phases."""
    size, reach = 128, 4.0
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 0.25 / reach * size / 2)
    field *= strength / field.std()

    def structure(r, phi):
        place = [np.clip((v / reach + 1) / 2 * (size - 1), 0, size - 1) for v in (r * np.sin(phi), r * np.cos(phi))]
        return window(r) * field[place[0].round().astype(int), place[1].round().astype(int)]

    return structure


def ring(r, phi):
    return 0.35 * window(r) * np.cos(2 * np.pi * (r - 1.2) / 0.9)


def sample(structure, seed, n=60):
    """`n` well-resolved bright galaxies; structure(i, rng) gives each its own."""
    rng = np.random.default_rng(seed)
    cutouts = [
        make_cutout(
            i,
            q=rng.uniform(0.5, 1),
            beta=rng.uniform(-1.5, 1.5),
            half_light_radius=rng.uniform(0.6, 0.8),
            flux=4000.0,
            sigma=0.1,
            structure=structure(1000 * seed + i, rng),
        )
        for i in range(n)
    ]
    with pytest.MonkeyPatch.context() as patch:
        # all but statmorph, which takes a third of a second a galaxy
        patch.setattr("skyloom.validate.measure_tools.TOOLS", [t if t != MORPHOLOGY else NO_MORPHOLOGY for t in TOOLS])
        return measure_cutouts(cutouts)


def arms(i, rng):
    return spiral(2, rng.choice([-1, 1]) * rng.uniform(3, 6), rng.uniform(0.2, 0.5), rng.uniform(0, 3))


@pytest.fixture(scope="module")
def spirals():
    return sample(arms, 1)


def test_more_spirals_are_not_caught(spirals):
    more = sample(arms, 2)
    for name in ("wasserstein_coherence_strongest", "wasserstein_coherence_m2", "wasserstein_coherence_ring"):
        assert floors(name, spirals, more) < 2.5, name


def test_mottle_of_the_right_power_is_caught_by_coherence(spirals):
    rms = float(np.median(spirals["residual_rms"]))

    def structure(seed, rng):
        return mottle(seed, 1.0)

    plain = float(np.median(sample(structure, 3, 10)["residual_rms"]))
    patchy = sample(lambda seed, rng: mottle(seed, rms / plain * rng.uniform(0.55, 1.45)), 3)
    assert floors("wasserstein_residual_rms", spirals, patchy) < 2.5  # the power is right
    for name in ("abs_chirality", "strongest", "m2"):
        assert floors(f"wasserstein_coherence_{name}", spirals, patchy) > 3, name


def test_a_ring_on_every_galaxy_is_caught_by_rings_and_profile(spirals):
    def structure(seed, rng):
        wound = arms(seed, rng)
        return lambda r, phi: wound(r, phi) + ring(r, phi)

    ringed = sample(structure, 4)
    assert floors("wasserstein_coherence_ring", spirals, ringed) > 5
    assert floors("profile", spirals, ringed) > 3


# --- the metrics themselves ---------------------------------------------------------------------------------


def test_metrics_are_registered_and_described():
    registered = collect("skyloom_metrics")
    assert set(METRICS) <= set(registered)
    for metric in METRICS.values():
        assert metric.summary, metric.name
        assert metric.formula, metric.name
        assert metric.better in IDEAL, metric.name
        assert metric.label, metric.name
        assert metric.group, metric.name
        assert metric.quantity == "" or metric.quantity in QUANTITIES


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_gives_numbers_for_little_or_nothing(name):
    for real, model in ((REAL[:0], REAL[:0]), (REAL[:3], REAL[:2]), (REAL, REAL[:1])):
        found = METRICS[name].compute(real, model)
        assert {"value", "error", "floor"} <= set(found)
        assert all(isinstance(v, float) for v in found.values())


@pytest.mark.parametrize("name", ["wasserstein_gini", "mmd", "auc_forest", "coverage", "bias_gini", "profile"])
def test_the_same_seed_gives_the_same_score(name):
    model = galaxies(ASKED, 3)
    first, again = (METRICS[name].compute(REAL, model, seed=5) for _ in range(2))
    assert first == again


def test_lost_measurements_are_counted_not_dropped_in_silence():
    holed = REAL.copy()
    holed["gini"][:50] = np.nan
    found = METRICS["wasserstein_gini"].compute(holed, REAL)
    assert found["left_out_real"] == 50
    assert METRICS["sliced_wasserstein"].compute(holed, REAL)["left_out_real"] == 50
    holed["flag_morphology"][:50] = 4
    assert METRICS["failures"].compute(holed, REAL)["value"] == pytest.approx(0.1)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_on_the_page(name):
    page = (Path(__file__).resolve().parents[1] / "docs" / "metrics.md").read_text()
    metric = METRICS[name]
    rows = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    row = next((line for line in rows if metric.formula.replace("|", "\\|") in line), None)
    assert row is not None
    assert metric.reference in row
