"""PSF-convolved Sersic fits against galaxies of known truth, drawn by GalSim."""

from __future__ import annotations

import dataclasses

import galsim
import numpy as np
import pytest

from skyloom.cutouts.fit_instrument import is_undersampled, make_instrument
from skyloom.cutouts.measure import fit_sersic
from skyloom.cutouts.sersic_model import model_images
from skyloom.stamps import Cutout, FitFlag

torch = pytest.importorskip("torch")

SCALE, SIZE = 0.06, 96
GS = galsim.GSParams(maximum_fft_size=16384, folding_threshold=1e-4)


def effective_psf(fwhm=0.14, size=81):
    profile = galsim.Convolve(galsim.Moffat(beta=3, fwhm=fwhm, gsparams=GS), galsim.Pixel(SCALE))
    image = profile.drawImage(nx=size, ny=size, scale=SCALE, method="no_pixel", dtype=float).array
    return profile, (image / image.sum()).astype(np.float32)


def make_cutout(truth, sigma=0.03, rng=None, **changes):
    profile, psf = effective_psf()
    dx, dy, radius, n, q, beta, flux = truth
    galaxy = galsim.Sersic(n=n, half_light_radius=radius, flux=flux, gsparams=GS)
    galaxy = galaxy.shear(q=q, beta=beta * galsim.radians).shift(dx, dy)
    image = galsim.Convolve(galaxy, profile, gsparams=GS).drawImage(
        nx=SIZE, ny=SIZE, scale=SCALE, method="no_pixel", dtype=float
    )
    noise = 0.0 if rng is None else rng.normal(0, sigma, (SIZE, SIZE))
    cutout = Cutout(
        image=(image.array + noise).astype(np.float32),
        variance=np.full((SIZE, SIZE), sigma**2, np.float32),
        mask=np.ones((SIZE, SIZE), bool),
        psf=psf,
        pixel_scale=SCALE,
        zero_point=25.0,
        band="F814W",
        wavelength=804.6,
        galaxy_id=1,
        group="sim/1",
        source="sim",
    )
    return dataclasses.replace(cutout, **changes)


def random_truths(count, rng):
    return np.stack(
        [
            rng.uniform(-0.03, 0.03, count),
            rng.uniform(-0.03, 0.03, count),
            np.exp(rng.uniform(np.log(0.12), np.log(0.4), count)),
            rng.uniform(0.7, 4.0, count),
            rng.uniform(0.25, 0.9, count),
            rng.uniform(-np.pi / 2, np.pi / 2, count),
            np.exp(rng.uniform(np.log(50), np.log(500), count)),
        ],
        axis=1,
    )


NAMES = ("dx", "dy", "half_light_radius", "sersic_n", "q", "beta", "flux")


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(11)
    truths = random_truths(60, rng)
    fits = fit_sersic([make_cutout(t, rng=rng) for t in truths])
    return truths, fits


@pytest.mark.parametrize("name", NAMES)
def test_recovers_truth_within_its_errors(simulated, name):
    truths, fits = simulated
    error = np.array([getattr(f, name) for f in fits]) - truths[:, NAMES.index(name)]
    if name == "beta":
        error = (error + np.pi / 2) % np.pi - np.pi / 2
    pull = error / np.array([getattr(f, f"{name}_error") for f in fits])
    assert abs(pull.mean()) < 3.5 / np.sqrt(len(pull))
    assert 0.4 < pull.std() < 1.3  # below 1: the model floor adds to errors that these galaxies don't have


def test_good_fits_have_no_flag_and_chi2_of_one(simulated):
    _, fits = simulated
    assert all(f.flags & ~FitFlag.TRUNCATED == FitFlag(0) for f in fits)
    assert np.mean([f.chi2 for f in fits]) == pytest.approx(1.0, abs=0.03)


def test_without_noise_the_model_is_galsims():
    truth = (0.02, -0.013, 0.25, 2.3, 0.55, 0.7, 300.0)
    fit = fit_sersic([make_cutout(truth, sigma=1e-3)])[0]
    got = np.array([getattr(fit, name) for name in NAMES])
    np.testing.assert_allclose(got[:2], truth[:2], atol=2e-4)
    np.testing.assert_allclose(got[2:], truth[2:], rtol=5e-3)


@pytest.mark.parametrize(("fwhm", "tolerance"), [(0.09, 5e-3), (0.3, 2e-3)])
def test_model_image_is_galsims_for_any_sampling(fwhm, tolerance):
    _, psf = effective_psf(fwhm)
    undersampled = is_undersampled(psf)
    assert undersampled == (fwhm == 0.09)
    eta = -np.log(0.5)
    p = [0.3, -0.2, np.log(4.0), np.log(1.5), eta * np.cos(0.8), eta * np.sin(0.8)]
    instrument = make_instrument(psf[None], SIZE, 1 + undersampled)
    got = model_images(instrument, torch.tensor([p], dtype=torch.float32), jacobian=False)[0][0].numpy()
    galaxy = galsim.Sersic(n=1.5, half_light_radius=4.0, gsparams=GS).shear(q=0.5, beta=0.4 * galsim.radians)
    as_image = galsim.InterpolatedImage(
        galsim.Image(psf.astype(float), scale=1.0), x_interpolant="quintic", gsparams=GS
    )
    want = galsim.Convolve(galaxy.shift(0.3, -0.2), as_image, gsparams=GS).drawImage(
        nx=SIZE, ny=SIZE, scale=1.0, method="no_pixel", dtype=float
    )
    assert np.abs(got - want.array).max() < tolerance * want.array.max()


