"""Per-galaxy random streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.errors import BadInputError
from skyloom.rng import check_seed, galaxy_normals, galaxy_rng

SEEDS = st.integers(0, 2**128 - 1)
IDS = st.integers(-(2**63), 2**63 - 1)


def numbers(seed: int, galaxy_id: int, purpose: str) -> tuple[int, ...]:
    return tuple(galaxy_rng(seed, galaxy_id, purpose).integers(0, 2**63, 4).tolist())


@given(SEEDS, IDS, st.text(max_size=20))
def test_the_same_key_gives_the_same_stream(seed: int, galaxy_id: int, purpose: str) -> None:
    assert numbers(seed, galaxy_id, purpose) == numbers(seed, galaxy_id, purpose)


@given(st.tuples(SEEDS, IDS, st.text(max_size=20)), st.tuples(SEEDS, IDS, st.text(max_size=20)))
def test_other_keys_give_other_streams(a: tuple[int, int, str], b: tuple[int, int, str]) -> None:
    assert (numbers(*a) == numbers(*b)) == (a == b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((5, 1, "x"), (2**32 + 5, 1, "x")),  # GalSim's BaseDeviate takes these for one seed
        ((0, 1, "x"), (1, 0, "x")),
        ((1, -1, "x"), (1, 2**63 - 1, "x")),
        ((2**64, 0, "x"), (0, 1, "x")),
        ((1, 1, "x"), (1, 1, "x\0")),
    ],
)
def test_keys_that_could_be_confused(a: tuple[int, int, str], b: tuple[int, int, str]) -> None:
    assert numbers(*a) != numbers(*b)


def test_streams_do_not_change_between_versions() -> None:
    assert numbers(1, 2, "latent") == (
        5582457788747572075,
        5993241629365325438,
        93428561709607133,
        4645210867141812428,
    )


def test_zero_is_a_seed_like_any_other() -> None:
    assert numbers(0, 7, "x") == numbers(0, 7, "x")
    assert check_seed(np.int64(3)) == 3


@pytest.mark.parametrize("seed", [-1, 2**128, 1.0, True, "1", None])
def test_bad_seed(seed: object) -> None:
    with pytest.raises(BadInputError, match=r"^seed must"):
        check_seed(seed)  # type: ignore[arg-type]


@given(SEEDS, st.lists(IDS, min_size=1, max_size=8, unique=True), st.data())
def test_normals_do_not_depend_on_the_batch(seed: int, ids: list[int], data: st.DataObject) -> None:
    whole = galaxy_normals(seed, ids, "latent", 5)
    assert whole.shape == (len(ids), 5)
    assert whole.dtype == np.float32
    order = data.draw(st.permutations(range(len(ids))))
    shuffled = galaxy_normals(seed, [ids[i] for i in order], "latent", 5)
    assert np.array_equal(shuffled, whole[order])
    assert np.array_equal(galaxy_normals(seed, ids[-1:], "latent", 5)[0], whole[-1])


def test_normals_are_standard_and_independent() -> None:
    drawn = galaxy_normals(1, np.arange(2000), "latent", 20).astype(float)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02
    assert np.abs(np.corrcoef(drawn.T) - np.eye(20)).max() < 0.1
    neighbours = np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02
