"""Named observing conditions: their numbers are galcheat's and GalSim's, in the units they say."""

from __future__ import annotations

import math
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import galsim
import galsim.roman
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skyloom
from skyloom import hookspecs
from skyloom.descriptors import Survey
from skyloom.errors import ConfigError, PluginError
from skyloom.manager import build_manager
from skyloom.surveys import ObservingConditions, list_surveys, load_survey, survey_table
from skyloom.surveys.from_galcheat import GALCHEAT, galcheat_names

GIVEN = {
    "pixel_scale": 0.2, "zero_point": 28.0, "exptime": 100.0, "sky_level": 1000.0, "gain": 2.0, "read_noise": 5.0,
    "wavelength": 600.0, "psf": galsim.Gaussian(fwhm=0.7),
}  # fmt: skip


def test_the_promised_names_are_there() -> None:
    wanted = {"euclid_vis", "hst_acs_f814w", *(f"lsst_{b}" for b in "ugrizy"), *(f"hsc_{b}" for b in "grizy")}
    wanted |= {f"des_{b}" for b in "griz"}
    wanted |= {f"roman_{b.lower()}" for b in galsim.roman.getBandpasses()}
    assert wanted <= set(list_surveys())
    assert all(entry.summary for entry in list_surveys().values())


@pytest.mark.parametrize("name", list(galcheat_names()))
def test_galcheat_s_numbers_are_kept(name: str) -> None:
    from galcheat import get_survey
    from galcheat.utilities import mag2counts, mean_sky_level

    prefix, band = galcheat_names()[name]
    theirs = get_survey(GALCHEAT[prefix].survey)
    filter_ = theirs.get_filter(band)
    ours = load_survey(name)
    # galcheat rounds counts down to integers: of a bright source that is nothing.
    counts = mag2counts(15.0, theirs, filter_).value
    assert 10 ** (-0.4 * (15.0 - ours.exposure_zero_point)) == pytest.approx(counts, rel=1e-5)
    assert ours.sky_electrons == pytest.approx(mean_sky_level(theirs, filter_).value, abs=ours.pixel_scale**2)
    assert ours.sky_brightness == pytest.approx(filter_.sky_brightness.value, abs=1e-9)
    assert ours.gain == theirs.gain.to_value("electron / adu")
    assert ours.wavelength == filter_.effective_wavelength.to_value("nm")
    assert ours.psf().flux == pytest.approx(1.0)
    assert ours.psf().calculateFWHM() == pytest.approx(filter_.psf_fwhm.to_value("arcsec"), rel=2e-3)


def test_read_noise_adds_up_over_the_read_outs() -> None:
    lsst = GALCHEAT["lsst"]
    assert load_survey("lsst_i").read_noise == pytest.approx(lsst.read_noise * math.sqrt(5520 / 30))
    assert load_survey("euclid_vis").read_noise == pytest.approx(GALCHEAT["euclid"].read_noise)
    # four read-outs; drizzled from 0.05" to 0.03", the variance of an arcsec^2 stays
    assert load_survey("hst_acs_f814w").read_noise == pytest.approx(GALCHEAT["hst_acs"].read_noise * 2 * 0.6)


@pytest.mark.parametrize("band", ["R062", "H158", "W146", "K213"])
def test_roman_s_numbers_are_galsim_s(band: str) -> None:
    ours = load_survey(f"roman_{band.lower()}")
    bandpass = galsim.roman.getBandpasses()[band]
    # A flat AB source through GalSim's own photometry: photons a second and cm^2, times the area.
    sed = galsim.SED(lambda w: 1.0, wave_type="nm", flux_type="fnu").withMagnitude(20.0, bandpass)
    rate = sed.calculateFlux(bandpass) * galsim.roman.collecting_area
    assert 10 ** (-0.4 * (20.0 - ours.zero_point)) == pytest.approx(rate, rel=1e-4)
    zodiacal = galsim.roman.getSkyLevel(bandpass) * (1 + galsim.roman.stray_light_fraction) * 0.11**2
    dark = (galsim.roman.thermal_backgrounds[band] + galsim.roman.dark_current) * galsim.roman.exptime
    assert ours.sky_electrons == pytest.approx(zodiacal + dark, rel=1e-9)
    assert (ours.read_noise, ours.gain) == (galsim.roman.read_noise, galsim.roman.gain)


def test_roman_s_psf_follows_place_and_wavelength() -> None:
    roman = load_survey("roman_h158")
    middle, corner = roman.psf(), roman.psf(4000, 4000)
    assert middle != corner
    assert roman.psf(9000, 4000) == roman.psf(galsim.roman.n_pix, 4000)
    blue = roman.psf(wavelength=1200.0)
    assert blue.calculateMomentRadius() < middle.calculateMomentRadius()
    assert middle.flux == pytest.approx(1.0)


def test_wavelength_changes_seeing_and_diffraction_in_their_own_ways() -> None:
    lsst, euclid = load_survey("lsst_i"), load_survey("euclid_vis")
    seeing = lsst.psf(wavelength=2 * lsst.wavelength).fwhm / lsst.psf().fwhm
    assert seeing == pytest.approx(2**-0.2)
    assert euclid.psf(wavelength=900.0).calculateFWHM() > euclid.psf(wavelength=600.0).calculateFWHM()


