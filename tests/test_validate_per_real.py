"""Several simulated galaxies for each real one: other draws, and scores that stay fair."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import vstack

from skyloom.testing.cutouts import synthetic_cutouts
from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.counterparts import Counterparts
from skyloom.validate.metrics_columns import draws, galaxies_in
from skyloom.validate.run_samples import simulate

from .test_validate_statistics_broken import ASKED, REAL, galaxies

METRICS = {metric.name: metric for metric in skyloom_metrics()}


def several(count, start=3):
    """A faithful model's table, `count` draws of each galaxy."""
    tables = [galaxies(ASKED, start + k) for k in range(count)]
    for k, table in enumerate(tables):
        table["draw"] = k
    return vstack(tables)


def test_draws_differ_and_the_first_is_that_of_a_run_with_one():
    real = synthetic_cutouts(3, seed=3)
    fits = {c.galaxy_id: c.fit for c in real}

    def no_refit(cutouts):
        return [fits[c.galaxy_id] for c in cutouts]

    one, three = Counterparts(real, None, no_refit, seed=5), Counterparts(real, None, no_refit, seed=5, draws=3)
    single, made = list(one), list(three)
    assert three.rows == [0, 1, 2] * 3
    assert three.draws_of == [0] * 3 + [1] * 3 + [2] * 3
    for i in range(3):
        np.testing.assert_array_equal(single[i].image, made[i].image)
        assert not np.array_equal(made[i].image, made[3 + i].image)
        assert not np.array_equal(made[3 + i].image, made[6 + i].image)
    neighbour = list(Counterparts(real, None, no_refit, seed=6))
    assert not np.array_equal(neighbour[0].image, made[3].image)


def test_several_draws_go_through_a_file(tmp_path):
    real = synthetic_cutouts(4, seed=3)
    path = tmp_path / "simulated.h5"
    made = simulate(real, None, path, seed=1, identity="x", per_real=3)
    assert len(made.cutouts) == 12
    assert [c.galaxy_id for c in made.cutouts] == [real[i].galaxy_id for i in made.rows]
    again = simulate(real, None, path, seed=1, identity="x", per_real=3)
    assert (again.rows, again.draws) == (made.rows, made.draws)
    for before, after in zip(made.cutouts, again.cutouts, strict=True):
        np.testing.assert_array_equal(before.image, after.image)


def test_draws_count_as_galaxies_and_bands_do_not():
    table = several(3)
    assert galaxies_in(table) == 1500
    assert [len(rows) for rows in draws(table)] == [500] * 3
    bands = REAL.copy()
    bands["band"] = "F606W"
    assert galaxies_in(vstack([REAL, bands])) == 500


@pytest.mark.parametrize("name", ["auc_logistic", "auc_forest", "coverage", "density", "precision", "recall"])
def test_a_faithful_model_scores_the_same_with_several_draws(name):
    one, four = (METRICS[name].compute(REAL, several(k)) for k in (1, 4))
    assert four["value"] == pytest.approx(one["value"], abs=0.06)
    assert four["value"] == pytest.approx(four["floor"], abs=0.15 if name == "density" else 0.08)


@pytest.mark.parametrize("name", ["wasserstein_gini", "frechet", "sliced_wasserstein"])
def test_the_floor_is_of_the_sizes_compared(name):
    one, four = (METRICS[name].compute(REAL, several(k)) for k in (1, 4))
    # sqrt(1/n + 1/(4 n)) over sqrt(2/n)
    assert four["floor"] / one["floor"] == pytest.approx(np.sqrt(1.25 / 2), rel=0.02)
    assert four["value"] < 2 * four["floor"]
