"""Conditions out of a generator's range, under each policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.conditions import Conditions
from skyloom.errors import BadInputError, ConditionsError, OutOfRangeError
from skyloom.generators.ranges import apply_policy, condition_values, surface_brightness
from skyloom.profiles import GeneratorSpec

RANGES = {
    "mag": (18.0, 24.0),
    "half_light_radius": (0.1, 2.0),
    "sersic_n": (0.5, 4.0),
    "q": (0.2, 1.0),
    "redshift": (0.0, 2.0),
    "surface_brightness": (18.0, 25.0),
}
SPEC = GeneratorSpec("toy", ranges=RANGES)


def make(**changes: Any) -> Conditions:
    columns: dict[str, Any] = {
        "galaxy_id": [11, 12, 13],
        "mag": 21.0,
        "zero_point": 30.0,
        "half_light_radius": 0.5,
        "sersic_n": [1.0, 2.0, 3.0],
        "q": 0.7,
    }
    return Conditions(**columns | changes)


def test_in_range_nothing_happens() -> None:
    for policy in ("error", "clip", "parametric"):
        conditions = make()
        drawn, words, parametric = apply_policy(conditions, SPEC, policy)  # type: ignore[arg-type]
        assert drawn is conditions
        assert words.tolist() == ["learned"] * 3
        assert not parametric.any()


def test_error_names_all_there_is_to_know() -> None:
    with pytest.raises(OutOfRangeError) as caught:
        apply_policy(make(sersic_n=[1.0, 5.0, 6.0]), SPEC, "error")
    assert str(caught.value) == (
        "galaxy 12 (row 1): sersic_n = 5 is outside [0.5, 4], the range of generator 'toy' "
        "(and 1 more galaxy); out_of_range chooses what happens: 'error', "
        "'clip' (the learned part of the nearest condition in range) or 'parametric' (a Sersic)"
    )


def test_clip() -> None:
    asked = make(sersic_n=[1.0, 5.0, 0.4], q=[0.7, 0.7, 0.1])
    drawn, words, parametric = apply_policy(asked, SPEC, "clip")
    assert drawn.sersic_n.tolist() == [1, 4, 0.5]
    assert drawn.q.tolist() == [0.7, 0.7, 0.2]
    assert drawn.mag is not None
    assert drawn.mag.tolist() == [21] * 3
    assert words.tolist() == ["learned", "clipped", "clipped"]
    assert not parametric.any()
    assert asked.sersic_n[1] == 5


def test_parametric() -> None:
    asked = make(half_light_radius=[0.5, 3.0, 0.5])
    drawn, words, parametric = apply_policy(asked, SPEC, "parametric")
    assert drawn is asked
    assert words.tolist() == ["learned", "parametric", "learned"]
    assert parametric.tolist() == [False, True, False]


def test_surface_brightness() -> None:
    # by its definition: half of the flux over the area within the half-light radius
    flux, radius, zero_point = 1e4, 0.7, 30.0
    conditions = Conditions(flux=flux, zero_point=zero_point, half_light_radius=radius, sersic_n=1)
    values = condition_values(conditions, "surface_brightness")
    assert values is not None
    assert values[0] == pytest.approx(zero_point - 2.5 * np.log10(flux / 2 / (np.pi * radius**2)))
    with pytest.raises(
        OutOfRangeError, match=r"galaxy 11 \(row 0\): surface_brightness = 25.2\d* is outside \[18, 25\]"
    ):
        apply_policy(make(mag=22, half_light_radius=1.75), SPEC, "error")


@given(
    st.floats(10, 35),
    st.floats(1e-3, 100),
    st.floats(0.3, 6.2),
    st.floats(1e-3, 1),
    st.floats(0, 20) | st.none(),
)
def test_clip_ends_in_range(mag: float, radius: float, n: float, q: float, redshift: float | None) -> None:
    asked = make(mag=mag, half_light_radius=radius, sersic_n=n, q=q)
    if redshift is not None:
        asked = asked.replace(redshift=redshift)
    drawn, words, _ = apply_policy(asked, SPEC, "clip")
    for name, (low, high) in RANGES.items():
        values = condition_values(drawn, name)
        if values is not None:
            assert low - 1e-9 <= values[0] <= high + 1e-9, name
    _, again, _ = apply_policy(asked, SPEC, "parametric")
    assert (words == "clipped").tolist() == (again == "parametric").tolist()
    if words[0] == "learned":
        assert drawn is asked


def test_what_is_not_known_is_in_range() -> None:
    no_mag = Conditions(flux=1e-20, half_light_radius=0.5, sersic_n=1)
    assert apply_policy(no_mag, SPEC, "error")[1].tolist() == ["learned"]
    masked = make(redshift=np.ma.array([0.5, 99.0, 1.0], mask=[0, 1, 0]))
    assert apply_policy(masked, SPEC, "error")[1].tolist() == ["learned"] * 3
    clipped = apply_policy(masked.replace(q=0.1), SPEC, "clip")[0]
    assert np.array_equal(clipped.redshift, [0.5, np.nan, 1.0], equal_nan=True)  # type: ignore[arg-type]


def test_what_is_needed_must_be_there() -> None:
    needs = GeneratorSpec("toy", required=("mag", "redshift"))
    with pytest.raises(ConditionsError, match="^generator 'toy' needs the column 'redshift'$"):
        apply_policy(make(), needs, "error")
    with pytest.raises(ConditionsError, match="^generator 'toy' needs the column 'mag'$"):
        apply_policy(Conditions(flux=1, half_light_radius=1, sersic_n=1), needs, "clip")
    masked = make(redshift=np.ma.array([0.5, 0.5, 1.0], mask=[0, 1, 0]))
    with pytest.raises(
        ConditionsError,
        match=r"needs 'redshift', which is not known of galaxy 12 \(row 1\)$",
    ):
        apply_policy(masked, needs, "clip")


def test_a_word_or_range_that_is_none() -> None:
    with pytest.raises(BadInputError, match="must be one of error, clip, parametric, not 'warn'"):
        apply_policy(make(), SPEC, "warn")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="ranges name 'colour', which is no condition"):
        apply_policy(make(), GeneratorSpec("toy", ranges={"colour": (0, 1)}), "error")


def test_surface_brightness_of_arrays() -> None:
    assert surface_brightness(np.array([20.0, 21.0]), np.array([1.0, 2.0])).shape == (2,)