def test_jacobian_is_the_derivative():
    _, psf = effective_psf()
    instrument = make_instrument(psf[None], 48)
    p = torch.tensor([[0.3, -0.2, np.log(4.0), np.log(1.4), 0.5, -0.3]], dtype=torch.float32)
    jacobian = model_images(instrument, p, jacobian=True)[1]
    step = 1e-2
    for k in range(6):
        shift = torch.zeros_like(p)
        shift[0, k] = step
        high = model_images(instrument, p + shift, jacobian=False)[0]
        low = model_images(instrument, p - shift, jacobian=False)[0]
        numeric = (high - low)[0] / (2 * step)
        worst = (jacobian[0, k] - numeric).abs().max() / numeric.abs().max()
        assert worst < 0.02, k


def test_round_galaxy_has_q_near_one_and_no_angle():
    fit = fit_sersic([make_cutout((0, 0, 0.25, 1.0, 1.0, 0.0, 200.0), rng=np.random.default_rng(1))])[0]
    assert fit.q > 0.9
    assert fit.beta_error > 0.1


def test_order_and_batching_do_not_matter():
    rng = np.random.default_rng(5)
    cutouts = [make_cutout(t, rng=rng) for t in random_truths(5, rng)]
    together = fit_sersic(cutouts)
    for alone, same in zip(reversed(cutouts), reversed(together), strict=True):
        fit = fit_sersic([alone])[0]
        assert fit.half_light_radius == pytest.approx(same.half_light_radius, rel=2e-3)
        assert fit.flux == pytest.approx(same.flux, rel=2e-3)


def test_sky_is_fitted_and_does_not_bias_flux():
    cutout = make_cutout((0, 0, 0.2, 1.0, 0.6, 0.3, 200.0), rng=np.random.default_rng(2))
    lifted = dataclasses.replace(cutout, image=cutout.image + np.float32(0.006))
    fit, plain = fit_sersic([lifted, cutout])
    assert fit.sky == pytest.approx(plain.sky + 0.006, abs=0.0015)
    assert fit.flux == pytest.approx(plain.flux, rel=0.01)


def test_masked_neighbour_changes_nothing():
    truth = (0, 0, 0.2, 1.0, 0.6, 0.3, 200.0)
    cutout = make_cutout(truth, rng=np.random.default_rng(3))
    image, mask = cutout.image.copy(), cutout.mask.copy()
    image[60:75, 60:75] += 50.0
    mask[58:77, 58:77] = False
    fit = fit_sersic([dataclasses.replace(cutout, image=image, mask=mask)])[0]
    assert fit.flux == pytest.approx(200.0, rel=0.03)
    assert not fit.flags & FitFlag.POOR_FIT


def test_correlated_noise_widens_errors():
    cutout = make_cutout((0, 0, 0.2, 1.0, 0.6, 0.3, 200.0), rng=np.random.default_rng(4))
    white, drizzled = fit_sersic([cutout, dataclasses.replace(cutout, noise_correlation=0.5)])
    assert drizzled.flux_error == pytest.approx(2 * white.flux_error, rel=0.01)
    assert drizzled.snr == pytest.approx(white.snr / 2, rel=0.01)


def thresholded(truth, level, rng):
    cutout = make_cutout(truth, rng=rng)
    mask = cutout.image > level
    image = np.where(mask, cutout.image, np.float32(0))
    return dataclasses.replace(cutout, image=image, mask=mask, thresholded=True)


def test_thresholded_size_does_not_run_away():
    rng = np.random.default_rng(6)
    truths = random_truths(12, rng)
    truths[:, 3] = np.minimum(truths[:, 3], 1.5)
    fits = fit_sersic([thresholded(t, 0.15, rng) for t in truths])
    ratio = np.array([f.half_light_radius for f in fits]) / truths[:, 2]
    assert 0.8 < np.median(ratio) < 1.2
    assert ratio.max() < 2
    assert all(f.sky == 0 for f in fits)


FLAGGED = {
    FitFlag.LOW_SNR: {"truth": (0, 0, 0.25, 1.0, 0.6, 0.3, 2.0)},
    FitFlag.MASKED_CENTRE: {"hole": True},
    FitFlag.TRUNCATED: {"truth": (0, 0, 1.6, 1.0, 0.6, 0.3, 5000.0)},
    FitFlag.UNRESOLVED: {"truth": (0, 0, 0.003, 1.0, 1.0, 0.0, 300.0)},
    FitFlag.POOR_FIT: {"companion": True},
    FitFlag.RUNAWAY_SIZE: {"window": 6},
}


@pytest.mark.parametrize("flag", list(FLAGGED), ids=lambda f: f.name)
def test_each_trouble_raises_its_flag(flag):
    recipe = FLAGGED[flag]
    cutout = make_cutout(recipe.get("truth", (0, 0, 0.6, 1.0, 0.6, 0.3, 900.0)), rng=np.random.default_rng(7))
    image, mask = cutout.image.copy(), cutout.mask.copy()
    if "hole" in recipe:
        mask[47:50, 47:50] = False
    if "companion" in recipe:
        image[52:56, 52:56] += 15.0
    if "window" in recipe:
        keep, half = np.zeros_like(mask), recipe["window"]
        keep[48 - half : 48 + half, 48 - half : 48 + half] = True
        mask &= keep
    fit = fit_sersic([dataclasses.replace(cutout, image=image, mask=mask)])[0]
    assert fit.flags & flag, fit


def test_nothing_to_fit_is_a_failed_fit_not_an_exception():
    cutout = make_cutout((0, 0, 0.2, 1.0, 0.6, 0.3, 200.0))
    empty = dataclasses.replace(cutout, image=np.zeros_like(cutout.image), mask=np.zeros_like(cutout.mask))
    assert fit_sersic([empty])[0].flags & FitFlag.FAILED


def test_no_cutouts_no_fits():
    assert fit_sersic([]) == []
