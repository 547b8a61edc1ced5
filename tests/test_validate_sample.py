"""Choosing cutouts that can be judged, and simulating their counterparts."""

from __future__ import annotations

from dataclasses import replace

import galsim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.errors import CutoutError
from skyloom.stamps import Cutout, FitFlag
from skyloom.testing.cutouts import synthetic_cutouts
from skyloom.validate.counterparts import Counterparts, above_isophote, asked_conditions, draw_through, sersic_galaxy
from skyloom.validate.counterparts_noise import correlated_noise
from skyloom.validate.sample import select


@pytest.fixture(scope="module")
def cutouts() -> list[Cutout]:
    return synthetic_cutouts(12, seed=3)


def true_fits(cutouts):
    return [c.fit for c in synthetic_cutouts(len(cutouts), seed=3)]


def no_refit(cutouts):
    """In place of the fit: what was asked for, so that tests of other things are quick."""
    return [synthetic_cutouts(1, seed=c.galaxy_id)[0].fit for c in cutouts]


@given(rho=st.floats(-0.7, 0.7), rms=st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_noise_has_the_variance_and_correlation_asked_for(rho, rms):
    noise = correlated_noise(np.full((400, 400), rms**2), rho, np.random.default_rng(1)) / rms
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(rho, abs=0.02)
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(rho, abs=0.02)
    assert (noise[1:, 1:] * noise[:-1, :-1]).mean() == pytest.approx(rho**2, abs=0.02)


def test_noise_follows_the_variance_map():
    variance = np.ones((200, 200))
    variance[:100] = 9.0
    noise = correlated_noise(variance, 0.4, np.random.default_rng(2))
    assert noise[:100].std() == pytest.approx(3.0, rel=0.03)
    assert noise[100:].std() == pytest.approx(1.0, rel=0.03)


def test_drawing_uses_the_effective_psf_without_another_pixel(cutouts):
    cutout = cutouts[0]
    fit = cutout.fit
    psf = galsim.Convolve(galsim.Moffat(beta=3.5, fwhm=0.12), galsim.Pixel(cutout.pixel_scale))
    galaxy = sersic_galaxy(fit).shift(fit.dx, fit.dy)
    expected = galsim.Convolve(galaxy, psf).drawImage(nx=64, ny=64, scale=cutout.pixel_scale, method="no_pixel").array
    drawn = draw_through(sersic_galaxy(fit), replace(cutout, fit=replace(fit, sky=0.5))) - 0.5
    np.testing.assert_allclose(drawn, expected, atol=6e-3 * expected.max())  # a second pixel: 5e-2


def test_counterparts_have_the_noise_and_the_mask_of_the_real_ones(cutouts):
    masked = [replace(c, mask=np.arange(64)[None, :] % 7 != 0 * c.mask) for c in cutouts]
    made = list(Counterparts(masked, None, no_refit, seed=5))
    assert len(made) == len(masked)
    for real, twin in zip(masked, made, strict=True):
        away = (twin.image - draw_through(sersic_galaxy(real.fit), real))[real.mask] / 0.01
        assert away.std() == pytest.approx(1.0, abs=0.08)
        assert abs(away.mean()) < 0.2
        assert (twin.mask == real.mask).all()
        assert (twin.image[~real.mask] == 0).all()
        assert twin.fit is not None


def test_a_counterpart_depends_on_neither_order_nor_company(cutouts):
    together = {c.galaxy_id: c.image for c in Counterparts(cutouts, None, no_refit, seed=5)}
    alone = next(iter(Counterparts([cutouts[7]], None, no_refit, seed=5)))
    np.testing.assert_array_equal(alone.image, together[alone.galaxy_id])
    other = next(iter(Counterparts([cutouts[7]], None, no_refit, seed=6)))
    assert not np.array_equal(other.image, alone.image)


def test_a_galaxy_in_several_bands_is_asked_for_once_a_band(cutouts):
    bands = [replace(c, band=band, wavelength=w) for c in cutouts[:3] for band, w in (("A", 600.0), ("B", 800.0))]

    class Recording:
        spec = type("Spec", (), {"name": "recording", "weights_sha256": ""})()

        def __init__(self):
            self.asked = []

        def sample(self, conditions, *, seed, out_of_range):
            self.asked.append(list(conditions.wavelength))
            return [sersic_galaxy(bands[0].fit)] * len(conditions)

    generator = Recording()
    made = Counterparts(bands, generator, no_refit)
    assert [c.band for c in made] == [c.band for c in bands]
    assert generator.asked == [[600.0] * 3, [800.0] * 3]


def test_conditions_asked_are_those_measured(cutouts):
    asked = asked_conditions([replace(c, redshift=float("nan")) for c in cutouts[:4]])
    fits = [c.fit for c in cutouts[:4]]
    np.testing.assert_allclose(asked.mag, [25.94 - 2.5 * np.log10(f.flux) for f in fits])
    np.testing.assert_allclose(asked.half_light_radius, [f.half_light_radius for f in fits])
    assert np.isnan(asked.redshift).all()


def test_index_at_the_edge_of_the_range_is_drawn(cutouts):
    edge = replace(cutouts[0], fit=replace(cutouts[0].fit, sersic_n=6.2000003))
    chosen, screening = select([edge], refit=no_refit)
    assert screening.kept == 1
    assert len(list(Counterparts(chosen, None, no_refit))) == 1


def test_a_thresholded_counterpart_is_one_region_above_the_isophote(cutouts):
    real = replace(cutouts[1], fit=replace(cutouts[1].fit, half_light_radius=0.5, flux=150.0))
    clean = draw_through(sersic_galaxy(real.fit), real)
    mask = clean > 0.02
    real = replace(real, thresholded=True, mask=mask, image=np.where(mask, clean, 0).astype(np.float32))
    twin = next(iter(Counterparts([real], None, no_refit)))
    assert (twin.image[~twin.mask] == 0).all()
    assert (twin.image >= 0).all()
    assert twin.mask.sum() == pytest.approx(mask.sum(), rel=0.25)
    assert not above_isophote(np.zeros((64, 64)), real).any()


def with_psf(cutout, size, fwhm=0.12):
    psf = galsim.Moffat(beta=3.5, fwhm=fwhm).drawImage(nx=size, ny=size, scale=0.05).array
    return replace(cutout, psf=psf / psf.sum())


def nan_at(cutout):
    image = cutout.image.copy()
    image[3, 4] = np.nan
    return replace(cutout, image=image)


def flagged(cutout, flag):
    return replace(cutout, fit=replace(cutout.fit, flag=int(flag)))


BAD = {
    "no PSF": lambda c: replace(c, psf=np.zeros((41, 41), np.float32)),
    "NaN or infinite pixels that the mask calls usable": nan_at,
    "all pixels masked": lambda c: replace(c, mask=np.zeros((64, 64), bool)),
    "no noise variance": lambda c: replace(c, variance=np.zeros((64, 64), np.float32)),
    "wrong zero point": lambda c: replace(c, zero_point=0.0),
    "no pixel scale": lambda c: replace(c, pixel_scale=float("nan")),
    "PSF larger than the stamp": lambda c: with_psf(c, 129, fwhm=2.0),
    "unusable Sersic fit": lambda c: flagged(c, FitFlag.FAILED),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_input_is_set_aside_with_its_reason_and_the_rest_goes_on(cutouts, reason):
    mixed = [*cutouts[:3], BAD[reason](cutouts[3]), *cutouts[4:]]
    chosen, screening = select(mixed, refit=no_refit)
    assert screening.reasons == {reason: 1}
    assert (screening.read, screening.kept) == (12, 11)
    assert [c.galaxy_id for c in chosen] == [0, 1, 2, *range(4, 12)]
    assert "synthetic3 3 F814W" in screening.set_aside[0].galaxy


def test_a_row_that_cannot_be_read_is_counted(cutouts):
    class Damaged(list):
        def __getitem__(self, row):
            if row == 2:
                raise CutoutError("file: cutout 2 cannot be read: checksum")
            return super().__getitem__(row)

    _, screening = select(Damaged(cutouts), refit=no_refit)
    assert screening.reasons == {"cannot be read": 1}
    assert "checksum" in screening.set_aside[0].detail
    assert screening.kept == 11


def test_nan_pixels_that_are_masked_are_no_fault(cutouts):
    bad = nan_at(cutouts[0])
    mask = bad.mask.copy()
    mask[3, 4] = False
    _, screening = select([replace(bad, mask=mask)], refit=no_refit)
    assert screening.kept == 1


def test_a_wide_psf_image_with_its_light_inside_is_cut(cutouts):
    chosen, screening = select([with_psf(cutouts[0], 101)], refit=no_refit)
    assert screening.notes == {"PSF image larger than the stamp, cut to it": 1}
    assert chosen[0].psf.shape == (63, 63)
    assert chosen[0].psf.sum() == pytest.approx(1.0, abs=1e-5)
    peak = np.unravel_index(chosen[0].psf.argmax(), (63, 63))
    assert peak == (31, 31)


def test_cutouts_without_a_fit_are_fitted(cutouts):
    chosen, screening = select([replace(c, fit=None) for c in cutouts], refit=true_fits)
    assert screening.notes == {"fitted here, for they came without a Sersic fit": 12}
    assert chosen[4].fit == cutouts[4].fit


def test_limit_and_further_selection(cutouts):
    chosen, screening = select(
        cutouts, refit=no_refit, limit=4, keep=lambda c: ("odd", "") if c.galaxy_id % 2 else None
    )
    assert [c.galaxy_id for c in chosen] == [0, 2, 4, 6]
    assert screening.reasons == {"odd": 3}


def test_faults_are_counted_among_those_asked_for_only(cutouts):
    """A bad cutout of another part is no fault of the part that is judged."""
    bad = [replace(c, mask=np.zeros_like(c.mask)) for c in cutouts[:4]]
    even = lambda c: None if c.galaxy_id % 2 == 0 else ("not in the part 'test'", "train")  # noqa: E731
    chosen, screening = select([*bad, *cutouts[4:]], refit=no_refit, only=even)
    assert [c.galaxy_id for c in chosen] == [4, 6, 8, 10]
    assert screening.reasons == {"not in the part 'test'": 6, "all pixels masked": 2}
