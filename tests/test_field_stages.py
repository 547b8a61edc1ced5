"""Every stage of a field through its hook: plugins of a few lines replace them, and are told of failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import galsim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skyloom
from skyloom.descriptors import NoiseModel
from skyloom.errors import BadInputError, OutOfRangeError, PluginError
from skyloom.generators import load_model
from skyloom.hookspecs import hookimpl
from skyloom.physics.lens import lens_batch, lens_matrix
from skyloom.physics.noise import add_ccd_noise, add_gaussian_noise, add_no_noise

from .field_plugins import galaxies, plugin

PLAIN: dict[str, Any] = {
    "size": 64, "seed": 5, "model": "sersic", "noise": "none", "psf": galsim.Gaussian(fwhm=0.3), "pixel_scale": 0.1,
}  # fmt: skip


def table(count: int = 4, **columns: Any) -> Any:
    return galaxies(count, side=(64, 64), **columns)


# --- profiles


def test_a_plugin_makes_the_galaxies_of_one_kind():
    def rounder(request: skyloom.ProfileRequest) -> skyloom.ProfileBatch | None:
        if request.kind != "round":
            return None
        return load_model("sersic").sample(request.conditions.replace(q=1.0), seed=request.seed)

    rows = table(4, kind=["galaxy", "round", "galaxy", "round"])
    plain = skyloom.render_field(rows, **PLAIN)
    with plugin(skyloom_profiles=rounder):
        field = skyloom.render_field(rows, **PLAIN)
    is_round = np.asarray(field.truth["kind"] == "round")
    assert (field.truth["q"][is_round] == 1).all()
    assert np.array_equal(field.truth["q"][~is_round], plain.truth["q"][~is_round])
    assert not np.array_equal(field.image, plain.image)


def test_requests_are_announced_and_batches_replaced():
    seen = []

    @hookimpl(wrapper=True)
    def fainter(request: Any, batch: Any) -> Any:
        batch = yield
        return replace(batch, flux=batch.flux / 2)

    plain = skyloom.render_field(table(), **PLAIN)
    hooks = {"skyloom_before_profiles": lambda request: seen.append(request), "skyloom_after_profiles": fainter}
    with plugin(**hooks):
        half = skyloom.render_field(table(), **PLAIN, batch_size=3)
    assert [len(request.conditions) for request in seen] == [3, 1]
    assert np.allclose(half.image, plain.image / 2, rtol=1e-6)


def test_a_generator_for_each_kind():
    rows = table(4, kind=["galaxy", "round", "galaxy", "star"])
    field = skyloom.render_field(rows, **{**PLAIN, "model": {"galaxy": "sersic", "round": "sersic"}})
    assert set(field.truth["generator"]) == {"sersic", "star"}
    with pytest.raises(BadInputError, match="names no generator for the kind 'round'; it has galaxy"):
        skyloom.render_field(rows, **{**PLAIN, "model": {"galaxy": "sersic"}})


# --- lensing

shears = st.floats(-0.65, 0.65)


@given(shears, shears, st.floats(0.1, 10), st.floats(0.2, 1), st.floats(-1.6, 1.6))
@settings(max_examples=60)
def test_the_lens_is_galsims(g1, g2, mu, q, beta):
    conditions = skyloom.Conditions(flux=3.0, half_light_radius=0.4, sersic_n=1.2, q=q, beta=beta)
    batch = load_model("sersic").sample(conditions, seed=1)
    batch = replace(batch, offset=np.array([[0.1, -0.3]]))
    lensed = lens_batch(batch, *(np.array([v]) for v in (g1, g2, mu)))
    matrix = lens_matrix(*(np.array([v]) for v in (g1, g2, mu)))[0]
    theirs = batch[0].lens(g1=g1, g2=g2, mu=mu)
    assert np.allclose(matrix, theirs.jac, rtol=1e-12)
    assert lensed.flux[0] == pytest.approx(theirs.flux, rel=1e-12)
    ours = lensed[0]  # a LearnedGalaxy checks that q and beta are the Jacobian's
    assert ours.centroid.x == pytest.approx(theirs.centroid.x, abs=1e-9)
    for k in ((1.0, 0.0), (0.3, 2.0), (-1.5, 1.0)):
        assert ours.kValue(*k) == pytest.approx(theirs.kValue(*k), rel=1e-6, abs=1e-7)
    assert np.pi * lensed.half_light_radius[0] ** 2 == pytest.approx(np.pi * 0.4**2 * mu, rel=1e-12)


@given(shears, shears, st.floats(0.1, 10))
@settings(max_examples=30)
def test_the_lens_of_the_inverse_is_none(g1, g2, mu):
    there, back = (lens_matrix(*(np.array([v]) for v in values)) for values in ((g1, g2, mu), (-g1, -g2, 1 / mu)))
    assert np.allclose(there[0] @ back[0], np.eye(2), atol=1e-12)
    assert np.linalg.det(there[0]) == pytest.approx(mu, rel=1e-12)


def test_a_plugin_lenses():
    def magnify(batch: Any, mu: Any) -> Any:
        return replace(batch, flux=batch.flux * mu)

    lens = {"g1": 0.1, "g2": 0.0, "mu": 2.0}
    with plugin(skyloom_lens=magnify):
        field = skyloom.render_field(table(), **PLAIN, **lens)
        unlensed = skyloom.render_field(table(), **PLAIN)
    plain = skyloom.render_field(table(), **PLAIN)
    assert np.array_equal(unlensed.image, plain.image)  # nobody is asked where nothing is lensed
    assert np.allclose(field.image, 2 * plain.image, rtol=1e-6)
    assert field.provenance["stages"]["lens"] == ["plugin 'toy' 1.2"]
    assert skyloom.render_field(table(), **PLAIN, **lens).provenance["stages"]["lens"] == ["skyloom"]


def test_a_lens_that_loses_a_galaxy_is_named():
    rows = table()
    with plugin(skyloom_lens=lambda batch: batch[1:]), pytest.raises(PluginError, match="plugin 'toy' 1.2 returned 3"):
        skyloom.render_field(rows, **PLAIN, g1=0.1, g2=0.0)
    nan = plugin(skyloom_lens=lambda batch: replace(batch, jacobian=batch.jacobian * np.nan))
    with nan, pytest.raises(PluginError, match=r"plugin 'toy' 1.2: galaxy \d+ has jacobian = nan"):
        skyloom.render_field(rows, **PLAIN, g1=0.1, g2=0.0)


# --- PSF


def test_a_plugin_gives_the_psf_cell_by_cell():
    asked = []

    def psf(name: str, wavelength: float, x: float, y: float) -> galsim.GSObject | None:
        asked.append((wavelength, x, y))
        return galsim.Gaussian(fwhm=0.2 + 0.001 * x) if name == "toy" else None

    choice = {**PLAIN, "psf": "toy", "wavelength": 700.0, "psf_cell": 40}
    with plugin(skyloom_psf=psf):
        field = skyloom.render_field(table(12), **choice)
    assert set(asked) == {(700.0, x, y) for x in (20.5, 52.5) for y in (20.5, 52.5)}
    assert len(asked) == len(set(asked))
    by_function = skyloom.render_field(
        table(12), **{**choice, "psf": lambda x, y, wavelength: galsim.Gaussian(fwhm=0.2 + 0.001 * x)}
    )
    assert np.array_equal(field.image, by_function.image)
    with pytest.raises(BadInputError, match="no PSF is named 'toy'; surveys have one: .*euclid_vis"):
        skyloom.render_field(table(), **choice)
    with pytest.raises(BadInputError, match="needs wavelength"):
        skyloom.render_field(table(), **{**choice, "wavelength": None})
    with pytest.raises(BadInputError, match="not a galsim.GSObject"):
        skyloom.render_field(table(), **{**choice, "psf": lambda x, y, wavelength: 3})


def test_the_survey_gives_what_is_not_given():
    survey = skyloom.load_survey("euclid_vis")
    choice = {key: PLAIN[key] for key in ("size", "seed", "model", "noise")}
    by_name = skyloom.render_field(table(), **choice, survey="euclid_vis")
    by_hand = skyloom.render_field(
        table(), **choice, psf=survey.psf(), pixel_scale=survey.pixel_scale, sky_level=survey.sky_level,
        gain=survey.gain, wavelength=survey.wavelength, exptime=survey.exptime, zero_point=survey.zero_point,
    )  # fmt: skip
    assert np.array_equal(by_name.image, by_hand.image)
    assert by_name.image.min() == pytest.approx(survey.sky_electrons / survey.gain, rel=1e-3)
    assert np.array_equal(skyloom.render_field(table(), **choice, survey=survey).image, by_name.image)
    other = skyloom.render_field(table(), **choice, survey="euclid_vis", gain=1.0, sky_level=0.0)
    assert np.allclose(other.image, (by_name.image - by_name.image.min()) * survey.gain, atol=0.1)
    assert by_name.provenance["psf"] == "euclid_vis"


# --- noise


def test_noise_is_a_ccds():
    """Means and variances of flat images, and GalSim's own noise for the same: 4e5 pixels, five sigma."""
    size, level = 640, 40.0
    choice = {**PLAIN, "size": size, "gain": 2.5, "read_noise": 4.0, "sky_level": level / 2.5 / 0.01}
    empty = table()[:0]
    image = skyloom.render_field(empty, **{**choice, "noise": "ccd"}).image.astype(float)
    variance = level / 2.5**2 + (4.0 / 2.5) ** 2
    assert image.mean() == pytest.approx(level / 2.5, abs=5 * np.sqrt(variance) / size)
    assert image.var() == pytest.approx(variance, rel=5 * np.sqrt(2.5) / size)
    galsims = galsim.ImageD(size, size, init_value=level / 2.5)
    galsims.addNoise(galsim.CCDNoise(galsim.BaseDeviate(1), gain=2.5, read_noise=4.0))
    assert image.var() == pytest.approx(galsims.array.var(), rel=7 * np.sqrt(2.5) / size)
    skew = ((image - image.mean()) ** 3).mean()
    assert skew == pytest.approx(level / 2.5**3, abs=5 * np.sqrt(15 * variance**3) / size)
    assert abs(np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1]) < 5 / size
    flat = skyloom.render_field(empty, **{**choice, "noise": "gaussian"}).image.astype(float)
    assert flat.var() == pytest.approx(variance, rel=5 * np.sqrt(2) / size)
    assert abs(((flat - flat.mean()) ** 3).mean()) < 5 * np.sqrt(15 * variance**3) / size
    other = skyloom.render_field(empty, **{**choice, "noise": "ccd"}, exposure=1).image
    assert abs(np.corrcoef(image.ravel(), other.ravel())[0, 1]) < 5 / size
    without = skyloom.render_field(empty, **{**choice, "noise": "ccd"}, subtract_sky=True).image
    assert np.allclose(without, image - level / 2.5, atol=1e-4)


