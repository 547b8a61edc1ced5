"""Metrics of a generator itself, and of its reconstructions: exactness, response, evidence, chi2."""

from __future__ import annotations

import json
from types import SimpleNamespace

import galsim
import numpy as np
import pytest
from astropy.table import Table

from skyloom.errors import BadInputError
from skyloom.frames import profile_jacobian
from skyloom.galaxy import LearnedGalaxy
from skyloom.normalise import dilation
from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.exactness import drawn_errors
from skyloom.validate.generator_figures import generator_figures
from skyloom.validate.report_data import Validation, to_json
from skyloom.validate.response import shape_response
from skyloom.validate.run_extras import reconstructions
from skyloom.validate.run_scores import metric_lines

from .validate_samples import make_cutout

METRICS = {metric.name: metric for metric in skyloom_metrics()}
GRID_SCALE = 9 / 96


def compute(name, **context):
    return METRICS[name].compute(None, None, **context)


def learned(n=1.0, *, dilated=True, flux=300.0, half_light_radius=0.6, q=0.5, beta=0.7, strength=0.3):
    """A Sersic with a ring at its half-light radius, which moves the half-light radius."""
    place = (np.arange(96) - 47.5) * GRID_SCALE
    r = np.hypot(*np.meshgrid(place, place))
    ring = strength * np.exp(-r) * np.exp(-(((r - 1.5) / 0.5) ** 2))
    residual = ring.astype(np.float32)
    stretch = float(dilation(residual[None], GRID_SCALE, [n])[0]) if dilated else 1.0
    return LearnedGalaxy(
        sersic_n=n,
        flux=flux,
        jacobian=profile_jacobian(np.array([half_light_radius / stretch]), np.array([q]), np.array([beta]))[0],
        half_light_radius=half_light_radius,
        q=q,
        beta=beta,
        residual=residual,
        grid_scale=GRID_SCALE,
        offset=(0.1, -0.2),
    )


# --- exactness ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0.5, 1.0, 4.0, 6.0])
def test_a_plain_sersic_is_exact(n):
    profile = LearnedGalaxy(
        sersic_n=n,
        flux=7.0,
        jacobian=profile_jacobian(np.array([0.4]), np.array([0.3]), np.array([1.1]))[0],
        half_light_radius=0.4,
        q=0.3,
        beta=1.1,
    )
    assert drawn_errors(profile) == pytest.approx((0, 0), abs=2e-4)


def test_a_learned_profile_is_exact_and_one_without_its_dilation_is_not():
    assert drawn_errors(learned()) == pytest.approx((0, 0), abs=3e-4)
    flux, radius = drawn_errors(learned(dilated=False))
    assert flux == pytest.approx(0, abs=3e-4)
    assert radius > 0.02


def test_exactness_tells_rms_and_worst():
    away = np.array([1e-4, -2e-4, 3e-3, np.nan])
    found = compute("exact_flux", exact_flux=away, exact_floor_flux=np.full(4, 1e-5))
    assert found["value"] == pytest.approx(np.sqrt(np.mean(away[:3] ** 2)))
    assert found["worst"] == 3e-3
    assert found["floor"] == 1e-3
    assert found["left_out_model"] == 1


# --- response to shear --------------------------------------------------------------------------------------


def test_a_round_gaussian_answers_to_shear_as_it_must():
    # e of a sheared Gaussian through a round Gaussian PSF: 2 g s^2 / (s^2 + p^2) to first order
    s, p = 0.3, 0.12 / 2.3548
    response, e = shape_response(galsim.Gaussian(sigma=s), make_cutout())
    assert response == pytest.approx([2 * s**2 / (s**2 + p**2)] * 2, rel=3e-3)
    assert e == pytest.approx([0, 0], abs=1e-4)


def test_the_turned_pair_takes_ellipticity_off():
    tilted = galsim.Exponential(half_light_radius=0.4).shear(g1=0.3, g2=0.1)
    _, e = shape_response(tilted, make_cutout())
    assert e == pytest.approx([0, 0], abs=3e-3)


def test_a_model_that_answers_less_and_leaks_is_measured():
    rng = np.random.default_rng(1)
    plain = rng.normal(1.3, 0.1, (80, 2))
    response = np.stack([0.95 * plain * rng.normal(1, 0.01, (80, 1)), plain], axis=1)
    ellipticity = rng.normal(0, 1e-4, (80, 2, 2)) + np.array([[0.012, 0.0], [0.0, 0.0]])
    response[3] = np.nan
    context = {"shear_response": response, "shear_ellipticity": ellipticity}
    m = compute("shear_response", **context)
    assert m["value"] == pytest.approx(-0.05, abs=4 * m["error"])
    assert 1e-4 < m["error"] < 0.005
    assert m["left_out_model"] == 1
    c1, c2 = (compute(f"shear_offset_{i}", **context) for i in (1, 2))
    assert c1["value"] == pytest.approx(0.012 / (0.95 * 1.3), rel=0.05)
    assert abs(c2["value"]) < 4 * c2["error"]


# --- evidence and chi2 --------------------------------------------------------------------------------------


