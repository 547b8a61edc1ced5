"""Models that are broken on purpose, as images: drawn, measured by `measure_cutouts`, and caught.

The tables of ``test_validate_statistics_broken.py`` are larger samples of made-up numbers; here few galaxies go the
whole way. Rings and mottle, which need well-resolved stamps, are there, and go through `measure_cutouts` too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.measure import measure_cutouts

from .validate_samples import make_cutout, spiral

N = 32
METRICS = {metric.name: metric for metric in skyloom_metrics()}


def galaxy(conditions: int, structure: int, noise: int):
    """A galaxy of some conditions and structure, seen once."""
    rng, arms = np.random.default_rng(conditions), np.random.default_rng(structure)
    cutout = make_cutout(
        noise,
        n=rng.uniform(0.8, 2.5),
        half_light_radius=rng.uniform(0.22, 0.42),
        q=rng.uniform(0.4, 0.95),
        beta=rng.uniform(-1.5, 1.5),
        flux=10 ** rng.uniform(3.3, 3.9),
        size=48,
        sigma=0.3,
        structure=spiral(2, arms.choice([-1, 1]) * arms.uniform(3, 6), arms.uniform(0.1, 0.5), arms.uniform(0, 3)),
    )
    return cutout


def table(galaxies) -> Table:
    """Measured; the ids are 0, 1, ... as those of the real galaxies they are counterparts of."""
    return measure_cutouts([replace(cutout, galaxy_id=i) for i, cutout in enumerate(galaxies)])


def value(name: str, real: Table, model: Table, **context) -> float:
    return METRICS[name].compute(real, model, **context)["value"]


@pytest.fixture(scope="module")
def real() -> Table:
    return table(galaxy(i, 1000 + i, 2000 + i) for i in range(N))


@pytest.fixture(scope="module")
def faithful() -> Table:
    """The same conditions, another structure and noise."""
    return table(galaxy(i, 3000 + i, 4000 + i) for i in range(N))


@pytest.fixture(scope="module")
def train() -> Table:
    return table(galaxy(5000 + i, 5000 + i, 6000 + i) for i in range(N))


def test_all_of_a_stamp_is_measured(real):
    flags = [name for name in real.colnames if name.startswith("flag_")]
    assert all((np.asarray(real[name]) < 4).all() for name in flags)


def test_shuffled_conditions_are_caught_by_calibration(real, faithful):
    # a measured row knows nothing of what was asked: another id is another question
    shuffled = faithful.copy()
    shuffled["galaxy_id"] = np.roll(shuffled["galaxy_id"], 7)
    for name in ("calibration_mag", "calibration_half_light_radius", "calibration_sersic_n", "calibration_q"):
        found = METRICS[name].compute(real, shuffled)
        assert found["value"] > 3 * found["floor"], name
        assert value(name, real, faithful) < found["floor"], name
    for name in ("wasserstein_moments_sigma", "sliced_wasserstein", "coverage"):
        assert value(name, real, shuffled) == pytest.approx(value(name, real, faithful)), name  # blind to it


def test_mode_collapse_is_caught_by_coverage_and_recall(real, faithful):
    few = table(galaxy(i % 3, 1000 + i % 3, 7000 + i) for i in range(N))
    assert value("coverage", real, few) < 0.7 < 0.9 < value("coverage", real, faithful)
    assert value("recall", real, few) < 0.5 < 0.8 < value("recall", real, faithful)
    assert value("precision", real, few) > 0.8  # blind to it


def test_a_replayed_training_set_is_caught_by_memorisation(real, faithful, train):
    again = table(galaxy(5000 + i, 5000 + i, 8000 + i) for i in range(N))  # seen once more, with other noise
    assert value("memorisation", real, again, train=train) > 0.85
    honest = METRICS["memorisation"].compute(real, faithful, train=train)
    assert abs(honest["value"] - 0.5) < 3 * honest["error"]
