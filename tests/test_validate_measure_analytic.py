"""Each measurement on profiles whose value is known, and against the libraries called directly."""

from __future__ import annotations

from dataclasses import replace

import galsim
import numpy as np
import pytest
import statmorph
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv

from skyloom.validate.measure_flags import MeasureFlag
from skyloom.validate.measure_frame import prepare
from skyloom.validate.measure_moments import measure_moments
from skyloom.validate.measure_morphology import measure_morphology
from skyloom.validate.measure_noise import gaussian_kernel, noise_spectrum, smooth, smoothed_variance
from skyloom.validate.measure_pixels import measure_pixels
from skyloom.validate.measure_profile import PROFILE_NODES, measure_growth, measure_profile
from skyloom.validate.measure_residual import SPECTRUM_EDGES, measure_residual
from skyloom.validate.measure_segment import segment

from .validate_samples import SCALE, make_cutout

EXPONENTIAL_B = 1.6783469900166605  # half-light radius over scale length


def sharp(cutout):
    """The cutout with a PSF that does nothing: measurements then see the profile itself."""
    psf = np.zeros((3, 3), np.float32)
    psf[1, 1] = 1.0
    return replace(cutout, psf=psf)


def drawn(profile, **kwargs):
    """A profile without PSF or noise, and a fit of the half-light radius given."""
    cutout = make_cutout(profile=profile, psf_fwhm=1e-3 * SCALE, **kwargs)
    image = profile.shift(0.01, -0.015).drawImage(nx=96, ny=96, scale=SCALE, method="no_pixel", dtype=float)
    return sharp(replace(cutout, image=image.array.astype(np.float32)))


NODES, WEIGHTS = leggauss(200)


def radial(f, top):
    """Integral of f from 0 to top."""
    return float(np.sum(f((NODES + 1) / 2 * top) * WEIGHTS) * top / 2)


# --- adaptive moments ---------------------------------------------------------------------------------------


@given(sigma=st.floats(0.18, 0.6), g1=st.floats(-0.35, 0.35), g2=st.floats(-0.35, 0.35))
@settings(max_examples=20)
def test_moments_of_a_gaussian_are_its_own(sigma, g1, g2):
    profile = galsim.Gaussian(sigma=sigma, flux=500.0).shear(g1=g1, g2=g2)
    values, flag = measure_moments(prepare(drawn(profile)))
    shear = galsim.Shear(g1=g1, g2=g2)
    assert flag == 0
    assert values["moments_sigma"] == pytest.approx(sigma, rel=3e-3)
    assert values["moments_e1"] == pytest.approx(shear.e1, abs=3e-3)
    assert values["moments_e2"] == pytest.approx(shear.e2, abs=3e-3)
    assert values["moments_g1"] == pytest.approx(g1, abs=3e-3)
    assert values["moments_ellipticity"] == pytest.approx(shear.e, abs=3e-3)
    assert values["moments_rho4"] == pytest.approx(2.0, abs=0.01)


def test_moments_of_an_exponential_solve_their_equation():
    scale_length = 0.4

    def weighted(power, sigma):
        return radial(lambda r: r**power * np.exp(-r / scale_length - r**2 / (2 * sigma**2)), 8 * scale_length)

    sigma = brentq(lambda s: weighted(3, s) / weighted(1, s) - s**2, 0.05, 2.0)
    rho4 = weighted(5, sigma) / weighted(1, sigma) / sigma**4
    profile = galsim.Exponential(scale_radius=scale_length, flux=500.0)
    values, _ = measure_moments(prepare(drawn(profile, half_light_radius=EXPONENTIAL_B * scale_length)))
    assert values["moments_sigma"] == pytest.approx(sigma, rel=0.01)
    assert values["moments_rho4"] == pytest.approx(rho4, rel=0.01)
    assert rho4 > 2.05  # the test tells an exponential from a Gaussian