def test_tiles_of_one_seed_have_noise_of_their_own():
    def tile(ra: float, dec: float, side: int = 32, scale: float = 0.1) -> np.ndarray:
        centre = galsim.CelestialCoord(ra * galsim.degrees, dec * galsim.degrees)
        pixels = galsim.AffineTransform(-scale, 0, 0, scale, galsim.PositionD(16.5, 16.5))
        empty = galaxies(1)[:0]
        choice = {"seed": 5, "model": "sersic", "survey": "euclid_vis", "wcs": galsim.TanWCS(pixels, centre)}
        return skyloom.render_field(empty, size=side, **choice).image[:32, :32]

    first = tile(150, 2)
    assert np.array_equal(tile(150, 2), first)
    assert np.array_equal(tile(510, 2), first)
    for other in (tile(150.001, 2), tile(150, 2.001), tile(150, 2, side=33), tile(150, 2, scale=0.1000001)):
        assert abs(np.corrcoef(other.ravel(), first.ravel())[0, 1]) < 0.2


def test_noise_models_by_themselves():
    rng = np.random.default_rng(1)
    image = np.full((3, 5), -2.0, np.float32)
    assert (add_ccd_noise(image.copy(), {"gain": 2.0}, rng) == -1).all()  # no photons where nothing is expected
    assert (add_no_noise(image.copy(), {"gain": 4.0}, rng) == -0.5).all()
    assert add_gaussian_noise(
        np.zeros((400, 400), np.float32), {"sigma": 3.0, "gain": 2.0}, rng
    ).std() == pytest.approx(1.5, rel=0.02)
    with pytest.raises(BadInputError, match="sigma must be a number from 0, not -1"):
        add_gaussian_noise(image, {"sigma": -1.0}, rng)
    with pytest.raises(BadInputError, match="gain must be positive, not 0"):
        add_no_noise(image, {"gain": 0.0}, rng)


