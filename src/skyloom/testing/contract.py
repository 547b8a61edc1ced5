"""What every generator must do, as one function a plugin's tests call.

Example::

    def test_contract():
        check_generator(MyGenerator())
"""

from __future__ import annotations

import pickle
from typing import get_args

import numpy as np

from skyloom.conditions import PHYSICAL_RANGES, Conditions
from skyloom.errors import OutOfRangeError
from skyloom.frames import profile_jacobian
from skyloom.generators.checks import check_batch
from skyloom.generators.ranges import surface_brightness
from skyloom.normalise import sersic_enclosed
from skyloom.profiles import Generator, GeneratorSpec, Origin, ProfileBatch
from skyloom.residual_grid import interpolate

__all__ = ["check_generator", "conditions_within", "half_light_fraction"]

_USUAL = {
    "mag": (18.0, 25.0),
    "half_light_radius": (0.1, 2.0),
    "sersic_n": (0.5, 6.0),
    "q": (0.2, 1.0),
    "wavelength": (500.0, 1000.0),
    "redshift": (0.1, 2.0),
}
_ZERO_POINT = 30.0


def conditions_within(spec: GeneratorSpec, size: int, *, seed: int = 0) -> Conditions:
    """Draw galaxies from inside a generator's ranges.

    Parameters
    ----------
    spec : GeneratorSpec
        Its ranges; a wide range is narrowed to galaxies that surveys see.
    size : int
        How many.
    seed : int
        Of the draw.

    Returns
    -------
    Conditions
        With `mag` and `zero_point`, `wavelength` and `redshift`.
    """
    rng = np.random.default_rng(seed)
    columns = {}
    for name, usual in _USUAL.items():
        given = spec.ranges.get(name, usual)
        low, high = max(given[0], usual[0]), min(given[1], usual[1])
        if low > high:
            low, high = given
        if name in ("half_light_radius", "sersic_n"):
            columns[name] = np.exp(rng.uniform(np.log(low), np.log(high), size)).clip(low, high)
        else:
            columns[name] = rng.uniform(low, high, size)
    if "surface_brightness" in spec.ranges:
        faint = surface_brightness(columns["mag"], columns["half_light_radius"])
        low, high = spec.ranges["surface_brightness"]
        inside = np.clip(faint, low + 1e-6, high - 1e-6)
        columns["mag"] = columns["mag"] + inside - faint
        if "mag" in spec.ranges:  # keep the magnitude in range too: the size goes the rest of the way
            mag = np.clip(columns["mag"], *spec.ranges["mag"])
            columns["half_light_radius"] *= 10 ** ((columns["mag"] - mag) / 5)
            columns["mag"] = mag
    ids = rng.choice(1 << 40, size, replace=False).astype(np.int64)
    return Conditions(galaxy_id=ids, zero_point=_ZERO_POINT, beta=rng.uniform(-np.pi, np.pi, size), **columns)


def check_generator(generator: Generator, *, size: int = 24, seed: int = 20260101) -> None:
    """Raise AssertionError, with the reason, unless a generator keeps the contract.

    One seed and id give one galaxy, whatever the batch and order; another seed or id another (where there is
    a learned part); flux is exact and so is the half-light radius, to 1 % of the light; the Jacobian is that
    of the conditions; results pickle and become GSObjects; conditions out of range are refused unless told
    otherwise.

    Parameters
    ----------
    generator : Generator
        To be tested.
    size : int
        Galaxies to draw; at least 6.
    seed : int
        Of the draws.
    """
    spec = generator.spec
    assert pickle.loads(pickle.dumps(spec)) == spec, "the spec changes when pickled"
    assert (spec.grid_size > 0) == (spec.grid_scale > 0), "grid_size and grid_scale go together"
    conditions = conditions_within(spec, size, seed=seed)
    batch = generator.sample(conditions, seed=seed)
    check_batch(batch, conditions, f"generator '{spec.name}'")
    _check_physics(batch, conditions, spec)
    _check_reproducible(generator, conditions, batch, seed)
    _check_objects(batch)
    _check_ranges(generator, conditions, seed)


def half_light_fraction(batch: ProfileBatch, index: int) -> float:
    """Share of a galaxy's light within its half-light ellipse, by the profile's definition; 0.5 is exact.

    The integral over the circle that the ellipse is in the canonical frame: analytic for the Sersic,
    Gauss-Legendre in radius and trapezoidal in angle for the residual.
    """
    determinant = float(np.abs(np.linalg.det(batch.jacobian[index])))
    radius = float(batch.half_light_radius[index]) / np.sqrt(determinant)  # canonical units
    inside, total = float(sersic_enclosed(radius, batch.sersic_n[index])), 1.0
    if batch.residual is not None:
        nodes, weights = np.polynomial.legendre.leggauss(64)
        r = radius * (nodes + 1) / 2
        phi = np.arange(128) * (2 * np.pi / 128)
        x, y = np.outer(r, np.cos(phi)), np.outer(r, np.sin(phi))
        values = interpolate(batch.residual[index], batch.grid_scale, x.ravel(), y.ravel()).reshape(x.shape)
        inside += float((values.mean(1) * 2 * np.pi * r * weights).sum() * radius / 2)
        total += float(batch.residual_flux[index])
    return inside / total