def test_moments_agree_with_galsim_called_directly():
    cutout = make_cutout(sigma=0.3, n=2.0)
    values, _ = measure_moments(prepare(cutout))
    found = galsim.hsm.FindAdaptiveMom(galsim.Image(np.asarray(cutout.image, dtype=float)))
    assert values["moments_sigma"] == pytest.approx(found.moments_sigma * SCALE, rel=1e-4)
    assert values["moments_e1"] == pytest.approx(found.observed_shape.e1, abs=1e-4)
    assert values["moments_rho4"] == pytest.approx(found.moments_rho4, rel=1e-4)


# --- morphology ---------------------------------------------------------------------------------------------


class Radial:
    """Petrosian radius, concentration, Gini and M20 of a circular Sersic, from its enclosed flux."""

    def __init__(self, n):
        self.n, self.b = n, gammaincinv(2 * n, 0.5)
        self.petrosian = brentq(lambda r: self.brightness(r) * np.pi * r**2 / self.enclosed(r) - 0.2, 0.2, 20.0)

    def brightness(self, r):
        flux = 2 * np.pi * self.n * self.b ** (-2 * self.n) * radial(lambda x: x ** (2 * self.n - 1) * np.exp(-x), 60.0)
        return np.exp(-self.b * r ** (1 / self.n)) / flux

    def enclosed(self, r):
        return gammainc(2 * self.n, self.b * r ** (1 / self.n))

    def radius(self, fraction, top):
        return brentq(lambda r: self.enclosed(r) - fraction * self.enclosed(top), 1e-6, top)

    @property
    def concentration(self):
        top = 1.5 * self.petrosian
        return 5 * np.log10(self.radius(0.8, top) / self.radius(0.2, top))

    @property
    def gini(self):
        r = np.sqrt((np.arange(20000) + 0.5) / 20000) * self.petrosian  # equal areas
        x = np.sort(self.brightness(r))
        i = np.arange(1, len(x) + 1)
        return np.sum((2 * i - len(x) - 1) * x) / ((len(x) - 1) * x.sum())

    @property
    def m20(self):
        def moment(top):
            return radial(lambda r: r**3 * self.brightness(r), top)

        return np.log10(moment(self.radius(0.2, self.petrosian)) / moment(self.petrosian))


@pytest.mark.parametrize("n", [0.5, 1.0])
def test_morphology_of_a_circular_sersic_is_analytic(n):
    truth = Radial(n)
    size = 0.5
    profile = galsim.Sersic(n, half_light_radius=size, flux=3000.0)
    cutout = drawn(profile, n=n, half_light_radius=size)
    # a little noise: statmorph compares the level of the sky with its scatter
    noise = np.random.default_rng(1).normal(0, 0.02, (96, 96)).astype(np.float32)
    cutout = replace(cutout, image=cutout.image + noise, variance=np.full((96, 96), 4e-4, np.float32))
    values, flag = measure_morphology(prepare(cutout))
    assert not flag.lost
    assert values["petrosian_radius"] == pytest.approx(truth.petrosian * size, rel=0.02)
    assert values["concentration"] == pytest.approx(truth.concentration, abs=0.05)
    assert values["gini"] == pytest.approx(truth.gini, abs=0.02)
    assert values["m20"] == pytest.approx(truth.m20, abs=0.05)
    assert values["asymmetry"] == pytest.approx(0.0, abs=0.01)
    assert values["multimode"] == pytest.approx(0.0, abs=0.02)
    assert values["deviation"] == pytest.approx(0.0, abs=0.05)


def test_asymmetry_of_a_clump_is_twice_its_share_of_the_light():
    share = 0.1
    disc = galsim.Gaussian(sigma=0.3, flux=3000.0)
    clump = galsim.Gaussian(sigma=0.1, flux=3000.0 * share).shift(0.85, 0.0)
    cutout = drawn(disc + clump)
    cutout = replace(cutout, variance=np.full((96, 96), 1e-4, np.float32))
    values, _ = measure_morphology(prepare(cutout))
    assert values["asymmetry"] == pytest.approx(2 * share / (1 + share), rel=0.1)


