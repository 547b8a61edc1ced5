"""The density of conditions: what it says, that it moves points inside, and that a file keeps it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from skyloom.conditions import Conditions
from skyloom.errors import OutOfRangeError, TrainingError
from skyloom.generators.checkpoint import load_checkpoint, save_checkpoint
from skyloom.generators.density import ConditionDensity
from skyloom.generators.density_fit import QUANTILE, fit_density
from skyloom.generators.model_card import ModelCard
from skyloom.generators.ranges import apply_policy, check_conditions, condition_values
from skyloom.profiles import GeneratorSpec

NAMES = ("sersic_n", "q", "half_light_radius", "surface_brightness")
RANGES = {"sersic_n": (0.4, 6.0), "q": (0.1, 1.0), "half_light_radius": (0.05, 3.0), "surface_brightness": (17.0, 27.0)}
SPEC = GeneratorSpec("toy", ranges=RANGES)
UNBOUNDED = (-np.inf, np.inf)


def two_bumps() -> ConditionDensity:
    """Small steep galaxies and large flat ones; redshift is a hint that grows with the size."""
    names = (*NAMES, "redshift")
    turn = np.array([[1, 0.3, 0, 0.4, 0.1], [0, 1, 0, 0, 0], [0, 0, 1, 0.5, 0.8], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0.4]])
    covariance = 0.3 * turn @ turn.T
    return ConditionDensity(
        names=names,
        scales=("log", "linear", "log", "linear", "log1p"),
        centre=np.array([0.3, 0.6, -1.0, 22.0, 0.7]),
        width=np.array([0.6, 0.2, 0.7, 1.5, 0.3]),
        weights=np.array([0.3, 0.7]),
        means=np.array([[1.0, 0.3, -1.0, -0.8, 0.2], [-0.5, 0.0, 0.6, 0.3, -0.1]]),
        covariances=np.stack([covariance, 1.5 * covariance]),
        thresholds=np.array([-np.inf if not c else -4.0 - 1.0 * bin(c).count("1") for c in range(32)]),
        hints=np.array([UNBOUNDED, UNBOUNDED, UNBOUNDED, UNBOUNDED, (0.2, 5.0)]),
    )


def galaxies(count: int, **changes: Any) -> Conditions:
    rng = np.random.default_rng(3)
    radius = rng.uniform(0.05, 3.0, count)
    columns: dict[str, Any] = {
        "mag": rng.uniform(17, 27, count) - 2.5 * np.log10(2 * np.pi * radius**2),
        "zero_point": 30.0,
        "half_light_radius": radius,
        "sersic_n": rng.uniform(0.4, 6.0, count),
        "q": rng.uniform(0.1, 1.0, count),
    }
    return Conditions(**columns | changes)


def points_of(density: ConditionDensity, conditions: Conditions) -> NDArray[np.float64]:
    return density.points({n: condition_values(conditions, n) for n in density.names}, len(conditions))


# --- the density itself -------------------------------------------------------------------------------------


def test_the_density_is_that_of_scipy_with_what_is_unknown_integrated_out() -> None:
    density = two_bumps()
    x = np.random.default_rng(0).standard_normal((40, 5))
    x[10:20, 4] = np.nan
    x[20:30, [1, 3]] = np.nan
    x[30:, :4] = np.nan
    for row, found in zip(x, density.log_density(x), strict=True):
        known = np.flatnonzero(~np.isnan(row))
        parts = [
            weight * multivariate_normal(mean[known], covariance[np.ix_(known, known)]).pdf(row[known])
            for weight, mean, covariance in zip(density.weights, density.means, density.covariances, strict=True)
        ]
        assert found == pytest.approx(np.log(sum(parts)), abs=1e-10)


def test_nothing_known_is_inside() -> None:
    density = two_bumps()
    assert density.excess(np.full((3, 5), np.nan)).tolist() == [np.inf] * 3
    assert density.excess(np.empty((0, 5))).shape == (0,)


def test_a_row_does_not_depend_on_the_others() -> None:
    density = two_bumps()
    x = 3 * np.random.default_rng(1).standard_normal((9000, 5))
    x[::3, 4] = np.nan
    rows = np.random.default_rng(2).permutation(9000)[:17]
    assert np.array_equal(density.log_density(x)[rows], density.log_density(x[rows]))
    assert np.array_equal(density.nearest(x)[rows], density.nearest(x[rows]), equal_nan=True)


def test_points_and_values_are_inverses() -> None:
    density, conditions = two_bumps(), galaxies(50)
    values = density.values(points_of(density, conditions))
    for name in NAMES:
        assert values[name] == pytest.approx(condition_values(conditions, name), rel=1e-12)
    assert np.isnan(values["redshift"]).all()


# --- the nearest point inside -------------------------------------------------------------------------------


@given(st.lists(st.floats(-60, 60) | st.just(float("nan")), min_size=5, max_size=5))
def test_the_nearest_point_is_inside_at_the_edge_and_on_the_way(values: list[float]) -> None:
    density = two_bumps()
    x = np.array([values])
    moved = density.nearest(x)
    assert np.array_equal(np.isnan(moved), np.isnan(x))
    before, after = density.excess(x)[0], density.excess(moved)[0]
    if before >= 0:
        assert np.array_equal(moved, x, equal_nan=True)
        return
    assert 0 <= after < 1e-3
    known = ~np.isnan(x[0])
    step = (moved - x)[0, known]
    towards = [(mean[known] - x[0, known]) for mean in density.means]
    turned = [step @ goal / np.linalg.norm(step) / np.linalg.norm(goal) for goal in towards]
    assert max(turned) == pytest.approx(1, abs=1e-9)


def test_means_beyond_the_ranges_are_brought_within() -> None:
    density = two_bumps()
    limits = np.array([[-0.2, 0.5], [-1, 1], [-0.1, 0.3], [-1, 0.1], [-3, 3]])
    moved = density.nearest(8 * np.random.default_rng(5).standard_normal((500, 5)), limits)
    assert (moved >= limits[:, 0] - 1e-12).all()
    assert (moved <= limits[:, 1] + 1e-12).all()
    assert (density.excess(moved) >= 0).all()


# --- policies -----------------------------------------------------------------------------------------------


def test_clip_moves_those_outside_and_no_other() -> None:
    density, asked = two_bumps(), galaxies(400)
    outside = density.excess(points_of(density, asked)) < 0
    assert 20 < outside.sum() < 380
    drawn, words, parametric = apply_policy(asked, SPEC, "clip", density)
    assert (words == "clipped").tolist() == outside.tolist()
    assert not parametric.any()
    for name in ("sersic_n", "q", "half_light_radius", "mag"):
        now, before = condition_values(drawn, name), condition_values(asked, name)
        assert now is not None
        assert np.array_equal(now[~outside], before[~outside])  # type: ignore[index]
    assert (drawn.sersic_n != asked.sersic_n)[outside].any()
    again, words, _ = apply_policy(drawn, SPEC, "error", density)
    assert set(words) == {"learned"}
    assert again is drawn


@given(
    st.floats(10, 35),
    st.floats(1e-3, 100),
    st.floats(0.3, 6.2),
    st.floats(1e-3, 1),
    st.floats(0, 20) | st.none(),
)
def test_clipped_galaxies_are_taken(mag: float, radius: float, n: float, q: float, redshift: float | None) -> None:
    asked = Conditions(mag=mag, zero_point=30.0, half_light_radius=radius, sersic_n=n, q=q)
    if redshift is not None:
        asked = asked.replace(redshift=redshift)
    drawn, words, _ = apply_policy(asked, SPEC, "clip", two_bumps())
    assert check_conditions(drawn, _Toy()).excess[0] >= -1e-9
    assert (words[0] == "clipped") == (not check_conditions(asked, _Toy()).inside[0])


class _Toy:
    spec, density = SPEC, two_bumps()

    def sample(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def test_parametric_hands_them_over() -> None:
    density, asked = two_bumps(), galaxies(300)
    drawn, words, parametric = apply_policy(asked, SPEC, "parametric", density)
    assert drawn is asked
    assert parametric.tolist() == (density.excess(points_of(density, asked)) < 0).tolist()
    assert set(words[parametric]) == {"parametric"}
    assert check_conditions(asked, _Toy()).inside.tolist() == (~parametric).tolist()


def test_error_tells_values_distance_and_the_nearest_inside() -> None:
    steep_and_large = Conditions(
        galaxy_id=[7], mag=19.0, zero_point=30.0, half_light_radius=2.5, sersic_n=5.9, q=0.95, redshift=1.0
    )
    with pytest.raises(OutOfRangeError) as caught:
        apply_policy(steep_and_large, SPEC, "error", two_bumps())
    text = str(caught.value)
    assert text.startswith("galaxy 7 (row 0): sersic_n = 5.9, q = 0.95, half_light_radius = 2.5, surface_brightness")
    near = apply_policy(steep_and_large, SPEC, "clip", two_bumps())[0]
    assert f"the nearest inside is sersic_n = {near.sersic_n[0]:.4g}, q = {near.q[0]:.4g}" in text
    far = -float(two_bumps().excess(points_of(two_bumps(), steep_and_large))[0])
    assert far > 1
    assert f"log density {far:.3g} below the least inside" in text
    assert "redshift" not in text  # it doesn't go with the rest


def test_a_hint_refuses_nothing() -> None:
    density = two_bumps()
    middle = {"mag": 21.0, "zero_point": 30.0, "half_light_radius": 0.55, "sersic_n": 1.0, "q": 0.6}
    asked = Conditions(**middle, redshift=np.ma.array([1.0, 4.9, 12.0, 1.0], mask=[0, 0, 0, 1]))  # type: ignore[arg-type]
    drawn, words, _ = apply_policy(asked, SPEC, "error", density)
    assert words.tolist() == ["learned"] * 4
    assert np.array_equal(drawn.redshift, [1.0, np.nan, np.nan, np.nan], equal_nan=True)  # type: ignore[arg-type]
    refusing = replace(density, hints=np.tile(UNBOUNDED, (5, 1)))
    with pytest.raises(OutOfRangeError, match=r"row 1.*redshift = 4.9.*and 1 more galaxy"):
        apply_policy(asked, SPEC, "error", refusing)


def test_a_million_galaxies_take_about_a_second() -> None:
    asked = galaxies(1_000_000)
    start = time.process_time()
    apply_policy(asked, SPEC, "parametric", two_bumps())
    assert time.process_time() - start < 5  # 0.3 s on an idle core


# --- fitting ------------------------------------------------------------------------------------------------


def training(count: int = 600) -> tuple[dict[str, NDArray[np.float64] | None], list[str]]:
    """Draw galaxies, each in two images: two kinds, sizes that grow with n, redshift known of half."""
    pytest.importorskip("sklearn", reason="the fit needs scikit-learn")
    rng = np.random.default_rng(7)
    kind = rng.random(count) < 0.4
    log_n = np.where(kind, 1.2, 0.0) + 0.15 * rng.standard_normal(count)
    log_radius = -1.0 + log_n + 0.2 * rng.standard_normal(count)
    redshift = np.expm1(0.5 + 0.3 * log_n + 0.02 * rng.standard_normal(count))
    redshift[count // 2 :] = np.nan
    columns = {
        "redshift": redshift,
        "sersic_n": np.exp(log_n),
        "half_light_radius": np.exp(log_radius),
        "wavelength": np.full(count, 814.0),
        "mag": np.full(count, np.nan),
    }
    twice = {name: np.repeat(values, 2) for name, values in columns.items()}
    return {**twice, "q": None}, [str(i // 2) for i in range(2 * count)]


def test_the_fit_finds_the_kinds_and_what_goes_with_what() -> None:
    columns, ids = training()
    density = fit_density(columns, ids, hints={"redshift": (0.2, 5.0)})
    assert density.names == ("sersic_n", "half_light_radius", "wavelength", "redshift")
    assert len(density.weights) == 2
    assert sorted(density.weights) == pytest.approx([0.4, 0.6], abs=0.06)
    found = density.values(density.means)
    assert sorted(np.log(found["sersic_n"])) == pytest.approx([0.0, 1.2], abs=0.1)
    by_n = np.argsort(found["sersic_n"])
    assert np.log1p(found["redshift"][by_n]) == pytest.approx([0.5, 0.86], abs=0.06)
    inside = density.excess(density.points(columns, len(ids))) >= 0
    assert QUANTILE / 4 < np.mean(~inside) < 4 * QUANTILE
    odd = {"sersic_n": np.array([1.0, 3.3, 1.0, 3.3]), "half_light_radius": np.array([0.37, 1.2, 1.2, 0.2])}
    odd["wavelength"] = np.full(4, 814.0)
    assert (density.excess(density.points(odd, 4)) >= 0).tolist() == [True, True, False, False]


def test_the_fit_is_the_same_again() -> None:
    columns, ids = training(100)
    one, two = fit_density(columns, ids).tensors(), fit_density(columns, ids).tensors()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_too_few_galaxies() -> None:
    columns, ids = training(100)
    few = {name: values[:12] if values is not None else None for name, values in columns.items()}
    with pytest.raises(TrainingError, match="at least 10 galaxies, not 6"):
        fit_density(few, ids[:12])


# --- files --------------------------------------------------------------------------------------------------


def test_a_weights_file_keeps_it(tmp_path: Any) -> None:
    density = two_bumps()
    others = {"decoder.weight": np.ones(3, np.float32)}
    save_checkpoint(tmp_path / "a.safetensors", density.tensors() | others, {"family": "x", "name": "x", "spec": SPEC})
    tensors, _ = load_checkpoint(tmp_path / "a.safetensors")
    again = ConditionDensity.from_tensors(tensors)
    assert again is not None
    assert (again.names, again.scales) == (density.names, density.scales)
    x = np.random.default_rng(0).standard_normal((50, 5))
    assert np.array_equal(again.excess(x), density.excess(x))
    assert np.array_equal(again.hints, density.hints)
    assert ConditionDensity.from_tensors(others) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density.means": None}, "density tensors are"),
        ({"density.means": np.zeros((3, 5))}, r"density.means has shape \(3, 5\), not \(2, 5\)"),
        ({"density.covariances": -np.ones((2, 5, 5))}, "not positive definite"),
        ({"density.scales": np.full(5, 9, np.uint8)}, "are not known"),
        ({"density.scales": np.zeros(4, np.uint8)}, "for each of 5 conditions"),
        ({"density.width": np.zeros(5)}, "must be positive"),
    ],
)
def test_tensors_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    tensors = {name: v for name, v in (two_bumps().tensors() | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        ConditionDensity.from_tensors(tensors)


def test_a_card_prints_rows_as_a_table() -> None:
    rows = [{"S/N": 30, "bias": 0.1}, {"S/N": 100, "bias": -0.02}]
    page = ModelCard(family="x", name="x", spec=SPEC, metrics={"recovered": rows, "other": [1, 2]}).to_markdown()
    assert "- recovered:\n\n  | S/N | bias |\n  |---|---|\n  | 30 | 0.1 |\n  | 100 | -0.02 |\n" in page
    assert "- other: [1, 2]" in page
