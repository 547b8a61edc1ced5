"""The statistics against closed forms and against other people's code."""

from __future__ import annotations

import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, wasserstein_distance

from skyloom.validate.statistics_classifier import classifier_auc
from skyloom.validate.statistics_conditional import binned_medians, compare_conditional, quantile_edges
from skyloom.validate.statistics_frechet import frechet_distance, whitened
from skyloom.validate.statistics_joint import maximum_mean_discrepancy, sliced_wasserstein, standardise
from skyloom.validate.statistics_manifold import manifold_scores, memorised_share
from skyloom.validate.statistics_marginal import compare_marginal, wasserstein_1
from skyloom.validate.statistics_score import half_floor
from skyloom.validate.statistics_simple import binned_chi2, mean_shear

numbers = arrays(float, st.integers(1, 40), elements=st.floats(-1e3, 1e3))


def rng(seed=0):
    return np.random.default_rng(seed)


@given(numbers, numbers)
def test_wasserstein_agrees_with_scipy(a, b):
    assert wasserstein_1(a, b) == pytest.approx(wasserstein_distance(a, b), rel=1e-9, abs=1e-9)


@given(numbers, st.floats(-50, 50))
def test_wasserstein_of_a_shift_is_the_shift(a, shift):
    assert wasserstein_1(a, a + shift) == pytest.approx(abs(shift), abs=1e-7)


def test_wasserstein_of_shifted_gaussians_is_the_shift_in_sigma():
    found = compare_marginal(rng(1).normal(5, 3, 4000), rng(2).normal(5 + 1.5, 3, 4000), rng())
    assert found["value"] == pytest.approx(0.5, abs=0.05)
    assert found["shift"] == pytest.approx(0.5, abs=0.05)
    assert found["low"] < found["value"] < found["high"]
    assert found["error"] == pytest.approx(np.sqrt(2 / 4000), rel=0.4)


def test_wasserstein_of_scaled_gaussians_is_analytic():
    # W1(N(0, 1), N(0, s)) = |s - 1| sqrt(2 / pi)
    found = compare_marginal(rng(1).normal(0, 1, 5000), rng(2).normal(0, 1.5, 5000), rng())
    assert found["value"] == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=0.04)


def test_floor_is_what_two_samples_of_one_parent_give():
    values, floors = [], []
    for i in range(30):
        found = compare_marginal(rng(2 * i).normal(size=300), rng(2 * i + 1).normal(size=600), rng(i), 2)
        values.append(found["value"])
        floors.append(found["floor"])
    assert np.mean(floors) == pytest.approx(np.mean(values), rel=0.15)


@pytest.mark.parametrize(("real", "model"), [([], [1.0] * 9), ([1.0] * 9, [1.0] * 9), ([1, 2, 3, 4, 5], [1])])
def test_too_little_is_nan(real, model):
    assert np.isnan(compare_marginal(np.array(real, float), np.array(model, float), rng())["value"])
    assert np.isnan(half_floor(lambda i, j: 1.0, 3, 3, rng())[0])


def test_binned_medians_of_a_line():
    x = rng(1).uniform(0, 6, 6000)
    y = 2 * x + rng(2).normal(0, 0.5, 6000)
    edges = np.arange(7.0)
    median, error, count = binned_medians(x, y, edges)
    assert median == pytest.approx(2 * (edges[:-1] + 0.5), abs=0.15)
    spread = np.sqrt(0.25 + 4 / 12)
    assert error == pytest.approx(1.2533 * spread / np.sqrt(count), rel=0.15)
    assert count.sum() == 6000


def test_conditional_bias_of_an_offset_is_the_offset():
    x = rng(1).uniform(0, 1, 3000)
    y = x + rng(2).normal(0, 0.1, 3000)
    found = compare_conditional(x, y, x, y + 0.3 * y.std(), rng())
    assert found["value"] == pytest.approx(0.3, abs=1e-6)
    assert found["floor"] < 0.1
    assert compare_conditional(x, y, x, y, rng())["value"] == 0


