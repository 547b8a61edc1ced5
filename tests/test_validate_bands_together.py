"""Stamps of one galaxy in several bands are not independent: errors, floors and p-values take them together."""

from __future__ import annotations

import numpy as np
import pytest

from skyloom.validate.statistics_joint import maximum_mean_discrepancy
from skyloom.validate.statistics_score import bootstrap, half_floor, random_halves
from skyloom.validate.statistics_simple import difference_and_error, mean_and_error


def rng(seed=0):
    return np.random.default_rng(seed)


def test_bands_of_a_galaxy_are_drawn_together():
    # four bands that say the same: the mean's error is that of 100 galaxies, not of 400 stamps
    x = np.repeat(rng(1).normal(0, 1, 100), 4)
    labels = np.repeat(np.arange(100), 4)
    shuffle = rng(2).permutation(400)
    x, labels = x[shuffle], labels[shuffle]
    seen = []

    def mean(i, j):
        seen.append(np.bincount(labels[i], minlength=100))
        return float(x[i].mean() - x[j].mean())

    together = bootstrap(mean, labels, labels + 100, rng(3), 400).std()  # others' galaxies, not counterparts
    apart = bootstrap(lambda i, j: float(x[i].mean() - x[j].mean()), 400, 400, rng(3), 400).std()
    assert all((count % 4 == 0).all() for count in seen)
    assert together == pytest.approx(x.std() * np.sqrt(2 / 100), rel=0.15)
    assert apart == pytest.approx(together / 2, rel=0.15)
    assert mean_and_error(x, labels)[1] == pytest.approx(2 * mean_and_error(x)[1], rel=0.02)


def test_galaxies_and_their_counterparts_are_drawn_together():
    # both samples have what was asked in common: it drops out of a difference of means
    asked = rng(4).normal(0, 1, 200)
    real, model = (asked + rng(i).normal(0, 0.1, 200) for i in (5, 6))
    labels = np.arange(200)
    seen = []

    def difference(i, j):
        seen.append((i == j).all())
        return float(model[j].mean() - real[i].mean())

    paired = bootstrap(difference, labels, labels, rng(7), 400).std()
    assert all(seen)
    assert paired == pytest.approx(0.1 * np.sqrt(2 / 200), rel=0.2)
    assert paired == pytest.approx(difference_and_error(real, model, labels, labels)[1], rel=0.15)
    apart = bootstrap(difference, labels, labels + 200, rng(7), 400).std()
    assert apart == pytest.approx(np.sqrt(2 / 200), rel=0.2)
    assert apart == pytest.approx(difference_and_error(real, model, labels, labels + 200)[1], rel=0.15)


def test_a_side_that_is_drawn_empty_is_drawn_again():
    real, model = np.arange(30), np.array([29])
    draws = bootstrap(lambda i, j: float(len(j) > 0 and len(i) > 0), real, model, rng(8), 50)
    assert (draws == 1).all()


def test_halves_of_the_floor_share_no_galaxy():
    labels = np.repeat(np.arange(31), 3)
    for i in range(5):
        first, second = random_halves(labels, rng(i))
        assert set(labels[first]).isdisjoint(labels[second])
        assert (len(first), len(second)) == (45, 45)
    values = np.repeat(rng(1).normal(size=200), 4)
    four = np.repeat(np.arange(200), 4)
    apart = half_floor(lambda i, j: abs(values[i].mean() - values[j].mean()), 800, 800, rng(2), 60)[0]
    together = half_floor(lambda i, j: abs(values[i].mean() - values[j].mean()), four, four, rng(2), 60)[0]
    assert together == pytest.approx(2 * apart, rel=0.4)


def test_permutations_of_mmd_keep_galaxies_whole():
    # each galaxy five times: samples of one parent that look different to who counts stamps
    p_whole, p_stamps = [], []
    for i in range(15):
        a, b = (np.repeat(rng(2 * i + k).normal(size=(15, 2)), 5, axis=0) for k in (0, 1))
        labels = np.repeat(np.arange(15), 5)
        p_whole.append(maximum_mean_discrepancy(a, b, rng(i), 60, labels=(labels, labels))[1])
        p_stamps.append(maximum_mean_discrepancy(a, b, rng(i), 60)[1])
    assert np.mean(p_whole) > 0.25 > np.mean(p_stamps)
