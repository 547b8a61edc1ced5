"""Noise, PSFs, frames and segments: the steps from a field to a stamp."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from skyloom.cutouts.bands import wavelength_of
from skyloom.cutouts.detect import segment
from skyloom.cutouts.framing import frame, window
from skyloom.cutouts.noise import MIN_PIXELS, correlation_area, measure_sky
from skyloom.cutouts.psfs import binned_psf, centred_psf, fit_psf_size
from skyloom.cutouts.shape import semi_major_of
from skyloom.cutouts.sky_groups import sky_groups
from skyloom.errors import CutoutError


def correlated(shape, rms, width, rng):
    noise = rng.normal(size=shape)
    if width:
        noise = ndimage.gaussian_filter(noise, width, mode="wrap")
    return rms * noise / noise.std()


def gaussian(shape, x, y, sigma, flux=1.0, q=1.0):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    r2 = (xx - x) ** 2 + ((yy - y) / q) ** 2
    return flux * np.exp(-r2 / (2 * sigma**2)) / (2 * np.pi * sigma**2 * q)


@pytest.mark.parametrize("width", [0, 0.6])
def test_sky_is_measured(width):
    rng = np.random.default_rng(0)
    image = 0.3 + correlated((200, 200), 0.02, width, rng)
    rho = np.mean((image[:, 1:] - 0.3) * (image[:, :-1] - 0.3)) / 0.02**2
    free = rng.uniform(size=image.shape) > 0.2
    image[rng.uniform(size=image.shape) > 0.995] += 1.0  # cosmic rays
    sky = measure_sky(image, free)
    assert sky.level == pytest.approx(0.3, abs=5e-4)
    assert sky.rms == pytest.approx(0.02, rel=0.03)
    assert sky.correlation == pytest.approx(max(rho, 0), abs=0.03)


def test_too_little_sky_is_none():
    image = np.random.default_rng(0).normal(size=(20, 20))
    few = np.zeros_like(image, bool)
    few.flat[: MIN_PIXELS - 1] = True
    assert measure_sky(image, few) is None
    assert measure_sky(np.zeros((20, 20)), np.ones((20, 20), bool)) is None


@settings(max_examples=30)
@given(rms=st.floats(1e-6, 1e6), level=st.floats(-1e3, 1e3), seed=st.integers(0, 100))
def test_sky_scales(rms, level, seed):
    noise = np.random.default_rng(seed).normal(size=(40, 40))
    sky = measure_sky((noise + level) * rms, np.ones(noise.shape, bool))
    assert sky.rms == pytest.approx(rms, rel=0.1)
    assert sky.level == pytest.approx(level * rms, abs=0.15 * rms)


def test_correlation_area_is_what_sums_show():
    rng = np.random.default_rng(1)
    white = rng.normal(size=(400, 400))
    kernel = np.array([0.25, 0.5, 0.25])
    noise = ndimage.correlate1d(ndimage.correlate1d(white, kernel, 0, mode="wrap"), kernel, 1, mode="wrap")
    sums = noise.reshape(20, 20, 20, 20).sum((1, 3))
    rho = 2 / 3  # of this kernel, with 1/6 two steps away
    assert sums.var() / (400 * noise.var()) == pytest.approx(correlation_area(rho), rel=0.35)


def psf_image(size=41, dx=0.0, dy=0.0, scale=0.05, fwhm=0.13):
    moffat = galsim.Moffat(beta=3, fwhm=fwhm).shift(dx * scale, dy * scale)
    return galsim.Convolve(moffat, galsim.Pixel(scale)).drawImage(
        nx=size, ny=size, scale=scale, method="no_pixel", dtype=float
    ).array  # fmt: skip


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (2, -3), (0.3, 0.4), (-1.6, 0.2)])
def test_psf_is_centred(dx, dy):
    psf = centred_psf(7 * psf_image(dx=dx, dy=dy), 0.05, 0.05, 31)
    want = fit_psf_size(psf_image(), 31)
    assert psf.shape == (31, 31)
    assert psf.dtype == np.float32
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(psf, want / want.sum(), atol=0.01 * want.max())


def test_psf_of_even_and_oblong_shape():
    psf = centred_psf(psf_image(41, dx=0.5, dy=0.5)[:40, 4:36], 0.05, 0.05, 25)
    assert np.unravel_index(psf.argmax(), psf.shape) == (12, 12)


def test_psf_is_resampled():
    got = centred_psf(psf_image(81, scale=0.02), 0.02, 0.03, 41)
    pixel = galsim.Pixel(0.02)  # of the pixels that it was drawn with
    want = galsim.Convolve(galsim.Moffat(beta=3, fwhm=0.13), pixel).drawImage(
        nx=41, ny=41, scale=0.03, method="no_pixel", dtype=float
    )
    np.testing.assert_allclose(got, want.array / want.array.sum(), atol=0.003 * got.max())


@pytest.mark.parametrize("bad", [np.zeros((5, 5)), np.full((5, 5), np.nan), np.ones(5)])
def test_psf_that_cannot_be_used(bad):
    with pytest.raises(CutoutError, match="that PSF"):
        centred_psf(bad, 0.05, 0.05, 31, where="that PSF")


@pytest.mark.parametrize("factor", [2, 4])
def test_binned_psf_is_that_of_the_binned_image(factor):
    scale, size = 0.05, 32
    profile = galsim.Convolve(galsim.Moffat(beta=3, fwhm=0.2), galsim.Pixel(scale))
    galaxy = galsim.Convolve(galsim.Exponential(half_light_radius=0.4), profile)
    side = size * factor
    image = galaxy.drawImage(nx=side, ny=side, scale=scale, method="no_pixel", dtype=float).array
    binned = image.reshape(size, factor, size, factor).sum((1, 3))
    psf = binned_psf(psf_image(81, scale=scale, fwhm=0.2), scale, factor)
    pixels = galsim.Image(psf.astype(float), scale=scale * factor)
    as_image = galsim.InterpolatedImage(pixels, x_interpolant="lanczos5")
    through = galsim.Convolve(galsim.Exponential(half_light_radius=0.4), as_image).drawImage(
        nx=size, ny=size, scale=scale * factor, method="no_pixel", dtype=float
    )
    assert np.abs(through.array - binned).max() < 0.02 * binned.max()


@given(x=st.floats(-5, 40), y=st.floats(-5, 40), size=st.sampled_from([8, 16, 24]))
def test_window_centres_within_half_a_pixel(x, y, size):
    yy, xx = np.mgrid[:30, :35].astype(float)
    cut_x, inside = window(xx, x, y, size, np.nan), window(np.ones((30, 35), bool), x, y, size, False)
    cut_y = window(yy, x, y, size, np.nan)
    assert cut_x.shape == (size, size)
    np.testing.assert_array_equal(np.isfinite(cut_x), inside)
    if inside.any():
        j, i = np.argwhere(inside)[0]
        middle = (size - 1) / 2
        assert abs(cut_x[j, i] + middle - i - x) <= 0.5 + 1e-9
        assert abs(cut_y[j, i] + middle - j - y) <= 0.5 + 1e-9


def framed(semi_major, width=0.7, size=32, **changes):
    rng = np.random.default_rng(3)
    shape = (160, 150)
    noise = correlated(shape, 0.02, width, rng)
    rho = float(np.mean(noise[:, 1:] * noise[:, :-1]) / 0.02**2)
    image = noise + gaussian(shape, 70.3, 80.8, 3.0, flux=40.0)
    given = {
        "variance": np.full(shape, 0.02**2), "usable": np.ones(shape, bool),
        "free": np.hypot(*(np.mgrid[:160, :150] - np.array([80.8, 70.3])[:, None, None])) > 15,
        "x": 70.3, "y": 80.8, **changes,
    }  # fmt: skip
    psf = (psf_image(41) / psf_image(41).sum()).astype(np.float32)
    return frame(
        image, given["variance"], given["usable"], given["free"], psf, x=given["x"], y=given["y"],
        semi_major=semi_major, pixel_scale=0.05, noise_correlation=rho, size=size,
    )  # fmt: skip


def test_a_small_galaxy_keeps_its_pixels():
    stamp = framed(3.0)
    assert stamp.image.shape == (32, 32)
    assert stamp.pixel_scale == 0.05
    assert stamp.mask.all()
    np.testing.assert_allclose(stamp.variance, 0.02**2, rtol=1e-6)
    yy, xx = np.mgrid[:32, :32] - 15.5
    assert abs((stamp.image * xx).sum() / stamp.image.sum()) < 0.8
    assert abs((stamp.image * yy).sum() / stamp.image.sum()) < 0.8


@pytest.mark.parametrize(("semi_major", "factor"), [(3.5, 1), (3.7, 2), (8.0, 4), (40.0, 4)])
def test_a_large_galaxy_is_binned(semi_major, factor):
    stamp = framed(semi_major)
    assert stamp.pixel_scale == pytest.approx(0.05 * factor)
    near = np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 13 / factor + 1
    assert stamp.image[near].sum() == pytest.approx(40.0, rel=0.05)  # the zero point stays


@pytest.mark.parametrize("factor", [2, 4])
def test_binned_variance_is_that_of_the_binned_pixels(factor):
    stamp = framed(3.0 * factor, size=32)
    yy, xx = np.mgrid[:32, :32] - 15.5
    sky = (np.hypot(xx, yy) > 16 / factor + 2) & stamp.mask
    assert stamp.pixel_scale == pytest.approx(0.05 * factor)
    assert stamp.image[sky].std() == pytest.approx(np.sqrt(stamp.variance[sky].mean()), rel=0.08)
    assert 0 <= stamp.noise_correlation < 0.5


def test_binned_variance_without_sky_comes_from_the_correlation():
    with_sky, without = framed(6.0), framed(6.0, free=np.zeros((160, 150), bool))
    ratio = np.median(without.variance) / np.median(with_sky.variance)
    assert ratio == pytest.approx(1, abs=0.25)


def test_beyond_the_image_is_masked():
    stamp = framed(3.0, x=5.0)
    assert not stamp.mask[:, :10].any()
    assert stamp.mask[:, 12:].all()
    assert (stamp.image[~stamp.mask] == 0).all()
    assert (stamp.variance > 0).all()


def scene(seed=4):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.02, (120, 120))
    image += gaussian(image.shape, 60, 59, 5.0, 80.0, q=0.6)
    image += gaussian(image.shape, 25, 85, 3.0, 50.0)
    return image


def test_segments():
    image = scene()
    found = segment(image, 0.02, np.ones(image.shape, bool), (60, 60))
    assert found.x == pytest.approx(60, abs=0.3)
    assert found.y == pytest.approx(59, abs=0.3)
    assert found.neighbours[85, 25]
    assert not found.neighbours[59, 60]
    assert not found.free[59, 60]
    assert not found.free[85, 25]
    assert found.free.sum() > 5000
    assert image[found.free].mean() == pytest.approx(0, abs=1e-3)
    assert found.far(3.0).sum() > found.free.sum()


def test_a_clump_is_the_galaxys_own():
    image = scene() + gaussian((120, 120), 66, 59, 0.9, 3.0)
    found = segment(image, 0.02, np.ones(image.shape, bool), (60, 60))
    assert not found.neighbours[55:64, 55:72].any()


def test_nothing_there():
    noise = np.random.default_rng(1).normal(0, 0.02, (60, 60))
    assert segment(noise, 0.02, np.ones(noise.shape, bool), (30, 30)) is None
    away = noise + gaussian(noise.shape, 8, 8, 2.0, 30.0)
    assert segment(away, 0.02, np.ones(noise.shape, bool), (30, 30)) is None


@pytest.mark.parametrize("q", [1.0, 0.5])
def test_first_size_is_the_half_light_semi_axis(q):
    image = np.random.default_rng(2).normal(0, 1e-3, (120, 120))
    image += gaussian(image.shape, 60, 60, 6.0, 50.0, q=q)
    found = segment(image, 1e-3, np.ones(image.shape, bool), (60, 60))
    assert semi_major_of(image, np.ones(image.shape, bool), found) == pytest.approx(6 * 1.1774, rel=0.08)


def test_sky_groups():
    ra = np.array([10.0, 10.0 + 3 / 3600, 10.0 + 6 / 3600, 50.0, 359.9999, 0.0001])
    groups = sky_groups(ra, np.zeros(6), 4.0)
    assert groups.tolist() == [0, 0, 0, 3, 4, 4]


def test_bands():
    assert wavelength_of("f814w") == pytest.approx(804.6)
    with pytest.raises(CutoutError, match="'zz'; known are F435W"):
        wavelength_of("zz")