def test_equal_marginals_with_another_run_are_caught():
    x = rng(1).uniform(0, 1, 2000)
    y = x + rng(2).normal(0, 0.1, 2000)
    shuffled = rng(3).permutation(y)
    assert compare_marginal(y, shuffled, rng())["value"] == pytest.approx(0, abs=1e-12)
    found = compare_conditional(x, y, x, shuffled, rng())
    assert found["value"] > 5 * found["floor"]


@given(st.integers(6, 200))
def test_quantile_edges_hold_equal_numbers(n):
    x = np.arange(float(n))
    count = np.histogram(x, np.clip(quantile_edges(x, 6), -1, n))[0]
    assert count.max() - count.min() <= 2


def test_sliced_wasserstein_agrees_with_pot():
    a, b = rng(1).normal(size=(400, 5)), rng(2).normal(0.4, 1.3, (300, 5))
    ours = sliced_wasserstein(a, b, rng(3), 400)
    # POT takes the root of the mean square over lines of the p-th power: the same for p = 1
    theirs = ot.sliced_wasserstein_distance(a, b, n_projections=400, p=1, seed=4)
    assert ours == pytest.approx(theirs, rel=0.05)


def test_sliced_wasserstein_of_a_shift_is_its_mean_projection():
    a = rng(1).normal(size=(200, 2))
    # the mean of |cos| is 2 / pi in two dimensions
    assert sliced_wasserstein(a, a + np.array([3.0, 0.0]), rng(2), 2000) == pytest.approx(3 * 2 / np.pi, rel=0.03)


def test_standardise_cuts_strays():
    a = rng(1).normal(3, 2, (2000, 1))
    a[0] = 1e9
    found, other = standardise(a, np.array([[3.0], [5.0]]))
    assert np.abs(found).max() == 5
    assert other.ravel() == pytest.approx([0, 1], abs=0.1)
    assert (standardise(np.ones((9, 2)))[0] == 0).all()


def test_mmd_is_zero_for_one_parent_and_its_p_is_even():
    p, values = [], []
    for i in range(40):
        value, probability, _ = maximum_mean_discrepancy(
            rng(2 * i).normal(size=(60, 3)), rng(2 * i + 1).normal(size=(60, 3)), rng(i), 60
        )
        p.append(probability)
        values.append(value)
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(40))
    assert 0.3 < np.mean(p) < 0.7


def test_mmd_agrees_with_its_definition():
    a, b = rng(1).normal(size=(7, 2)), rng(2).normal(1, 1, (5, 2))
    both = np.concatenate([a, b])
    d2 = ((both[:, None] - both) ** 2).sum(-1)
    k = np.exp(-d2 / np.median(d2[np.triu_indices(12, 1)]))
    off = ~np.eye(12, dtype=bool)
    xx, yy = k[:7, :7][off[:7, :7]].mean(), k[7:, 7:][off[7:, 7:]].mean()
    value, p, null = maximum_mean_discrepancy(a, b, rng(), 50)
    assert value == pytest.approx(xx + yy - 2 * k[:7, 7:].mean())
    assert 0 < p <= 1
    assert null > 0


def test_mmd_tells_shifted_samples():
    _, p, _ = maximum_mean_discrepancy(rng(1).normal(size=(200, 3)), rng(2).normal(0.5, 1, (200, 3)), rng(), 100)
    assert p == pytest.approx(1 / 101)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_auc_of_shifted_gaussians_is_analytic(shift):
    n = 1500
    real, model = rng(1).normal(0, 1, (n, 2)), rng(2).normal(0, 1, (n, 2)) + np.array([shift, 0.0])
    ids = np.arange(n)
    auc, error = classifier_auc(real, model, ids, ids)
    assert auc == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=0.03)
    assert error < 0.03


def test_forest_sees_what_a_plane_cannot():
    n = 600
    real, model = rng(1).normal(0, 1, (n, 2)), rng(2).normal(0, 2.5, (n, 2))
    ids = np.arange(n)
    assert abs(classifier_auc(real, model, ids, ids)[0] - 0.5) < 0.06
    assert classifier_auc(real, model, ids, ids, "forest")[0] > 0.7