def test_morphology_agrees_with_statmorph_called_directly():
    cutout = make_cutout(sigma=0.4, n=1.5, flux=4000.0)
    frame = prepare(cutout)
    values, flag = measure_morphology(frame)
    galaxy = segment(frame)
    direct = statmorph.SourceMorphology(
        np.asarray(cutout.image, dtype=float), galaxy, 1, weightmap=np.sqrt(frame.variance)
    )
    assert direct.flag <= 1
    assert not flag.lost
    for name in ("concentration", "asymmetry", "smoothness", "gini", "m20", "multimode", "intensity", "deviation"):
        assert values[name] == pytest.approx(direct[name], abs=1e-9), name
    assert values["sn_per_pixel"] == pytest.approx(direct.sn_per_pixel)


def test_nothing_at_the_centre_is_no_morphology():
    frame = prepare(make_cutout(flux=1e-3, sigma=0.3))
    assert measure_morphology(frame) == ({}, MeasureFlag.FEW_PIXELS)


# --- profile and growth curve -------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [1.0, 0.4])
@pytest.mark.parametrize("beta", [0.4, np.pi / 2, -1.2])
def test_profile_of_an_exponential_is_analytic(q, beta):
    size = 0.6
    profile = galsim.Exponential(half_light_radius=size, flux=900.0).shear(q=q, beta=beta * galsim.radians)
    values, flag = measure_profile(prepare(drawn(profile, half_light_radius=size, q=q, beta=beta, flux=900.0)))
    truth = EXPONENTIAL_B**2 / (2 * np.pi) * np.exp(-EXPONENTIAL_B * np.array(PROFILE_NODES))
    found = np.array(list(values.values()))
    seen = np.isfinite(found)
    assert seen[3:10].all()
    # an annulus is the mean over its width, 1.4 in radius: some per cent from the value at its node
    assert found[3:10] == pytest.approx(truth[3:10], rel=0.08)
    assert (flag == 0) == seen.all()


@pytest.mark.parametrize("q", [1.0, 0.5])
def test_growth_curve_of_an_exponential_is_analytic(q):
    size, edge = 0.4, 4.5
    within = gammainc(2, EXPONENTIAL_B * edge)
    half = brentq(lambda r: gammainc(2, EXPONENTIAL_B * r) - within / 2, 0.1, 2.0)
    profile = galsim.Exponential(half_light_radius=size, flux=900.0).shear(q=q, beta=0.3 * galsim.radians)
    cutout = drawn(profile, half_light_radius=size, q=q, beta=0.3, flux=900.0)
    values, flag = measure_growth(prepare(cutout))
    assert flag == 0
    assert values["growth_flux"] == pytest.approx(900 * within, rel=2e-3)
    assert values["growth_half_light_radius"] == pytest.approx(half * size, rel=0.01)
    assert values["growth_mag"] == pytest.approx(25 - 2.5 * np.log10(900 * within), abs=2e-3)


def test_growth_curve_fills_masked_pixels_with_the_model():
    cutout = make_cutout()
    hole = cutout.mask.copy()
    hole[52:58, 52:58] = False
    whole, _ = measure_growth(prepare(cutout))
    filled, _ = measure_growth(prepare(replace(cutout, mask=hole)))
    assert filled["growth_flux"] == pytest.approx(whole["growth_flux"], rel=2e-3)


def test_pixels_of_a_flat_disc_are_all_alike():
    profile = galsim.TopHat(radius=2.0, flux=1000.0)
    values, _ = measure_pixels(prepare(drawn(profile, half_light_radius=0.5, q=1.0)))
    assert values["pixels_p05"] == pytest.approx(1.0, abs=1e-3)
    assert values["pixels_p99"] == pytest.approx(1.0, abs=1e-3)


