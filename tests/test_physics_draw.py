"""Batched drawing against GalSim, and what it must not depend on."""

import dataclasses
import sys
from pathlib import Path

import galsim
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import skyloom.physics.draw_groups as draw_groups
from skyloom.errors import BadInputError, RenderError
from skyloom.physics.draw import draw
from skyloom.physics.plan import residual_reach

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from galaxies import PSFS, Galaxies, galsim_image, random_galaxies

GAUSSIAN = galsim.Gaussian(fwhm=0.3)


def make(n, size, q=1.0, beta=0.0, offset=(0.0, 0.0), flux=1.0, count=1):
    from skyloom.frames import profile_jacobian

    ones = np.ones(count)
    return Galaxies(
        sersic_n=n * ones, half_light_radius=size * ones, q=q * ones, beta=beta * ones,
        jacobian=profile_jacobian(size * ones, q * ones, beta * ones),
        offset=np.outer(ones, offset), amplitude=flux * ones,
    )  # fmt: skip


def differences(galaxies, psf_name, stamp_size=64):
    psf, pixel_scale = PSFS[psf_name]
    ours = draw(galaxies, psf, pixel_scale=pixel_scale, stamp_size=stamp_size)
    for i, image in enumerate(ours):
        reference = galsim_image(galaxies, i, psf, pixel_scale, stamp_size, cap=600)
        yield np.abs(image - reference).max() / reference.max(), image.sum(dtype=float) / reference.sum() - 1


@pytest.mark.parametrize("psf_name", PSFS)
@pytest.mark.parametrize(
    ("n", "size", "q"), [(0.5, 0.05, 0.2), (1.0, 0.3, 0.5), (2.5, 1.0, 1.0), (4.0, 0.4, 0.2), (6.0, 0.1, 0.6)]
)
def test_without_residual_it_is_the_sersic(psf_name, n, size, q):
    galaxy = make(n, size, q, beta=0.7, flux=3.0)
    [(difference, flux)] = differences(galaxy, psf_name)
    assert difference < 1e-4
    assert abs(flux) < 2e-3


@pytest.mark.parametrize(("n", "q"), [(0.5, 0.2), (1.0, 1.0), (6.0, 0.3)])
def test_galaxy_larger_than_the_stamp_is_the_sersic(n, q):
    [(difference, flux)] = differences(make(n, 3.0, q, beta=1.42), "euclid")
    assert difference < 1e-4
    assert abs(flux) < 2e-3


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("psf_name", PSFS)
def test_residuals_are_galsims_interpolated_images(psf_name, general):
    rng = np.random.default_rng(7)
    galaxies = random_galaxies(3, rng, pixel_scale=PSFS[psf_name][1], general=general, size_range=(0.1, 0.7))
    assert max(d for d, _ in differences(galaxies, psf_name)) < 1e-4


@pytest.mark.parametrize("stamp_size", [1, 31, 32])
def test_centre_is_the_true_centre_for_even_and_odd_stamps(stamp_size):
    galaxy = make(1.0, 0.4, 0.5, 0.3, offset=(0.03, -0.05))
    ours = draw(galaxy, GAUSSIAN, pixel_scale=0.2, stamp_size=stamp_size)[0]
    profile = galsim.Sersic(1.0, half_light_radius=0.4).shear(q=0.5, beta=0.3 * galsim.radians).shift(0.03, -0.05)
    image = galsim.Convolve(profile, GAUSSIAN).drawImage(nx=stamp_size, ny=stamp_size, scale=0.2, dtype=float)
    assert np.abs(ours - image.array).max() < 1e-3 * image.array.max()


def test_wcs_jacobian_is_galsims():
    wcs = galsim.JacobianWCS(0.18, 0.05, -0.03, 0.22)
    galaxies = dataclasses.replace(random_galaxies(2, np.random.default_rng(3), size_range=(0.3, 0.5)))
    psf = galsim.Gaussian(fwhm=0.6).shear(g1=0.2, g2=-0.1)
    ours = draw(galaxies, psf, wcs_jacobian=wcs.getMatrix(), stamp_size=32)
    from galaxies import galsim_profile

    tight = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-5)
    for i, image in enumerate(ours):
        whole = galsim.Convolve(galsim_profile(galaxies, i, tight), psf, gsparams=tight)
        reference = whole.drawImage(nx=32, ny=32, wcs=wcs, dtype=float).array
        assert np.abs(image - reference).max() < 1e-4 * reference.max()


def test_psf_without_symmetry_is_not_mirrored():
    psf = galsim.Gaussian(fwhm=0.3) + 0.4 * galsim.Gaussian(fwhm=0.25).shift(0.3, 0.15)
    ours = draw(make(1.0, 0.3), psf, pixel_scale=0.1, stamp_size=33)[0]
    whole = galsim.Convolve(galsim.Exponential(half_light_radius=0.3), psf)
    reference = whole.drawImage(nx=33, ny=33, scale=0.1, dtype=float).array
    assert np.abs(ours - reference).max() < 1e-3 * reference.max()


def test_one_psf_a_galaxy():
    galaxies = random_galaxies(5, np.random.default_rng(5), size_range=(0.2, 0.4))
    psfs = [galsim.Gaussian(fwhm=f) for f in (0.2, 0.5, 0.2, 0.7, 0.35)]
    ours = draw(galaxies, psfs, pixel_scale=0.1, stamp_size=32)
    for i, psf in enumerate(psfs):
        alone = draw(rows(galaxies, [i]), psf, pixel_scale=0.1, stamp_size=32)[0]
        np.testing.assert_allclose(ours[i], alone, atol=1e-6 * alone.max())