def test_counterparts_share_a_fold():
    # all of a galaxy's features are its id's: a classifier that had seen the one would know nothing of the other
    seen = []

    class Spy:
        def fit(self, x, y):
            self.known = set(x[:, 0])

        def predict_proba(self, x):
            seen.append(self.known & set(x[:, 0]))
            return np.linspace(0, 1, len(x))[:, None].repeat(2, 1)

    from skyloom.validate import statistics_classifier

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics_classifier, "_classifier", lambda kind, seed: Spy())
        ids = np.arange(100)
        features = ids[:, None].astype(float)
        classifier_auc(features, features, ids, ids)
    assert seen == [set()] * 5


def test_one_distribution_has_known_precision_recall_density_coverage():
    n, k = 400, 5
    found = [manifold_scores(rng(2 * i).normal(size=(n, 3)), rng(2 * i + 1).normal(size=(n, 3)), k) for i in range(6)]
    expected = 1 - np.prod([(n - j) / (2 * n - j) for j in range(1, k + 1)])
    assert np.mean([f.coverage for f in found]) == pytest.approx(expected, abs=0.01)
    assert np.mean([f.density for f in found]) == pytest.approx(1.0, abs=0.05)
    assert min(f.precision for f in found) > 0.9
    assert min(f.recall for f in found) > 0.9


def test_precision_and_recall_tell_lies_from_gaps():
    two = rng(1).normal(size=(400, 2)) + 20 * (np.arange(400)[:, None] % 2)
    one = rng(2).normal(size=(400, 2))
    collapsed, wild = manifold_scores(two, one), manifold_scores(one, two)
    assert collapsed.precision > 0.9
    assert collapsed.recall == pytest.approx(0.5, abs=0.06)
    assert collapsed.coverage == pytest.approx(0.5, abs=0.06)
    assert wild.precision == pytest.approx(0.5, abs=0.06)
    assert wild.recall > 0.9


def test_memorised_share():
    train, test = rng(1).normal(size=(500, 4)), rng(2).normal(size=(200, 4))
    honest, error = memorised_share(rng(3).normal(size=(400, 4)), train, test, rng())
    assert honest == pytest.approx(0.5, abs=3 * error)
    replayed, _ = memorised_share(train[:200] + 0.01, train[:200], test, rng())
    assert replayed > 0.98


def test_mean_shear_of_round_numbers():
    (m1, e1), (m2, _) = mean_shear(np.array([0.1, -0.1, 0.3, 0.1]), np.full(4, 0.2))
    assert (m1, m2) == (pytest.approx(0.1), pytest.approx(0.2))
    assert e1 == pytest.approx(np.std([0.1, -0.1, 0.3, 0.1], ddof=1) / 2)
    assert np.isnan(mean_shear(np.array([]), np.array([]))[0][0])


def test_chi2_in_bins_shows_what_the_mean_hides():
    mag = np.repeat([20.0, 24.0], [50, 450])
    chi2 = np.where(mag < 22, 2.4, 0.9) + rng(1).normal(0, 0.05, 500)
    means, errors = binned_chi2(chi2, mag, np.array([19, 22, 25.0]))
    assert means == pytest.approx([2.4, 0.9], abs=0.03)
    assert (errors < 0.01).all()
    assert abs(chi2.mean() - 1) < 0.1


def test_frechet_distance_of_gaussians_is_analytic():
    a = rng(1).normal(0, 1, (20000, 2))
    b = rng(2).normal(0, 1, (20000, 2)) * np.array([2.0, 1.0]) + np.array([0.0, 3.0])
    assert frechet_distance(a, b) == pytest.approx(np.sqrt(3**2 + (2 - 1) ** 2), rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 7
    x, y = whitened(a @ turn, b @ turn)
    assert np.cov(x, rowvar=False) == pytest.approx(np.eye(2), abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(np.sqrt(10), rel=0.03)  # whatever the units


def test_a_counterpart_is_no_witness_against_its_own_galaxy():
    train, test = rng(1).normal(size=(300, 4)), rng(2).normal(size=(300, 4))
    twins = test + 0.01 * rng(3).normal(size=test.shape)  # each sits on the held-out galaxy it was asked to be like
    ids = np.arange(300)
    assert memorised_share(twins, train, test, rng())[0] < 0.05
    assert memorised_share(twins, train, test, rng(), own=(ids, ids))[0] == pytest.approx(0.5, abs=0.09)
