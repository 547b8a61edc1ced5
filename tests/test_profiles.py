"""`GeneratorSpec`, `ProfileRequest` and `ProfileBatch`."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.conditions import Conditions
from skyloom.errors import BadInputError, PluginError
from skyloom.frames import profile_jacobian
from skyloom.profiles import GeneratorSpec, ProfileBatch, ProfileRequest


def make_batch(size: int = 3, grid: int = 8, **changes: Any) -> ProfileBatch:
    rng = np.random.default_rng(size)
    columns: dict[str, Any] = {
        "galaxy_id": np.arange(size) + 10,
        "sersic_n": np.full(size, 1.5),
        "flux": np.linspace(1, 2, size),
        "half_light_radius": np.full(size, 0.5),
        "q": np.full(size, 0.7),
        "beta": np.zeros(size),
        "jacobian": profile_jacobian(np.full(size, 0.5), 0.7, 0.0),
        "residual": rng.normal(0, 1e-3, (size, grid, grid)).astype(np.float32),
        "grid_scale": 0.5,
        "generator": "toy",
    }
    return ProfileBatch(**columns | changes)


@given(st.integers(0, 9), st.integers(2, 12))
def test_flux_of_both_parts_is_the_flux(size: int, grid: int) -> None:
    batch = make_batch(size, grid)
    assert len(batch) == size
    assert np.allclose(batch.amplitude * (1 + batch.residual_flux), batch.flux, rtol=1e-12)


def test_defaults() -> None:
    batch = make_batch()
    assert batch.offset.shape == (3, 2)
    assert set(batch.drawn_from) == {"learned"}
    plain = make_batch(residual=None)
    assert set(plain.drawn_from) == {"parametric"}
    assert np.array_equal(plain.amplitude, plain.flux)


def test_rows_as_a_batch() -> None:
    batch = make_batch(5, wavelength=np.arange(5.0))
    mask = np.array([True, False, True, False, False])
    for index, rows in (
        (slice(1, 4), [1, 2, 3]),
        (mask, [0, 2]),
        (np.array([4, 0]), [4, 0]),
        (slice(0, 0), []),
    ):
        part = batch[index]
        assert part.galaxy_id.tolist() == [10 + r for r in rows]
        assert np.array_equal(part.residual, batch.residual[rows])  # type: ignore[index]
        assert part.wavelength.tolist() == rows  # type: ignore[union-attr]
        assert part.generator == "toy"


def test_one_row_is_a_galsim_object() -> None:
    batch = make_batch()
    assert batch[-1].flux == pytest.approx(batch.flux[2])
    assert [g.flux for g in batch] == pytest.approx(batch.flux)
    with pytest.raises(IndexError, match="galaxy 3 of a batch of 3"):
        batch[3]


def test_concatenate_is_the_inverse_of_cutting() -> None:
    batch = make_batch(5)
    again = ProfileBatch.concatenate([batch[:2], batch[2:]])
    for name in ("galaxy_id", "flux", "jacobian", "residual", "drawn_from", "offset"):
        assert np.array_equal(getattr(again, name), getattr(batch, name))


def test_concatenate_with_a_parametric_batch() -> None:
    both = ProfileBatch.concatenate([make_batch(2, residual=None, redshift=np.ones(2)), make_batch(3)])
    assert both.residual is not None
    assert both.residual.shape == (5, 8, 8)
    assert not both.residual[:2].any()
    assert both.grid_scale == 0.5
    assert both.drawn_from.tolist() == ["parametric"] * 2 + ["learned"] * 3
    assert np.array_equal(both.redshift, [1, 1, np.nan, np.nan, np.nan], equal_nan=True)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="at least one"):
        ProfileBatch.concatenate([])


def test_pickles() -> None:
    batch = make_batch()
    again = pickle.loads(pickle.dumps(batch))
    assert np.array_equal(again.residual, batch.residual)
    assert again.generator == "toy"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flux": np.ones(2)}, "'flux' has 2 rows for 3 galaxies"),
        ({"offset": np.zeros((4, 2))}, "'offset' has 4 rows for 3 galaxies"),
        ({"offset": np.zeros((3, 3))}, r"'offset' must be \(N, 2\), not \(3, 3\)"),
        ({"jacobian": np.zeros((3, 4))}, r"'jacobian' must be \(N, 2, 2\), not \(3, 4\)"),
        ({"flux": np.ones((3, 1))}, r"'flux' must be \(N,\), not \(3, 1\)"),
        ({"residual": np.zeros((3, 8), np.float32)}, r"'residual' must be \(N, G, G\), not \(3, 8\)"),
        ({"residual": np.zeros((3, 8, 9), np.float32)}, r"'residual' must be \(N, G, G\), not \(3, 8, 9\)"),
        ({"residual": np.zeros((3, 8, 8))}, "'residual' must be float32, not float64"),
        ({"grid_scale": 0.0}, "'grid_scale' must be positive, not 0.0"),
        ({"grid_scale": np.nan}, "'grid_scale' must be positive, not nan"),
    ],
)
def test_a_batch_that_is_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make_batch(**changes)


def test_spec_is_frozen_and_pickles() -> None:
    spec = GeneratorSpec("a", ranges={"q": (0.1, 1.0)}, bands=("I",))
    with pytest.raises(TypeError):
        spec.ranges["q"] = (0, 1)  # type: ignore[index]
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    assert hash(again) == hash(spec)


@pytest.mark.parametrize("limits", [(1.0, 0.1), (np.nan, 1.0), (0.1,)])
def test_spec_with_a_range_that_is_none(limits: Any) -> None:
    with pytest.raises(PluginError, match="range of 'q'"):
        GeneratorSpec("a", ranges={"q": limits})


def test_request() -> None:
    conditions = Conditions(flux=1, half_light_radius=1, sersic_n=1)
    assert ProfileRequest(conditions, seed=3).generator == "cosmos"
    with pytest.raises(BadInputError, match="out_of_range must be one of error, clip, parametric, not 'ignore'"):
        ProfileRequest(conditions, seed=3, out_of_range="ignore")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="seed must"):
        ProfileRequest(conditions, seed=-1)