def rows(galaxies, index):
    values = {f.name: getattr(galaxies, f.name) for f in dataclasses.fields(galaxies)}
    return Galaxies(**{k: v if k == "grid_scale" else v[index] for k, v in values.items()})


def test_a_galaxy_does_not_depend_on_its_neighbours():
    psf, pixel_scale = PSFS["euclid"]
    galaxies = random_galaxies(21, np.random.default_rng(11), size_range=(0.1, 0.4))
    together = draw(galaxies, psf, pixel_scale=pixel_scale, stamp_size=32)
    order = np.random.default_rng(0).permutation(21)
    for part in np.split(order, [1, 6, 15]):
        again = draw(rows(galaxies, part), psf, pixel_scale=pixel_scale, stamp_size=32)
        peaks = together[part].max(axis=(1, 2), keepdims=True)
        assert np.abs((again - together[part]) / peaks).max() < 1e-6


def test_double_precision_agrees_with_single():
    psf, pixel_scale = PSFS["hst"]
    galaxies = random_galaxies(3, np.random.default_rng(2), general=True)
    single = draw(galaxies, psf, pixel_scale=pixel_scale, stamp_size=48)
    double = draw(galaxies, psf, pixel_scale=pixel_scale, stamp_size=48, dtype=torch.float64)
    assert np.abs(single - double).max() < 1e-5 * double.max()


@settings(max_examples=30)
@given(
    n=st.floats(0.3, 6.2), ln_size=st.floats(-4, 0.5), q=st.floats(0.1, 1), beta=st.floats(-4, 4),
    stamp_size=st.integers(1, 48),
)  # fmt: skip
def test_any_galaxy_has_a_finite_image_with_no_more_than_its_flux(n, ln_size, q, beta, stamp_size):
    image = draw(make(n, float(np.exp(ln_size)), q, beta, flux=10.0), GAUSSIAN, pixel_scale=0.2, stamp_size=stamp_size)
    assert np.isfinite(image).all()
    assert image.min() > -1e-3
    assert 0 < image.sum() < 10.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixel_scale": 0.0}, "positive and finite"),
        ({"pixel_scale": float("nan")}, "positive and finite"),
        ({"pixel_scale": "wide"}, "number of arcsec"),
        ({"pixel_scale": None}, "either pixel_scale"),
        ({"wcs_jacobian": np.eye(2)}, "either pixel_scale"),
        ({"pixel_scale": None, "wcs_jacobian": np.ones((2, 2))}, "invertible 2 x 2"),
        ({"stamp_size": 0}, "1 to 8192"),
        ({"stamp_size": 10**9}, "1 to 8192"),
        ({"stamp_size": 32.0}, "whole number"),
        ({"psf": None}, "galsim.GSObject"),
        ({"psf": [GAUSSIAN] * 3}, "3 PSFs for 2 galaxies"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    arguments = {"psf": GAUSSIAN, "pixel_scale": 0.2, "stamp_size": 16, **options}
    with pytest.raises(BadInputError, match=message):
        draw(make(1.0, 0.3, count=2), **arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("amplitude", np.nan, "galaxy 1 of the batch: amplitude is not finite"),
        ("jacobian", np.inf, "galaxy 1 of the batch: jacobian is not finite"),
        ("jacobian", 0.0, "galaxy 1 of the batch: jacobian is singular"),
        ("sersic_n", 7.0, "galaxy 1 of the batch: sersic_n 7 is outside"),
    ],
)
def test_bad_numbers_are_refused_by_galaxy(name, value, message):
    galaxies = make(1.0, 0.3, count=2)
    getattr(galaxies, name)[1] = value
    with pytest.raises(BadInputError, match=message):
        draw(galaxies, GAUSSIAN, pixel_scale=0.2, stamp_size=16)


def test_absurd_sizes_are_refused_before_anything_is_allocated(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("allocated")

    monkeypatch.setattr(draw_groups, "draw_levels", never)
    with pytest.raises(RenderError, match="galaxy 0 .* is too large to draw"):
        draw(make(1.0, 5000.0), GAUSSIAN, pixel_scale=0.2, stamp_size=16)
    with pytest.raises(RenderError, match="too large to draw"):
        draw(make(1.0, 0.3), GAUSSIAN, pixel_scale=1e4, stamp_size=64)
    with pytest.raises(RenderError, match="too large to draw"):
        draw(make(1.0, 0.3), galsim.DeltaFunction(), pixel_scale=0.2, stamp_size=64)
    with pytest.raises(BadInputError, match="draw fewer at once"):
        draw(make(1.0, 0.3, count=1000), GAUSSIAN, pixel_scale=0.2, stamp_size=8000)


def test_tiny_pixels_are_no_burden():
    image = draw(make(1.0, 0.3), GAUSSIAN, pixel_scale=1e-4, stamp_size=16)
    assert image.max() / image.min() < 1.01


def test_a_read_only_residual_is_drawn_without_a_warning():
    residual = np.zeros((2, 96, 96), np.float32)
    residual[:, 40:56, 40:56] = 0.05
    residual.flags.writeable = False
    reach = residual_reach(residual, 9 / 96, np.tile(0.3 * np.eye(2), (2, 1, 1)), [np.full(2, 1e-3)])
    assert reach[0].shape == (2,)
