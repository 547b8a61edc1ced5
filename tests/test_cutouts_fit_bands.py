"""One shape for all bands of a galaxy: what is shared, what stays free, and what happens to a band that differs."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.cutouts.bands_together import fit_bands_together, galaxies_of
from skyloom.cutouts.common_shape import common_shapes, log_shear
from skyloom.cutouts.hdf5 import OWN_SHAPES, SHARED_SHAPES, read_cutouts, write_cutouts
from skyloom.cutouts.ingest import Tally, fitted, shared
from skyloom.cutouts.measure import fit_sersic
from skyloom.stamps import Cutout, FitFlag, SersicFit

galsim = pytest.importorskip("galsim")
pytest.importorskip("torch")

SIZE = 64
BANDS = {"F606W": (0.06, 0.12), "F814W": (0.06, 0.14), "F160W": (0.12, 0.22)}
"""Pixel scale and FWHM of the PSF, arcsec."""


def make_band(band, *, radius=0.3, n=1.0, q=0.5, beta=0.4, centre=(0.02, -0.03), flux=200.0, frame=(0.0, 0.0), seed=1):
    """A galaxy at `centre` of the frame its bands share, on a stamp whose own centre is at `frame`."""
    scale, fwhm = BANDS[band]
    blur = galsim.Convolve(galsim.Moffat(beta=3, fwhm=fwhm), galsim.Pixel(scale))
    psf = blur.drawImage(nx=41, ny=41, scale=scale, method="no_pixel", dtype=float).array
    galaxy = galsim.Sersic(n=n, half_light_radius=radius, flux=flux).shear(q=q, beta=beta * galsim.radians)
    galaxy = galaxy.shift(centre[0] - frame[0], centre[1] - frame[1])
    image = galsim.Convolve(galaxy, blur).drawImage(nx=SIZE, ny=SIZE, scale=scale, method="no_pixel", dtype=float).array
    noise = np.random.default_rng(seed).normal(0, 0.03, (SIZE, SIZE))
    return Cutout(
        image=(image + noise).astype(np.float32),
        variance=np.full((SIZE, SIZE), 0.03**2, np.float32),
        mask=np.ones((SIZE, SIZE), bool),
        psf=(psf / psf.sum()).astype(np.float32),
        pixel_scale=scale,
        zero_point=25.0,
        band=band,
        wavelength=600.0,
        galaxy_id=7,
        group="sim/1",
        source="sim",
        centre_x=frame[0],
        centre_y=frame[1],
    )


@pytest.fixture(scope="module")
def galaxy():
    frames = {"F606W": (0.0, 0.0), "F814W": (0.06, 0.0), "F160W": (-0.06, 0.06)}
    radii = {"F606W": 0.36, "F814W": 0.3, "F160W": 0.24}
    return [make_band(b, radius=radii[b], n=0.8 + i, frame=frames[b], seed=i) for i, b in enumerate(BANDS)]


@pytest.fixture(scope="module")
def together(galaxy):
    return fit_bands_together(galaxy)


def test_bands_share_axis_ratio_angle_and_centre_on_the_sky(galaxy, together):
    for name in ("q", "beta", "q_error", "beta_error"):
        values = [getattr(fit, name) for fit in together]
        assert values == pytest.approx([values[0]] * 3, rel=1e-4), name
    x = [fit.dx + c.centre_x for fit, c in zip(together, galaxy, strict=True)]
    y = [fit.dy + c.centre_y for fit, c in zip(together, galaxy, strict=True)]
    np.testing.assert_allclose(x, 0.02, atol=0.01)
    np.testing.assert_allclose(y, -0.03, atol=0.01)
    np.testing.assert_allclose([x, y], [[x[0]] * 3, [y[0]] * 3], atol=1e-5)


def test_size_index_flux_stay_each_bands_own(together):
    np.testing.assert_allclose([f.half_light_radius for f in together], [0.36, 0.3, 0.24], rtol=0.06)
    assert together[0].sersic_n < 1.2 < together[1].sersic_n
    assert not any(f.flags & FitFlag.OWN_SHAPE for f in together)


def test_shared_shape_is_closer_to_truth_than_the_worst_band(galaxy, together):
    alone = fit_sersic(galaxy)
    worst = max(abs(f.q - 0.5) for f in alone)
    assert abs(together[0].q - 0.5) < worst
    assert together[0].q_error < max(f.q_error for f in alone) + 0.03


def test_chi2_of_a_truly_shared_shape_hardly_rises(galaxy, together):
    for alone, fit in zip(fit_sersic(galaxy), together, strict=True):
        assert fit.chi2 < alone.chi2 * 1.02


def test_a_band_of_another_shape_keeps_its_own_and_says_so(galaxy):
    other = make_band("F160W", q=0.35, beta=0.4 + np.pi / 2, radius=0.4, flux=900.0, frame=(-0.06, 0.06))
    fits = fit_bands_together([*galaxy[:2], other])
    assert [bool(f.flags & FitFlag.OWN_SHAPE) for f in fits] == [False, False, True]
    assert fits[2].q == pytest.approx(0.35, abs=0.05)
    assert fits[0].q == pytest.approx(0.5, abs=0.06)  # the odd one of three does not pull the others


def test_a_band_without_data_takes_no_part(galaxy):
    empty = dataclasses.replace(galaxy[1], mask=np.zeros_like(galaxy[1].mask), image=np.zeros_like(galaxy[1].image))
    fits = fit_bands_together([galaxy[0], empty, galaxy[2]])
    assert fits[1].flags & FitFlag.FAILED
    assert fits[0].q == pytest.approx(fits[2].q, rel=1e-4) == pytest.approx(0.5, abs=0.05)


def test_unknown_frames_leave_the_centres_free(galaxy):
    blind = [dataclasses.replace(c, centre_x=float("nan"), centre_y=float("nan")) for c in galaxy]
    fits = fit_bands_together(blind)
    assert fits[0].q == pytest.approx(fits[1].q, rel=1e-4)
    np.testing.assert_allclose([f.dx for f in fits], [0.02, -0.04, 0.08], atol=0.012)


def test_other_galaxies_are_left_alone(galaxy):
    single = dataclasses.replace(galaxy[0], galaxy_id=8)
    elsewhere = dataclasses.replace(galaxy[1], source="another")
    assert galaxies_of([(c.source, c.galaxy_id) for c in [galaxy[0], single, elsewhere, galaxy[2]]]) == [[0, 3]]
    fit = fit_bands_together([galaxy[0], single, galaxy[1]])[1]
    assert fit.q == pytest.approx(fit_sersic([single])[0].q, rel=5e-3)


def a_fit(q, beta, *, error=0.01, dx=0.0, flag=0):
    numbers = dict.fromkeys((f.name for f in dataclasses.fields(SersicFit)), 0.01)
    beta_error = min(error / q / max(-2 * np.log(q), 1e-9), np.pi / np.sqrt(12))
    given = {"q": q, "beta": beta, "q_error": error, "beta_error": beta_error, "dx": dx, "half_light_radius": 0.3}
    return SersicFit(**{**numbers, **given, "flag": flag})


@given(st.floats(0.1, 0.95), st.floats(-1.57, 1.57), st.integers(2, 7))
@settings(max_examples=50, deadline=None)
def test_the_mean_of_equal_shapes_is_that_shape_at_any_angle(q, beta, count):
    cutout = make_blank()
    shape = common_shapes([cutout] * count, [a_fit(q, beta)] * count)[0]
    assert shape.q == pytest.approx(q, rel=1e-6)
    assert abs(np.sin(0.5 * np.arctan2(shape.eta2, shape.eta1) - beta)) < 1e-6


def test_angles_about_the_end_of_their_range_are_averaged_the_short_way():
    shape = common_shapes([make_blank()] * 2, [a_fit(0.5, np.pi / 2 - 0.1), a_fit(0.5, -np.pi / 2 + 0.1)])[0]
    assert abs(0.5 * np.arctan2(shape.eta2, shape.eta1)) == pytest.approx(np.pi / 2)


def test_a_round_band_does_not_turn_the_others():
    fits = [a_fit(0.6, 0.3), a_fit(0.6, 0.3), a_fit(0.99, 1.4)]
    shape = common_shapes([make_blank()] * 3, fits)[0]
    assert 0.5 * np.arctan2(shape.eta2, shape.eta1) == pytest.approx(0.3, abs=0.02)
    eta, error = log_shear(fits[2])
    assert np.hypot(*eta) < 0.02
    assert error < 0.02


@pytest.mark.parametrize("flag", [FitFlag.FAILED, FitFlag.RUNAWAY_SIZE, FitFlag.UNRESOLVED, FitFlag.MASKED_CENTRE])
def test_bad_fits_tell_no_shape(flag):
    fits = [a_fit(0.6, 0.3), a_fit(0.1, 1.2, flag=int(flag))]
    assert common_shapes([make_blank()] * 2, fits)[0].q == pytest.approx(0.6)
    none_better = common_shapes([make_blank()] * 2, [fits[1]] * 2)
    assert none_better is None if flag == FitFlag.FAILED else none_better[0].q == pytest.approx(0.1)


def test_precise_bands_weigh_more():
    fits = [a_fit(0.6, 0.0, error=0.005), a_fit(0.4, 0.0, error=0.3)]
    assert common_shapes([make_blank()] * 2, fits)[0].q == pytest.approx(0.6, abs=0.01)


def make_blank():
    return dataclasses.replace(make_band("F606W"))


def test_files_say_whether_shapes_are_shared(galaxy, tmp_path):
    single = dataclasses.replace(galaxy[0], galaxy_id=8)
    tally = Tally(kept=4)
    stream = list(fitted([*galaxy, single], tally))
    write_cutouts(tmp_path / "own.h5", stream)
    write_cutouts(tmp_path / "shared.h5", stream, revise=lambda cutouts: shared(cutouts, [tally]))
    write_cutouts(tmp_path / "one.h5", stream[3:], revise=lambda cutouts: shared(cutouts, [Tally(kept=1)]))
    said = {p.stem: h5py.File(p)["/"].attrs["fit"] for p in tmp_path.glob("*.h5")}
    assert said == {"own": OWN_SHAPES, "shared": SHARED_SHAPES, "one": OWN_SHAPES}
    fits = [c.fit for c in read_cutouts(tmp_path / "shared.h5")]
    assert fits[0].q == fits[1].q == fits[2].q != stream[0].fit.q
    assert fits[3] == stream[3].fit
    assert sum(tally.flags.values()) == 4
    assert read_cutouts(tmp_path / "shared.h5")[1].centre_x == 0.06
    assert not list(tmp_path.glob(".*"))


def test_files_without_a_common_frame_are_still_read(galaxy, tmp_path):
    write_cutouts(tmp_path / "old.h5", galaxy)
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        del file["columns/centre_x"], file["columns/centre_y"]
    assert np.isnan(read_cutouts(tmp_path / "old.h5").column("centre_x")).all()