# --- residual -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, -0.3])
def test_residual_of_a_galaxy_brighter_than_its_fit_is_the_difference(share):
    values, flag = measure_residual(prepare(make_cutout(structure=lambda r, phi: share + 0 * r)))
    assert flag == 0
    assert values["residual_rms"] == pytest.approx(0.3, rel=0.01)
    assert values["residual_rms_smoothed"] == pytest.approx(0.3, rel=0.01)
    assert abs(values["residual_asymmetry"]) < 0.02


def test_residual_that_changes_sign_is_all_asymmetry():
    odd = measure_residual(prepare(make_cutout(structure=lambda r, phi: 0.3 * np.cos(phi) * (r > 0.3))))[0]
    even = measure_residual(prepare(make_cutout(structure=lambda r, phi: 0.3 * np.cos(2 * phi) * (r > 0.3))))[0]
    assert odd["residual_asymmetry"] == pytest.approx(odd["residual_rms_smoothed"], rel=0.03)
    assert abs(even["residual_asymmetry"]) < 0.15 * even["residual_rms_smoothed"]


def test_spectrum_adds_up_to_the_power():
    # 0.5 arcsec are 8.3 pixels, Nyquist 4.2 cycles per half-light radius: only the outline's edge is beyond 2.8
    values, _ = measure_residual(prepare(make_cutout(structure=lambda r, phi: 0.3 * np.cos(phi) * np.exp(-r))))
    roots = [values[f"residual_spectrum_{i}"] for i in range(len(SPECTRUM_EDGES) - 1)]
    assert sum(r * abs(r) for r in roots) == pytest.approx(values["residual_rms"] ** 2, rel=0.03)


@pytest.mark.parametrize("rho", [0.0, 0.45])
def test_noise_alone_leaves_no_residual(rho):
    """Mean over galaxies within its own error, with and without correlation."""
    powers = []
    for i in range(60):
        clean = make_cutout(flux=3000.0)
        noise = np.random.default_rng(i).normal(0, 1, (97, 97))
        if rho > 0:  # a moving average (1, a) along each axis has lag-1 correlation a / (1 + a^2)
            a = (1 - np.sqrt(1 - 4 * rho**2)) / (2 * rho)
            noise = (noise[1:] + a * noise[:-1]) / np.sqrt(1 + a * a)
            noise = (noise[:, 1:] + a * noise[:, :-1]) / np.sqrt(1 + a * a)
        image = clean.image + 0.5 * noise[:96, :96].astype(np.float32)
        cutout = replace(clean, image=image, variance=np.full((96, 96), 0.25, np.float32), noise_correlation=rho)
        values, _ = measure_residual(prepare(cutout))
        powers.append([v * abs(v) for v in values.values()])
    powers = np.array(powers)[:, :8]
    error = powers.std(axis=0) / np.sqrt(len(powers))
    assert np.all(np.abs(powers.mean(axis=0)) < 4 * error + 1e-6)


def test_smoothed_variance_is_that_of_smoothed_noise():
    noise = np.random.default_rng(3).normal(0, 1, (400, 400))
    kernel = gaussian_kernel(4.0)
    inner = (slice(20, -20), slice(20, -20))
    predicted = smoothed_variance(np.ones_like(noise), 0.0, kernel)[inner].mean()
    assert smooth(noise, kernel)[inner].var() == pytest.approx(predicted, rel=0.1)
    assert smoothed_variance(np.ones_like(noise), 0.4, kernel)[inner].mean() > 2.5 * predicted


@given(rho=st.floats(0.0, 0.5), rows=st.integers(3, 40), columns=st.integers(3, 40))
def test_noise_spectrum_sums_to_the_variance(rho, rows, columns):
    sigma = np.random.default_rng(rows).uniform(0, 2, (rows, columns))
    spectrum = noise_spectrum(sigma, rho)
    assert spectrum.mean() == pytest.approx((sigma**2).sum(), rel=1e-9)