def _check_physics(batch: ProfileBatch, conditions: Conditions, spec: GeneratorSpec) -> None:
    for name in ("flux", "half_light_radius", "sersic_n", "q", "beta"):
        asked, got = getattr(conditions, name), getattr(batch, name)
        assert np.allclose(got, asked, rtol=1e-9, atol=0), f"'{name}' is not as asked: {got[:3]} for {asked[:3]}"
    total = batch.amplitude * (1 + batch.residual_flux)
    assert np.allclose(total, conditions.flux, rtol=1e-6), "the flux of Sersic and residual is not as asked"
    assert np.all(batch.jacobian[:, 0, 1] == 0), "the Jacobian is not lower triangular"
    shape = profile_jacobian(conditions.half_light_radius, conditions.q, conditions.beta)
    scale = np.sqrt(np.linalg.det(batch.jacobian) / np.linalg.det(shape))[:, None, None]
    assert np.allclose(batch.jacobian, shape * scale, rtol=1e-6, atol=1e-9), "the Jacobian has another shape than asked"
    for i in range(len(batch)):
        fraction = half_light_fraction(batch, i)
        assert abs(fraction - 0.5) < 0.005, (
            f"galaxy {batch.galaxy_id[i]}: {fraction:.4f} of the light within half_light_radius"
        )
    assert set(batch.drawn_from) <= set(get_args(Origin)), f"drawn_from has {sorted(set(batch.drawn_from))}"
    assert batch.generator == spec.name, f"the batch says it is of generator '{batch.generator}', not '{spec.name}'"
    assert batch.weights_sha256 == spec.weights_sha256, "the batch names other weights than the spec"
    if batch.residual is not None:
        assert batch.residual.shape[1] == spec.grid_size, "the residual's size is not the spec's grid_size"
        assert batch.grid_scale == spec.grid_scale, "the batch's grid_scale is not the spec's"


def _same(a: ProfileBatch, b: ProfileBatch) -> bool:
    return all(
        (getattr(a, name) is None and getattr(b, name) is None) or np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("galaxy_id", "flux", "half_light_radius", "jacobian", "residual", "offset", "drawn_from")
    )


def _check_reproducible(generator: Generator, conditions: Conditions, batch: ProfileBatch, seed: int) -> None:
    assert _same(generator.sample(conditions, seed=seed), batch), "the same request gave other galaxies"
    order = np.random.default_rng(1).permutation(len(conditions))
    shuffled = generator.sample(conditions[order], seed=seed)
    assert _same(shuffled, batch[order]), "galaxies depend on their order"
    cut = len(conditions) // 3
    for part in (slice(0, 1), slice(1, cut), slice(cut, None)):
        assert _same(generator.sample(conditions[part], seed=seed), batch[part]), "galaxies depend on the batch"
    if batch.residual is None:
        return
    for what, other in (
        ("seed", generator.sample(conditions, seed=seed + 1)),
        ("galaxy_id", generator.sample(conditions.replace(galaxy_id=conditions.galaxy_id + 1), seed=seed)),
    ):
        assert other.residual is not None, f"no learned part with another {what}"
        equal = [np.array_equal(a, b) for a, b in zip(other.residual, batch.residual, strict=True)]
        assert not any(equal), f"another {what} gave the same galaxy"


def _check_objects(batch: ProfileBatch) -> None:
    assert _same(pickle.loads(pickle.dumps(batch)), batch), "the batch changes when pickled"
    galaxy = batch[0]
    assert np.isclose(galaxy.flux, batch.flux[0], rtol=1e-6), f"batch[0] has flux {galaxy.flux}, not {batch.flux[0]}"
    assert pickle.loads(pickle.dumps(galaxy)) == galaxy, "a galaxy changes when pickled"


def _check_ranges(generator: Generator, conditions: Conditions, seed: int) -> None:
    for name, (low, high) in generator.spec.ranges.items():
        if name == "surface_brightness":
            continue
        for edge in (low - 0.01 * abs(low), high + 0.01 * abs(high)):
            physical = PHYSICAL_RANGES[name]
            if not physical[0] <= edge <= physical[1]:
                continue
            outside = conditions[:1].replace(**{name: np.array([edge])})
            message = ""
            try:
                generator.sample(outside, seed=seed)
            except OutOfRangeError as exc:
                message = str(exc)
            assert message, f"{name} = {edge} is outside [{low}, {high}] and was drawn"
            assert name in message, f"the error does not name '{name}': {message}"
            assert str(outside.galaxy_id[0]) in message, f"the error does not name the galaxy: {message}"
            for policy, words in (("clip", {"clipped"}), ("parametric", {"parametric"})):
                batch = generator.sample(outside, seed=seed, out_of_range=policy)  # type: ignore[arg-type]
                check_batch(batch, outside, f"generator '{generator.spec.name}', {policy}")
                assert set(batch.drawn_from) <= words, f"drawn_from is {batch.drawn_from[0]} with {policy}"
                assert np.allclose(batch.flux, outside.flux), f"the flux is not as asked with {policy}"