@pytest.mark.parametrize("name", ["lsst_r", "euclid_vis", "roman_y106"])
def test_they_pickle(name: str) -> None:
    survey = load_survey(name)
    again = pickle.loads(pickle.dumps(survey))
    assert again == survey
    assert again.psf(5, 5) == survey.psf(5, 5)


def test_a_wrong_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no survey is named 'lsst_I'; did you mean 'lsst_\w'.*euclid_vis"):
        load_survey("lsst_I")
    with pytest.raises(ConfigError, match="by its name, not by 3"):
        load_survey(3)  # type: ignore[arg-type]


def plugin(load: Any) -> Any:
    class Balloon:
        @hookspecs.hookimpl
        def skyloom_surveys(self) -> list[Survey]:
            return [Survey("balloon", load=load)]

    manager = build_manager([])
    manager.register_version(Balloon(), "balloon-plugin", "1.0")
    return manager


def test_a_plugin_s_survey_may_be_a_mapping() -> None:
    survey = load_survey("balloon", manager=plugin(lambda: GIVEN))
    assert survey.sky_electrons == pytest.approx(1000 * 2 * 0.2**2)
    assert survey.exposure_zero_point == pytest.approx(33.0)
    assert survey.psf(3, 4, 500.0) == GIVEN["psf"]
    assert survey.name == "balloon"


@pytest.mark.parametrize(
    ("given_", "error", "says"),
    [
        ({k: v for k, v in GIVEN.items() if k != "psf"}, ConfigError, "lacks psf"),
        ({**GIVEN, "gain": float("nan")}, ConfigError, "gain is nan"),
        ({**GIVEN, "pixel_scale": 1e-5}, ConfigError, "pixel_scale is 1e-05"),
        ({**GIVEN, "exptime": "long"}, ConfigError, "exptime is 'long'"),
        ({**GIVEN, "psf": 0.7}, ConfigError, "PSF is 0.7"),
        ({**GIVEN, "pixelscale": 1}, ConfigError, "unknown keys: pixelscale"),
        ([1], PluginError, "balloon-plugin' 1.0 must give"),
    ],
)
def test_what_a_plugin_gives_is_checked(given_: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        load_survey("balloon", manager=plugin(lambda: given_))


def test_a_plugin_that_fails_is_named() -> None:
    with pytest.raises(PluginError, match="balloon-plugin' 1.0 failed: ZeroDivisionError"):
        load_survey("balloon", manager=plugin(lambda: 1 / 0))


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.01, 10), st.floats(20, 35), st.floats(0.1, 1e5), st.floats(1e-3, 1e6), st.floats(0.1, 100)
)  # fmt: skip
def test_sky_brightness_and_electrons_agree(scale: float, zp: float, exptime: float, sky: float, gain: float) -> None:
    survey = ObservingConditions("any", scale, zp, exptime, sky, gain, 0.0, 600.0, galsim.Gaussian(fwhm=1))
    back = 10 ** (-0.4 * (survey.sky_brightness - survey.exposure_zero_point)) * scale**2
    assert back == pytest.approx(survey.sky_electrons, rel=1e-9)
    assert survey.noise_per_pixel == pytest.approx(math.sqrt(survey.sky_electrons))


def test_euclidlike_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("euclidlike_vis" in list_surveys()) == (__import__("importlib").util.find_spec("euclidlike") is not None)
    fake = types.ModuleType("euclidlike")
    fake.__spec__ = __import__("importlib").machinery.ModuleSpec("euclidlike", None)
    band = galsim.Bandpass(galsim.LookupTable([550, 900], [0.7, 0.7]), "nm").withZeropoint("AB")
    numbers = {"pixel_scale": 0.1, "gain": 3.4, "read_noise": 4.4, "long_exptime": 566, "collecting_area": 9926}
    fake.__dict__.update(numbers, getBandpasses=lambda AB_zeropoint: {"VIS": band})
    fake.__dict__["getPSF"] = lambda ccd, b, ccd_pos, wavelength: galsim.Gaussian(fwhm=wavelength / 5000)
    monkeypatch.setitem(sys.modules, "euclidlike", fake)
    from skyloom.surveys.from_galsim import load_euclidlike

    load_euclidlike.cache_clear()
    survey = load_survey("euclidlike_vis", manager=build_manager([]))
    load_euclidlike.cache_clear()
    assert survey.zero_point == pytest.approx(band.zeropoint + 2.5 * math.log10(9926))
    assert survey.sky_brightness == pytest.approx(load_survey("euclid_vis").sky_brightness)
    assert survey.psf(wavelength=800.0) == galsim.Gaussian(fwhm=0.16)


@pytest.mark.skipif("euclidlike_vis" in list_surveys(), reason="GalSim-Euclid-Like adds a row of its own")
def test_the_documented_table_is_what_there_is() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs/surveys.md").read_text(encoding="utf-8")
    assert survey_table() in page, "run: python -c 'import skyloom.surveys as s; print(s.survey_table())'"


def test_they_are_public_and_do_without_torch() -> None:
    import subprocess

    code = "import sys, skyloom; skyloom.load_survey('lsst_i').psf(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert skyloom.load_survey is load_survey
    assert np.isfinite(load_survey("des_g").noise_per_pixel)
