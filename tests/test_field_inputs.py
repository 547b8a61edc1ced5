"""What a field can be made of, what is refused, and what is written."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import skyloom
from skyloom.errors import BadInputError, CatalogueError, ConditionsError, ConfigError
from skyloom.physics.sized_stamps import check_device

from .field_plugins import galaxies, plugin
from .learned_fields import blobs, build, config

assert blobs  # a fixture

PLAIN: dict[str, Any] = {"size": 64, "seed": 5, "model": "sersic", "survey": "euclid_vis"}


def table(**columns: Any) -> Table:
    rows = galaxies(6, side=(64, 64), **columns)
    if "mag" in columns:
        rows.remove_column("flux")
    return rows


def test_one_catalogue_in_every_form(tmp_path):
    rows = table(mag=22.5, g1=0.05, g2=-0.02, mu=1.1, kind="galaxy")
    rows["half_light_radius"].unit = u.arcsec
    whole = skyloom.render_field(rows, **PLAIN)
    rows.write(tmp_path / "c.fits")
    Table(rows, copy=True).write(tmp_path / "c.ecsv")
    zero_point = skyloom.load_survey("euclid_vis").exposure_zero_point
    read = skyloom.read_catalogue(tmp_path / "c.fits", columns={"zero_point": 20.0})
    places = {name: rows[name] for name in ("x", "y", "g1", "g2", "mu")}
    forms = [
        (str(tmp_path / "c.fits"), {}),
        (tmp_path / "c.ecsv", {}),
        (read, {}),
        (read.conditions, places),
        (rows.as_array(), {}),
        (skyloom.Conditions.from_table(rows, zero_point=zero_point), places),
    ]
    for catalogue, more in forms:
        field = skyloom.render_field(catalogue, **PLAIN, **more)
        assert np.array_equal(field.image, whole.image), catalogue
    assert skyloom.render_field(tmp_path / "c.fits", **PLAIN).provenance["catalogue_sha256"] == read.sha256
    assert np.allclose(whole.truth["requested_flux"], 10 ** (-0.4 * (22.5 - zero_point)))
    assert np.allclose(whole.truth["lensed_flux"], 1.1 * whole.truth["flux"])


def test_a_population_by_name():
    choice = {**PLAIN, "size": 400, "out_of_range": "parametric"}
    field = skyloom.render_field("cosmos", **choice, population={"mag": (20, 24)})
    cosmos = skyloom.load_population("cosmos")
    area = (400 * 0.1 / 3600) ** 2
    assert len(field.truth) == len(cosmos.sample_area(area, seed=5, mag=(20, 24)))
    more = skyloom.render_field("cosmos", **choice, population={"mag": (20, 24)}, area=3 * area)
    assert len(more.truth) == len(cosmos.sample_area(3 * area, seed=5, mag=(20, 24))) > len(field.truth)
    assert set(field.truth["requested_wavelength"]) == {skyloom.load_survey("euclid_vis").wavelength}
    assert np.abs(field.truth["requested_mag"] - 22).max() <= 2


def test_stars_are_points(tmp_path):
    Table({"mag": [20.0, 21.0], "x": [20.3, 45.0], "y": [30.0, 31.6], "kind": ["star", "star"], "galaxy_id": [1, 2],
           "half_light_radius": [0.0, 0.0], "sersic_n": [0.0, 0.0]}).write(tmp_path / "stars.ecsv")  # fmt: skip
    field = skyloom.render_field(tmp_path / "stars.ecsv", **{**PLAIN, "noise": "none", "sky_level": 0.0, "mu": 9.0})
    psf, survey = skyloom.load_survey("euclid_vis").psf(), skyloom.load_survey("euclid_vis")
    want = galsim.ImageD(64, 64, scale=0.1)
    for row in field.truth:
        flux = 10 ** (-0.4 * (row["requested_mag"] - survey.exposure_zero_point)) / survey.gain
        (psf * flux).drawImage(want, offset=(row["x"] - 32.5, row["y"] - 32.5), add_to_image=True)
    inside = want.array > 1e-3 * want.array.max()
    assert np.abs(field.image - want.array)[inside].max() < 1e-4 * want.array.max()
    assert set(field.truth["generator"]) == {"star"}


def test_an_empty_field_is_sky():
    for rows in (table()[:0], skyloom.load_population("cosmos").sample(0, seed=1)):
        field = skyloom.render_field(rows, **PLAIN)
        assert len(field.truth) == 0
        assert field.image.mean() == pytest.approx(154.1446 / 3.1, rel=0.02)


def sky_wcs() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (150.1, 2.2), (32, 32)
    wcs.wcs.cdelt = -0.1 / 3600, 0.1 / 3600
    return wcs


def test_astropys_wcs_and_the_file(tmp_path):
    rows = table(ra=150.1, dec=2.2)
    rows["ra"] += np.linspace(-2, 2, 6) / 3600
    rows.remove_columns(["x", "y"])
    field = skyloom.render_field(rows, **PLAIN, wcs=sky_wcs())
    assert field.observing.pixel_scale == pytest.approx(0.1, rel=1e-6)
    path = field.write(tmp_path / "new" / "field.fits")
    with fits.open(path) as hdus:
        header, pixels, truth = hdus[0].header, hdus[0].data, Table.read(hdus["TRUTH"])
        sky = WCS(header).all_pix2world(truth["x"], truth["y"], 1)
    assert np.allclose(sky, [rows["ra"], rows["dec"]], atol=1e-8)
    assert np.allclose(truth["ra"], rows["ra"], atol=1e-8)
    assert np.array_equal(pixels, field.image)
    wanted = {"SEED": 5, "MODEL": "sersic", "GAIN": 3.1, "EXPTIME": 565.0, "RDNOISE": 4.4, "SURVEY": "euclid_vis",
              "OUTRANGE": "error", "SKYLOOM": skyloom.__version__, "NOISE": "ccd", "PSF": "euclid_vis"}  # fmt: skip
    assert {word: header[word] for word in wanted} == wanted
    assert header["CONFHASH"] == field.provenance["config_sha256"]
    assert header["ZEROPNT"] == pytest.approx(skyloom.load_survey("euclid_vis").exposure_zero_point)
    assert truth["half_light_radius"].unit == u.arcsec
    assert field.truth["flux"].unit == u.electron
    assert galsim.fits.read(str(path)).wcs.toWorld(galsim.PositionD(3, 4)).distanceTo(
        field.wcs.toWorld(galsim.PositionD(3, 4))
    ) < 1e-6 * galsim.arcsec  # fmt: skip
    assert [p.name for p in path.parent.iterdir()] == ["field.fits"]
    assert np.shares_memory(field.to_galsim().array, field.image)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    field = skyloom.render_field(table(), **PLAIN)
    monkeypatch.setattr(fits.HDUList, "writeto", lambda self, name, **more: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        field.write(tmp_path / "f.fits")
    assert not list(tmp_path.iterdir())


def test_the_sky_of_a_wcs_follows_its_pixels():
    wcs = galsim.UVFunction("0.1 * x + 1e-4 * x**2", "0.1 * y", uses_color=False)
    field = skyloom.render_field(table()[:0], **{**PLAIN, "noise": "none", "gain": 1.0, "sky_level": 1000.0}, wcs=wcs)
    x = np.arange(1, 65)
    assert np.allclose(field.image[5], 1000 * 0.1 * (0.1 + 2e-4 * x), rtol=1e-4)


NOT_A_PLACE = {"x": np.nan, "y": 3.0}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "pixel scale": ({"pixel_scale": 1e-5}, r"pixel_scale is 1e-05, not within \[0.0001, 100\]"),
    "a wcs of such pixels": ({"wcs": galsim.PixelScale(1e-5)}, r"pixel_scale is 1\.?0*e-05"),
    "both": ({"wcs": galsim.PixelScale(0.1), "pixel_scale": 0.1}, "give pixel_scale .* or wcs, not both"),
    "stamp": ({"stamp_size": 1_000_000}, "stamp_size must be a whole number within 1 and 8192, not 1000000"),
    "image": ({"size": 1_000_000}, "an image of 1000000 x 1000000 pixels cannot be"),
    "a side": ({"size": (1_000_000, 1)}, "an image of 1000000 x 1 pixels cannot be"),
    "many pixels": ({"size": 99_999}, "an image of 99999 x 99999 pixels cannot be"),
    "no pixels": ({"size": 0}, "an image of 0 x 0"),
    "half a pixel": ({"size": 10.5}, "size is a whole number of pixels"),
    "place": ({"x": np.nan, "y": 3.0}, r"column 'x', row 0 \(galaxy \d+\): nan is not within"),
    "half a place": ({"ra": 150.0}, "column 'ra' needs 'dec' beside it"),
    "half a shear": ({"g1": 0.1}, "column 'g1' needs 'g2' beside it"),
    "shear": ({"g1": 1.5, "g2": 0.0}, r"column 'g1', row 0 \(galaxy \d+\): 1.5 is not within"),
    "lengths": ({"mu": [1.0, 2.0]}, r"column 'mu' must be one number an object \(6\)"),
    "kinds": ({"kind": ["star"]}, "one an object"),
    "survey": ({"survey": "euclid_viz"}, "no survey is named 'euclid_viz'; did you mean 'euclid_vis'"),
    "no survey": ({"survey": None}, "give survey, pixel_scale"),
    "no psf": ({"survey": None, "pixel_scale": 0.1}, "give psf, or a survey"),
    "a psf": ({"psf": 3}, "psf is a name, a galsim.GSObject or a function"),
    "wcs": ({"wcs": 3}, "wcs is a galsim.BaseWCS or an astropy.wcs.WCS"),
    "batch": ({"batch_size": 0}, "batch_size must be a whole number"),
    "device": ({"device": "abacus"}, "torch cannot use 'abacus'"),
    "seed": ({"seed": -1}, "seed must lie in"),
    "wavelength": ({"wavelength": np.nan}, "wavelength is nan"),
    "population": ({"population": {"mag": (20, 22)}}, "options are for a population's name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case):
    change, message = REFUSED[case]
    with pytest.raises(BadInputError, match=message) as caught:
        skyloom.render_field(table(), **{**PLAIN, **change})
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_named_alike_in_both_ways():
    check_device("cpu")
    with pytest.raises(BadInputError, match="^device: torch cannot use 'abacus' here") as caught:
        check_device("abacus")
    with pytest.raises(ConfigError, match="^image.device: torch cannot use 'abacus' here"):
        build(config(1), type="LearnedScattered", device="abacus")
    assert type(caught.value) is BadInputError


def test_catalogues_that_cannot_be(tmp_path):
    with pytest.raises(ConditionsError, match="no population is named 'cosmoss'; did you mean 'cosmos'"):
        skyloom.render_field("cosmoss", **PLAIN)
    with pytest.raises(CatalogueError, match="does not exist"):
        skyloom.render_field(tmp_path / "none.fits", **PLAIN)
    rows = table()
    rows["half_light_radius"][2] = np.nan
    with pytest.raises(ConditionsError, match=r"column 'half_light_radius', row 2 \(galaxy \d+\): nan"):
        skyloom.render_field(rows, **PLAIN)
    with pytest.raises(ConditionsError, match="stands in row 0 already"):
        skyloom.render_field(table(galaxy_id=3), **PLAIN)
    rows = table(ra=150.0, dec=2.0)
    rows.remove_columns(["x", "y"])
    with pytest.raises(BadInputError, match="placed by ra and dec: give a wcs of the sky"):
        skyloom.render_field(rows, **PLAIN)
    with pytest.raises(ConditionsError, match="'mag' needs a survey, or zero_point"):
        skyloom.render_field(table(mag=22.0), size=64, seed=1, psf=galsim.Gaussian(fwhm=1), pixel_scale=0.2)
    with pytest.raises(BadInputError, match="a table, structured array or mapping is needed, not int"):
        skyloom.render_field(3, **PLAIN)


def test_nothing_is_allocated_for_what_is_refused(monkeypatch):
    def zeros(*args: Any, **more: Any) -> Any:
        raise AssertionError("allocated")

    rows = table()
    monkeypatch.setattr("skyloom.render.field.run.np.zeros", zeros)
    for change in ({"size": 1_000_000}, {"stamp_size": 1_000_000}, {"pixel_scale": 1e-5}):
        with pytest.raises(BadInputError):
            skyloom.render_field(rows, **{**PLAIN, **change})


def test_a_stamp_too_large_is_cut_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr("skyloom.render.field.painting.MAX_STAMP_SIZE", 40)
    field = skyloom.render_field(table(half_light_radius=0.5), **PLAIN)
    assert set(field.truth["stamp_size"]) == {40}
    assert "is cut to 40" in caplog.text


@pytest.mark.gpu
def test_a_gpu_draws_the_same():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    choice = {**PLAIN, "noise": "none", "sky_level": 0.0}
    one, two = (skyloom.render_field(table(), **choice, device=device).image for device in ("cpu", "cuda"))
    assert np.abs(one - two).max() < 1e-5 * one.max()
    batches = [skyloom.render_field(table(), **choice, device="cuda", batch_size=b).image for b in (1, 6)]
    assert np.array_equal(batches[0], two)
    assert np.array_equal(batches[1], two)


def test_a_plugins_own_survey_and_population():
    toy = skyloom.descriptors.Survey("balloon", load=lambda: {
        "pixel_scale": 0.2, "zero_point": 25.0, "exptime": 100.0, "sky_level": 10.0, "gain": 1.0, "read_noise": 1.0,
        "wavelength": 600.0, "psf": lambda x, y, wavelength: galsim.Gaussian(fwhm=0.5)})  # fmt: skip
    some = skyloom.descriptors.Population("two", sample=lambda size, *, seed: skyloom.Conditions(
        mag=22.0, zero_point=30.0, half_light_radius=[0.5] * size, sersic_n=1.0), density=lambda: 1e6)  # fmt: skip
    with plugin(skyloom_surveys=lambda: [toy], skyloom_populations=lambda: [some]):
        field = skyloom.render_field("two", size=300, seed=1, model="sersic", survey="balloon")
    assert len(field.truth) > 100
    assert field.provenance["psf"] == "balloon"
