"""The contract for generators: a good one keeps it, and each way to break it is noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skyloom.conditions import Conditions
from skyloom.frames import profile_jacobian
from skyloom.generators.ranges import apply_policy
from skyloom.normalise import dilation
from skyloom.profiles import GeneratorSpec, ProfileBatch
from skyloom.rng import galaxy_normals
from skyloom.testing.contract import check_generator, conditions_within, half_light_fraction

GRID, SCALE = 96, 9 / 96


class Blob:
    """A generator with a learned part: a Gaussian blob, its place drawn for each galaxy."""

    spec = GeneratorSpec(
        "blob",
        ranges={
            "sersic_n": (0.5, 4.0),
            "q": (0.2, 1.0),
            "mag": (17.0, 25.0),
            "surface_brightness": (18.0, 26.0),
        },
        grid_size=GRID,
        grid_scale=SCALE,
    )

    def sample(self, conditions: Conditions, *, seed: int, out_of_range: Any = "error") -> ProfileBatch:
        _, drawn_from, parametric = apply_policy(conditions, self.spec, out_of_range)
        x, y = np.meshgrid(*[(np.arange(GRID) - (GRID - 1) / 2) * SCALE] * 2)
        place = galaxy_normals(seed, conditions.galaxy_id, "place", 2)[:, :, None, None]
        place = np.clip(place, -2, 2)
        residual = 0.05 * np.exp(-((x - place[:, 0]) ** 2 + (y - place[:, 1]) ** 2) / 0.32)
        residual = np.where(parametric[:, None, None], 0, residual).astype(np.float32)
        size = conditions.half_light_radius / dilation(residual, SCALE, conditions.sersic_n)
        return ProfileBatch(
            galaxy_id=conditions.galaxy_id,
            sersic_n=conditions.sersic_n,
            flux=conditions.flux,
            half_light_radius=conditions.half_light_radius,
            q=conditions.q,
            beta=conditions.beta,
            jacobian=profile_jacobian(size, conditions.q, conditions.beta),
            residual=residual,
            grid_scale=SCALE,
            drawn_from=drawn_from,
            generator="blob",
            seed=seed,
        )


def test_a_good_generator_keeps_the_contract() -> None:
    check_generator(Blob(), size=9)


def broken(**how: Any) -> Any:
    """A Blob whose batches are changed: ``name=function(batch, conditions, seed)``."""

    class Broken(Blob):
        def sample(self, conditions: Conditions, *, seed: int, out_of_range: Any = "error") -> ProfileBatch:
            batch = super().sample(conditions, seed=seed, out_of_range=out_of_range)
            return replace(batch, **{name: f(batch, conditions, seed) for name, f in how.items()})

    return Broken()


class Lenient(Blob):
    def sample(self, conditions: Conditions, *, seed: int, out_of_range: Any = "error") -> ProfileBatch:
        return super().sample(conditions, seed=seed, out_of_range="clip")


class Unseeded(Blob):
    def sample(self, conditions: Conditions, *, seed: int, out_of_range: Any = "error") -> ProfileBatch:
        return super().sample(conditions, seed=1, out_of_range=out_of_range)


class OneForAll(Blob):
    def sample(self, conditions: Conditions, *, seed: int, out_of_range: Any = "error") -> ProfileBatch:
        same = super().sample(
            conditions.replace(galaxy_id=np.arange(len(conditions))), seed=seed, out_of_range=out_of_range
        )
        return replace(same, galaxy_id=conditions.galaxy_id)


NOISE = np.random.default_rng(1)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (broken(flux=lambda b, c, s: b.flux * 1.001), "'flux' is not as asked"),
        (broken(jacobian=lambda b, c, s: b.jacobian * 1.03), "of the light within half_light_radius"),
        (broken(jacobian=lambda b, c, s: b.jacobian.transpose(0, 2, 1)), "not lower triangular"),
        (
            broken(jacobian=lambda b, c, s: profile_jacobian(np.sqrt(np.linalg.det(b.jacobian)), b.q**0.9, b.beta)),
            "another shape than asked",
        ),
        (broken(drawn_from=lambda b, c, s: np.full(len(b), "guessed")), "drawn_from has .*guessed"),
        (broken(generator=lambda b, c, s: "other"), "says it is of generator 'other', not 'blob'"),
        (broken(weights_sha256=lambda b, c, s: "ab"), "names other weights"),
        (broken(grid_scale=lambda b, c, s: 0.1), "half_light_radius|grid_scale"),
        (
            broken(residual=lambda b, c, s: b.residual + np.float32(1e-9 * NOISE.normal())),
            "other galaxies",
        ),
        (broken(offset=lambda b, c, s: np.arange(2.0 * len(b)).reshape(-1, 2)), "depend on their order"),
        (broken(residual=lambda b, c, s: b.residual * np.float32(1 + 1e-6 * len(b))), "depend on the batch"),
        (Lenient(), "is outside .* and was drawn"),
        (Unseeded(), "another seed gave the same galaxy"),
        (OneForAll(), "depend on their order"),
    ],
)
def test_each_breach_is_noticed(generator: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_generator(generator, size=9)


def test_drawn_conditions_are_in_range() -> None:
    for ranges in (
        {},
        Blob.spec.ranges,
        {"half_light_radius": (5.0, 9.0), "surface_brightness": (20.0, 21.0)},
    ):
        spec = GeneratorSpec("toy", ranges=ranges)
        conditions = conditions_within(spec, 200, seed=3)
        assert len(conditions) == 200
        apply_policy(conditions, spec, "error")


def test_half_light_fraction_of_a_sersic() -> None:
    conditions = conditions_within(Blob.spec, 5)
    batch = Blob().sample(conditions, seed=1)
    wider = replace(batch, half_light_radius=batch.half_light_radius * 1.1)
    for i in range(5):
        assert half_light_fraction(batch, i) == pytest.approx(0.5, abs=1e-4)
        assert half_light_fraction(wider, i) > 0.51


def test_no_galaxies_are_a_batch_too() -> None:
    conditions = Conditions(flux=[], half_light_radius=[], sersic_n=[])
    assert dilation(np.zeros((0, GRID, GRID), np.float32), SCALE, conditions.sersic_n).shape == (0,)