def test_a_plugin_adds_noise_by_name():
    def counts(image: Any, parameters: Any, rng: np.random.Generator) -> Any:
        return (rng.poisson(image) * parameters["step"] / parameters["gain"]).astype(np.float32)

    choice = {**PLAIN, "gain": 2.0, "noise_parameters": {"step": 3.0}}
    with plugin(skyloom_noise_models=lambda: [NoiseModel("counts", add=counts)]):
        field = skyloom.render_field(table(), **{**choice, "noise": "counts"})
    assert (field.image % 1.5 == 0).all()
    assert field.provenance["noise_parameters"]["step"] == 3

    def take_over(image: Any, name: str) -> Any:
        return image * 0 + 7 if name == "seven" else None

    with plugin(skyloom_add_noise=take_over):
        field = skyloom.render_field(table(), **{**PLAIN, "noise": "seven"})
        assert (field.image == 7).all()
        assert field.provenance["stages"]["noise"] == "plugin 'toy' 1.2"
        assert skyloom.render_field(table(), **PLAIN).image.max() > 7  # others are left to the built-in
    with pytest.raises(BadInputError, match="no noise model is named 'cdd'; did you mean 'ccd'"):
        skyloom.render_field(table(), **{**PLAIN, "noise": "cdd"})


@pytest.mark.parametrize("bad", [lambda image: image[1:], lambda image: image * np.nan])
def test_noise_that_cannot_be_is_named(bad):
    with plugin(skyloom_add_noise=bad), pytest.raises(PluginError, match="of plugin 'toy' 1.2 gave"):
        skyloom.render_field(table(), **PLAIN)