def test_gain_comes_by_source():
    gain = np.array([4.0, 6.0, -1.0, np.nan])
    galaxies = np.array(["a 1", "a 2", "b 1", "b 2"])
    found = compute(
        "elbo_gain", held_out_gain=gain, held_out_source=np.array(["a", "a", "b", "b"]), held_out_galaxy=galaxies
    )
    assert found["value"] == 3
    assert found["gain_a"] == 5
    assert found["error_a"] == pytest.approx(1)
    assert found["gain_b"] == -1
    assert (found["n_real"], found["left_out_real"], found["share"]) == (3, 1, pytest.approx(2 / 3))


def test_chi2_reports_the_worst_bin_with_and_without_the_floor():
    mag = np.linspace(20, 25, 500)
    noise, floor = np.where(mag < 21, 40.0, 1.0), np.where(mag < 21, 2.4, 1.0)
    context = {"reconstruction_chi2": noise, "reconstruction_chi2_floor": floor, "reconstruction_mag": mag}
    assert compute("posterior_chi2", **context)["value"] == pytest.approx(2.4)
    found = compute("posterior_chi2_noise", **context)
    assert found["value"] == pytest.approx(40)
    assert found["median_4"] == pytest.approx(1)
    assert found["mag_0"] < 21 < found["mag_1"]


class Fake:
    """Gives the Sersic it is asked for; reconstructs perfectly."""

    def __init__(self):
        self.spec = SimpleNamespace(name="fake")

    def galaxy(self, fit, **more):
        jacobian = profile_jacobian(np.array([fit.half_light_radius]), np.array([fit.q]), np.array([fit.beta]))[0]
        ours = {"sersic_n": fit.sersic_n, "flux": fit.flux, "jacobian": jacobian, "q": fit.q, "beta": fit.beta}
        return LearnedGalaxy(**ours, half_light_radius=fit.half_light_radius, **more)

    def reconstruct(self, cutouts):
        return [self.galaxy(c.fit, offset=(c.fit.dx, c.fit.dy)) for c in cutouts]

    def held_out(self, cutouts):
        return {"gain": np.arange(float(len(cutouts)))}

    def sample(self, conditions, *, seed, out_of_range):
        fits = zip(
            *(getattr(conditions, k) for k in ("sersic_n", "flux", "q", "beta", "half_light_radius")), strict=True
        )
        names = ("sersic_n", "flux", "q", "beta", "half_light_radius")
        return [self.galaxy(SimpleNamespace(**dict(zip(names, map(float, fit), strict=True)))) for fit in fits]


@pytest.fixture(scope="module")
def cutouts():
    return [make_cutout(i, n=1.0 + 0.1 * (i % 3), half_light_radius=0.4, sigma=0.2, size=64) for i in range(10)]


def test_a_bright_core_with_a_wrong_psf_is_what_the_floor_is_for(cutouts):
    found = reconstructions(Fake(), cutouts)
    assert found["reconstruction_chi2"] == pytest.approx(1, abs=0.1)
    assert found["reconstruction_chi2_floor"] == pytest.approx(1, abs=0.1)
    assert found["reconstruction_sersic_chi2"] == pytest.approx(found["reconstruction_chi2"], rel=1e-3)
    bright = [make_cutout(i, flux=4e5, half_light_radius=0.4, sigma=0.2, size=64, psf_fwhm=0.12) for i in range(3)]
    for cutout in bright:  # a PSF that is 4 % too wide
        wide = galsim.Gaussian(fwhm=0.125).drawImage(nx=25, ny=25, scale=0.06, method="no_pixel").array
        cutout.psf[:] = wide / wide.sum()
    found = reconstructions(Fake(), bright)
    assert (found["reconstruction_chi2"] > 5 * found["reconstruction_chi2_floor"]).all()
    assert (found["reconstruction_chi2_floor"] < 2).all()


def test_a_generator_that_gives_sersics_has_no_bias_and_is_exact(cutouts):
    figures = generator_figures(Fake(), cutouts)
    assert compute("elbo_gain", **figures)["value"] == pytest.approx(4.5)
    assert compute("exact_flux", **figures)["value"] < 2e-4
    assert compute("exact_half_light_radius", **figures)["value"] < 2e-4
    found = compute("shear_response", **figures)
    assert found["value"] == pytest.approx(0, abs=1e-4)
    assert found["n_model"] == 10


def test_a_generator_that_refuses_leaves_the_rest(cutouts, caplog):
    class Refusing(Fake):
        def sample(self, conditions, *, seed, out_of_range):
            raise BadInputError("no")

        def held_out(self, cutouts):
            raise ValueError("no")

    assert generator_figures(Refusing(), cutouts) == {}
    assert "no galaxies to draw" in caplog.text
    assert np.isnan(compute("exact_flux")["value"])


# --- what has no ideal, and what else was found -------------------------------------------------------------


def test_a_metric_without_an_ideal_is_shown_and_not_judged_and_the_rest_is_kept():
    found = {"value": 3.0, "error": 1.0, "floor": float("nan"), "gain_a": 5.0, "error_a": float("nan")}
    line = metric_lines(METRICS["elbo_gain"], Table({"x": [1.0]}), {"model": found})
    told = line.scores["model"]
    assert (told.value, told.outcome, told.note) == (3.0, "not judged", "for information")
    assert told.more["gain_a"] == 5.0
    validation = Validation(samples={}, lines=[line], headline="", verdicts={}, provenance={})
    written = json.loads(json.dumps(to_json(validation)))["metrics"][0]["scores"]["model"]
    assert written["more"] == {"gain_a": 5.0, "error_a": None}
