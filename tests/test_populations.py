"""The population `cosmos`: the same galaxy for the same id, numbers that follow its counts, and the real sky."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, multivariate_normal, spearmanr, wasserstein_distance

import skyloom
from skyloom import hookspecs
from skyloom.conditions import Conditions
from skyloom.descriptors import Population
from skyloom.errors import ConditionsError, PluginError
from skyloom.manager import build_manager
from skyloom.populations import list_populations, load_population
from skyloom.populations.coordinates import NAMES, from_coordinates, to_coordinates
from skyloom.populations.cosmos import LIMITS, load_cosmos
from skyloom.populations.mixture import Mixture

CATALOGUE = "catalogues/cosmos_3dhst.v4.1_f160w.galfit"


@pytest.fixture(scope="module")
def cosmos() -> Any:
    return load_population("cosmos")


def same(a: Conditions, b: Conditions) -> bool:
    return all(np.array_equal(a.as_dict()[n], b.as_dict()[n]) for n in a.as_dict())


def test_it_is_listed_and_public() -> None:
    assert "cosmos" in list_populations()
    assert skyloom.load_population is load_population
    with pytest.raises(ConditionsError, match="no population is named 'cosmo'; did you mean 'cosmos'"):
        load_population("cosmo")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**128 - 1), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=12, unique=True))
def test_one_id_and_seed_are_one_galaxy_in_any_batch(seed: int, ids: list[int]) -> None:
    cosmos = load_population("cosmos")
    whole = cosmos.sample(len(ids), seed=seed, galaxy_id=ids)
    turned = cosmos.sample(len(ids), seed=seed, galaxy_id=ids[::-1])
    alone = cosmos.sample(1, seed=seed, galaxy_id=ids[:1])
    assert same(whole, turned[::-1])
    assert same(whole[:1], alone)
    other = cosmos.sample(len(ids), seed=(seed + 1) % 2**128, galaxy_id=ids)
    assert not np.any(whole.half_light_radius == other.half_light_radius)


def test_all_values_lie_where_they_were_fitted(cosmos: Any) -> None:
    drawn = cosmos.sample(4000, seed=1, mag=(18, 26))
    for name in ("half_light_radius", "sersic_n", "q", "redshift"):
        low, high = LIMITS[name]
        values = getattr(drawn, name)
        assert low <= values.min(), name
        assert values.max() <= high, name
        assert (values == low).sum() + (values == high).sum() == 0, f"{name} piles up at a limit"
    assert drawn.mag.min() >= 18
    assert drawn.mag.max() <= 26
    assert kstest(drawn.beta, "uniform", (0, np.pi)).pvalue > 1e-4


@pytest.mark.parametrize("band", ["f814w", "f160w"])
def test_magnitudes_follow_the_counts(cosmos: Any, band: str) -> None:
    drawn = cosmos.sample(4000, seed=2, band=band, mag=(20.0, 25.5))
    total = cosmos.density(band=band, mag=(20.0, 25.5))
    expected = [cosmos.density(band=band, mag=(20.0, m)) / total for m in np.linspace(20.5, 25.5, 11)]
    found = [(drawn.mag < m).mean() for m in np.linspace(20.5, 25.5, 11)]
    assert np.abs(np.subtract(found, expected)).max() < 1.95 / np.sqrt(4000)  # Kolmogorov's 0.1 %


def test_the_same_galaxies_in_another_band(cosmos: Any) -> None:
    red = cosmos.sample(1500, seed=3, band="f814w", mag=(20, 24))
    infrared = cosmos.sample(1500, seed=3, band="f160w", select_band="f814w", mag=(20, 24))
    for name in ("q", "redshift", "beta", "galaxy_id"):
        assert np.array_equal(getattr(red, name), getattr(infrared, name)), name
    colour = red.mag - infrared.mag
    assert 0.5 < np.median(colour) < 1.5
    # One constant factor of size, one shift of n.
    assert np.ptp(red.half_light_radius / infrared.half_light_radius) < 1e-9
    assert spearmanr(red.sersic_n, infrared.sersic_n).statistic == pytest.approx(1.0)
    assert set(red.wavelength) != set(infrared.wavelength)


def test_an_area_holds_a_poisson_number(cosmos: Any) -> None:
    expected = cosmos.density(mag=(18, 22)) * 0.01
    numbers = [len(cosmos.sample_area(0.01, seed=s, mag=(18, 22))) for s in range(40)]
    assert np.mean(numbers) == pytest.approx(expected, abs=4 * np.sqrt(expected / 40))
    assert 0.4 < np.var(numbers, ddof=1) / expected < 2.2
    assert numbers == [len(cosmos.sample_area(0.01, seed=s, mag=(18, 22))) for s in range(40)]
    assert len(cosmos.sample_area(0.0, seed=1)) == 0


def test_counts_are_those_of_the_real_sky(cosmos: Any) -> None:
    # LSST Science Book (arXiv:0912.0201), section 3.7.2: 46 galaxies an arcmin^2 to i = 25, slope 0.31.
    for limit in (22.0, 23.5, 25.0):
        book = 46 * 10 ** (0.31 * (limit - 25)) * 3600
        assert cosmos.density(mag=(18.0, limit)) == pytest.approx(book, rel=0.2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"band": "g"}, "no band 'g'; there are f814w, f160w"),
        ({"mag": (18, 27)}, "magnitudes 18 to 26.*18 to 27 was asked for"),
        ({"mag": (25, 20)}, "the brighter one first"),
        ({"mag": 25}, "two numbers"),
        ({"mag": (20, float("nan"))}, "20 to nan"),
        ({"colour": 1}, "unexpected keyword argument 'colour'"),
    ],
)
def test_options_that_cannot_be(cosmos: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConditionsError, match=says):
        cosmos.sample(3, seed=1, **options)


@pytest.mark.parametrize("area", [-1.0, float("nan"), float("inf"), "one", 1e6, True])
def test_areas_that_cannot_be(cosmos: Any, area: Any) -> None:
    with pytest.raises(ConditionsError, match="square degrees"):
        cosmos.sample_area(area, seed=1)


def test_a_plugin_s_population() -> None:
    def sample(size: int, *, seed: int) -> Conditions:
        return Conditions(flux=np.ones(size - (seed == 7)), half_light_radius=1.0, sersic_n=1.0)

    class Plugin:
        @hookspecs.hookimpl
        def skyloom_populations(self) -> list[Population]:
            return [Population("field", sample=sample)]

    manager = build_manager([])
    manager.register_version(Plugin(), "fields", "2.0")
    field = load_population("field", manager=manager)
    assert len(field.sample(3, seed=1)) == 3
    with pytest.raises(ConditionsError, match="knows no density"):
        field.sample_area(1.0, seed=1)
    with pytest.raises(PluginError, match=r"'fields' 2.0 gave no Conditions of 3"):
        field.sample(3, seed=7)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(18, 26), st.floats(-1, 4), st.floats(0.01, 5), st.floats(0.21, 7.9), st.floats(0.05, 0.99),
    st.floats(0, 7),
)  # fmt: skip
def test_coordinates_go_back_and_forth(mag: float, c: float, r: float, n: float, q: float, z: float) -> None:
    values = {k: np.array([v]) for k, v in zip(NAMES, (mag, c, r, n, q, z), strict=True)}
    back = from_coordinates(to_coordinates(values))
    for name in NAMES:
        assert back[name] == pytest.approx(values[name], rel=1e-9, abs=1e-9)


def test_conditional_draws_have_the_conditional_distribution() -> None:
    # One normal distribution, of which the condition's mean and covariance are known in closed form.
    rng = np.random.default_rng(5)
    root = rng.standard_normal((3, 3))
    cov, mean = root @ root.T + np.eye(3), np.array([1.0, -2.0, 0.5])
    a = np.array([1.0, 1.0, 0.0])
    mixture = Mixture(np.ones(1), mean[None], cov[None])
    x = mixture.given(np.full(100_000, 3.0), a, rng.random(100_000), rng.standard_normal((100_000, 3)))
    gain = cov @ a / (a @ cov @ a)
    assert np.allclose(x @ a, 3.0)
    assert np.allclose(x.mean(axis=0), mean + gain * (3.0 - a @ mean), atol=0.03)
    assert np.allclose(np.cov(x.T), cov - np.outer(gain, a @ cov), atol=0.06)
    assert mixture.log_density(x[:5]) == pytest.approx(multivariate_normal(mean, cov).logpdf(x[:5]))


def test_components_are_chosen_by_their_share() -> None:
    means = np.array([[0.0, -50.0], [1.0, 50.0]])
    mixture = Mixture(np.array([0.3, 0.7]), means, np.repeat(np.eye(2)[None], 2, axis=0))
    rng = np.random.default_rng(6)
    x = mixture.given(np.full(50_000, 0.2), np.array([1.0, 0.0]), rng.random(50_000), rng.standard_normal((50_000, 2)))
    share = 0.7 * np.exp(-0.5 * 0.8**2) / (0.7 * np.exp(-0.5 * 0.8**2) + 0.3 * np.exp(-0.5 * 0.2**2))
    assert (x[:, 1] > 0).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 50_000))


def test_only_numbers_are_kept() -> None:
    text = files("skyloom.populations").joinpath("cosmos.json").read_text()
    assert len(text) < 100_000
    document = json.loads(text)
    assert all(np.linalg.eigvalsh(c).min() > 0 for c in load_cosmos().mixture.covariances)
    assert sum(document["weights"]) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("low", "high"), [(20.5, 22.0), (22.0, 23.5), (23.5, 24.5)])
def test_sizes_and_shapes_are_those_of_the_real_sky(shared_data: Path, cosmos: Any, low: float, high: float) -> None:
    if not (shared_data / CATALOGUE).is_file():
        pytest.skip(f"no catalogue {CATALOGUE} among the real data")
    real = np.loadtxt(shared_data / CATALOGUE)
    real = real[(real[:, 3] == 0) & (real[:, 4] >= low) & (real[:, 4] < high) & (real[:, 8] > 0.3) & (real[:, 8] < 6.2)]
    drawn = cosmos.sample(6000, seed=9, band="f160w", mag=(low, high))
    columns = {
        "half_light_radius": np.log10(real[:, 6] * np.sqrt(real[:, 10])),
        "sersic_n": np.log10(real[:, 8]),
        "q": real[:, 10],
    }
    for name, theirs in columns.items():
        ours = getattr(drawn, name) if name == "q" else np.log10(getattr(drawn, name))
        distance = wasserstein_distance(ours, theirs) / theirs.std()
        assert distance < 0.15, f"{name} differs by {distance:.3f} standard deviations"
    size = spearmanr(drawn.mag, drawn.half_light_radius).statistic
    assert size == pytest.approx(spearmanr(real[:, 4], columns["half_light_radius"]).statistic, abs=0.1)


def test_it_does_without_torch() -> None:
    code = "import sys, skyloom; skyloom.load_population('cosmos').sample(2, seed=1); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