# --- told of it


def test_a_finished_image_is_shown():
    seen = []

    def look(image: Any, truth: Any, provenance: Any) -> None:
        with pytest.raises(ValueError, match="read-only"):
            image[0, 0] = 1
        seen.append((image.copy(), len(truth), provenance["config_sha256"]))

    with plugin(skyloom_after_image=look):
        field = skyloom.render_field(table(), **PLAIN)
    assert np.array_equal(seen[0][0], field.image)
    assert seen[0][1:] == (len(field.truth), field.provenance["config_sha256"])
    field.image[0, 0] = 1


FAILURES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "profiles": ({"model": "no_such"}, BadInputError, "no model is named 'no_such'"),
    "lens": ({"g1": 0.9, "g2": 0.9}, BadInputError, r"row \d: galaxy \d+: g1 = 0.9, g2 = 0.9, mu = 1 cannot be"),
    "psf": ({"psf": "no_such", "wavelength": 700.0}, BadInputError, "no PSF is named"),
    "noise": ({"noise": "no_such"}, BadInputError, "no noise model is named"),
    "catalogue": ({"mu": -1.0}, BadInputError, r"column 'mu', row 0 \(galaxy \d+\): -1.0 is not within"),
    "observing": ({"gain": -1.0}, BadInputError, "gain is -1.0"),
}


@pytest.mark.parametrize("stage", FAILURES)
def test_failures_are_reported_once_with_their_stage(stage):
    change, kind, message = FAILURES[stage]
    seen = []
    tell = plugin(skyloom_on_error=lambda error, stage, galaxy_id: seen.append((error, stage, galaxy_id)))
    with tell, pytest.raises(kind, match=message) as caught:
        skyloom.render_field(table(), **{**PLAIN, **change})
    assert [stage for _, stage, _ in seen] == [stage]
    assert seen[0][0] in (caught.value, caught.value.__cause__)
    if stage in ("lens", "catalogue"):
        assert seen[0][2] in set(table()["galaxy_id"].tolist())


def test_a_galaxy_out_of_range_is_named_by_its_row(blobs_model):
    rows = table(6)
    rows["half_light_radius"][4] = 30.0
    message = rf"galaxy {rows['galaxy_id'][4]} \(row 4\)|row 4.*galaxy {rows['galaxy_id'][4]}"
    with pytest.raises(OutOfRangeError, match=message):
        skyloom.render_field(rows, **{**PLAIN, "model": "blobs", "batch_size": 2})
    field = skyloom.render_field(rows, **{**PLAIN, "model": "blobs", "out_of_range": "parametric"})
    assert (
        dict(zip(field.truth["galaxy_id"], field.truth["drawn_from"], strict=True))[rows["galaxy_id"][4]]
        == "parametric"
    )


@pytest.fixture
def blobs_model():
    from .learned_fields import SPEC, Blobs

    entry = skyloom.descriptors.GeneratorEntry("blobs", spec=SPEC, factory=Blobs)
    with plugin("blobs for a test", skyloom_generators=lambda: [entry]):
        yield
